"""Writing rows: with the act or not at all, by many at once, and of any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory

from registryui import audit
from registryui.audit import chain, newest
from registryui.models import AuditEvent, RegistryUser
from registryui.views.access import tell_address
from tests.selection import Extent
from tests.support import programs

pytestmark = pytest.mark.both_databases


@pytest.mark.django_db
def test_rows_stand_in_one_chain() -> None:
    first = audit.record(
        "tag.delete", "team/app:1", by="operator:ada", details={"digest": "sha256:1"}
    )
    second = audit.record("tag.delete", "team/app:2", by="operator:ada", result="refused")
    assert first.previous == audit.NOTHING
    assert second.previous == first.hash
    assert chain.verify().is_complete


@pytest.mark.django_db
def test_several_of_one_act_stand_in_the_same_chain() -> None:
    audit.record("tag.delete", "team/app:0", by="operator:ada")
    audit.record_each("tag.delete", [f"team/app:{n}" for n in range(1, 1200)], by="operator:ada")
    audit.record("tag.delete", "team/app:1200", by="operator:ada")
    names = AuditEvent.objects.order_by("id").values_list("target", flat=True)
    assert list(names) == [f"team/app:{n}" for n in range(1201)]
    assert chain.verify().is_complete


@pytest.mark.django_db
@pytest.mark.parametrize(
    "hostile",
    [
        "nul \0 in it",
        "half \ud800 of a character",
        "<script>alert(1)</script>",
        "line\nfeed\r\u2028",
        "=cmd|' /C calc'!A0",
        "\u202egnp.exe",
        "数据",
        "x" * 5000,
        1e22,
        -0.0,
        0.1 + 0.2,
        float("nan"),
        10**30,
        {1: "a", 10: "b", 2: [None, True, (1, 2)]},
        b"bytes",
    ],
)
def test_any_text_and_number_comes_back_as_it_was_hashed(hostile: Any) -> None:
    audit.record(str(hostile), str(hostile), by=str(hostile), details={"what": hostile, "x\0": 1})
    row = AuditEvent.objects.get()
    assert audit.hash_of(row) == row.hash
    assert chain.verify().is_complete


@pytest.mark.django_db
def test_a_row_goes_with_its_act() -> None:
    with transaction.atomic():
        RegistryUser.objects.create(name="a")
        audit.record("user.create", "a", by="operator:ada")
        transaction.set_rollback(True)
    assert not AuditEvent.objects.exists()
    audit.record("user.create", "b", by="operator:ada")
    assert chain.verify().is_complete


@pytest.mark.django_db
def test_the_address_is_that_of_the_request_and_of_no_other() -> None:
    def view(request: Any) -> HttpResponse:
        audit.record("page.test", request.path, by="operator:ada")
        if request.path == "/fails":
            raise ZeroDivisionError
        return HttpResponse()

    answer = tell_address(view)
    answer(RequestFactory().get("/a", REMOTE_ADDR="192.0.2.7"))
    # nginx on loopback tells; anybody else who says so is not believed
    answer(RequestFactory().get("/b", REMOTE_ADDR="127.0.0.1", headers={"X-Real-IP": "192.0.2.8"}))
    answer(RequestFactory().get("/c", REMOTE_ADDR="192.0.2.7", headers={"X-Real-IP": "192.0.2.9"}))
    with pytest.raises(ZeroDivisionError):
        answer(RequestFactory().get("/fails", REMOTE_ADDR="192.0.2.10"))
    audit.record("page.test", "none", by="command line")
    assert list(AuditEvent.objects.order_by("id").values_list("target", "address")) == [
        ("/a", "192.0.2.7"),
        ("/b", "192.0.2.8"),
        ("/c", "192.0.2.7"),
        ("/fails", "192.0.2.10"),
        ("none", ""),
    ]


@pytest.mark.django_db
def test_the_middleware_is_in_use() -> None:
    Client(REMOTE_ADDR="192.0.2.7").post("/login", {"username": "x", "password": "y"})
    assert set(AuditEvent.objects.values_list("address", flat=True)) == {"192.0.2.7"}


@pytest.mark.django_db(transaction=True)
def test_many_processes_write_one_chain(tmp_path: Path, extent: Extent) -> None:
    """Six at once, each of them taking every fifth transaction back."""
    acts = extent(20, 50)
    using = programs.environment(tmp_path)
    module = "tests.audit.writer"
    for one in [programs.start(module, "write", f"w{n}", str(acts), using=using) for n in range(6)]:
        programs.said(one)
    found = json.loads(programs.said(programs.start(module, "verify", using=using)))
    assert found == {"rows": 6 * acts * 4 // 5, "flaws": [], "same": True, "noted": True}


@pytest.mark.django_db(transaction=True)
def test_an_act_is_done_also_if_its_row_cannot_be_noted(
    tmp_path: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AUDIT_NOTE_FILE = tmp_path / "no-folder" / "audit-newest"
    audit.record("user.create", "a", by="operator:ada")
    assert AuditEvent.objects.count() == 1
    assert "not noted" in caplog.text
    assert newest.read() == []
