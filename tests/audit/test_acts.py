"""What people do is in the log: who, to what, from where, and how it ended."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from registryui import operators
from registryui.accounts import drift, publish, rights, users
from registryui.audit import chain
from registryui.index.sync import sync
from registryui.models import AuditEvent, Operator, RegistryUser, Role
from registryui.refused import Refused
from registryui.setup import first
from tests.support.fake_source import FakeSource

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"
ADA, VERA = "operator:ada", "operator:vera"
Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    found = AuditEvent.objects.order_by("id").values_list("act", "target", "actor", "result")
    return [tuple(row) for row in found]


@pytest.fixture(autouse=True)
def _complete_at_the_end() -> Any:
    yield
    assert chain.verify().is_complete


@pytest.fixture
def both() -> None:
    """Two administrators."""
    for name in ("ada", "vera"):
        Operator.objects.create_user(username=name, password=PASSWORD, role=Role.ADMIN)


@pytest.fixture
def ada() -> Operator:
    return Operator.objects.create_user(username="ada", password=PASSWORD, role=Role.ADMIN)


def log_in(name: str, password: str, address: str = "192.0.2.1") -> int:
    sent = {"username": name, "password": password}
    return Client().post("/login", sent, headers={"X-Real-IP": address}).status_code


# -- coming and going ----------------------------------------------------------------------------
def test_login_logout_and_a_wrong_password(ada: Operator) -> None:
    client = Client(REMOTE_ADDR="192.0.2.1")
    client.post("/login", {"username": "ada", "password": "wrong"})
    client.post("/login", {"username": "ada", "password": PASSWORD})
    client.post("/logout")
    client.post("/logout")  # nobody is logged in: no act
    assert rows() == [
        ("operator.login", "ada", "", "failed"),
        ("operator.login", "ada", ADA, "done"),
        ("operator.logout", "ada", ADA, "done"),
    ]
    assert set(AuditEvent.objects.values_list("address", flat=True)) == {"192.0.2.1"}


@pytest.mark.parametrize("typed", [PASSWORD, "no\0body", "x" * 300, "<b>", ""])
def test_a_name_that_nobody_has_is_not_kept(ada: Operator, typed: str) -> None:
    """It may be a password, typed into the wrong field."""
    assert log_in(typed, "wrong") == 422
    assert rows() == [("operator.login", "", "", "failed")]
    row = AuditEvent.objects.get()
    assert row.details == {"known": False}


def test_guessing_names_fills_no_disk(ada: Operator) -> None:
    for number in range(40):
        log_in(f"guess-{number}", "wrong")
    assert rows() == [("operator.login", "", "", "failed")]
    log_in("guess", "wrong", address="192.0.2.2")
    assert len(rows()) == 2


def test_an_operators_name_is_kept_at_each_try_until_it_is_locked(ada: Operator) -> None:
    for _ in range(20):
        log_in("ada", "wrong")
    results = [result for _act, _target, _by, result in rows()]
    assert results == ["failed"] * 4 + ["refused"]
    assert {target for _act, target, _by, _result in rows()} == {"ada"}


def test_an_own_password_and_a_wrong_old_one(ada: Operator) -> None:
    client = Client()
    client.force_login(ada)
    new = "another horse battery staple"
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    client.post("/password", form)
    client.post("/password", {**form, "old_password": PASSWORD, "new_password2": "typo"})
    assert client.post("/password", {**form, "old_password": PASSWORD}).status_code == 302
    assert rows() == [
        ("operator.password", "ada", ADA, "failed"),
        ("operator.password", "ada", ADA, "done"),
    ]
    assert client.get("/").status_code == 200  # this session goes on
    ada.refresh_from_db()
    assert ada.check_password(new)


def test_a_form_that_the_role_may_not_send(ada: Operator) -> None:
    operators.add("vera", role=Role.VIEWER, by=ADA)
    client = Client()
    client.force_login(Operator.objects.get(username="vera"))
    client.post("/operators/add", {"name": "eve", "role": "admin"})
    client.get("/operators")  # only a look
    assert rows()[1:] == [("page.refuse", "/operators/add", VERA, "refused")]
    details = AuditEvent.objects.order_by("-id")[0].details
    assert details == {"needed": "admin", "role": "viewer"}


# -- operators -----------------------------------------------------------------------------------
def test_what_is_done_to_operators(ada: Operator) -> None:
    vera, secret = operators.add("vera", role=Role.VIEWER, by=ADA)
    operators.set_role(vera, Role.MAINTAINER, by=ADA)
    operators.set_active(vera, is_active=False, by=ADA)
    operators.set_active(vera, is_active=True, by="command line")
    new = operators.set_password(vera, by=ADA)
    operators.remove(vera, by=ADA)
    assert rows() == [
        ("operator.create", "vera", ADA, "done"),
        ("operator.role", "vera", ADA, "done"),
        ("operator.disable", "vera", ADA, "done"),
        ("operator.enable", "vera", "command line", "done"),
        ("operator.password", "vera", ADA, "done"),
        ("operator.remove", "vera", ADA, "done"),
    ]
    said = str(list(AuditEvent.objects.values()))
    assert secret not in said
    assert new not in said


def test_what_is_refused_among_operators(ada: Operator) -> None:
    mei, _secret = operators.add("mei", role=Role.ADMIN, by="command line")
    operators.remove(ada, by="command line")
    for act in (
        lambda: operators.set_active(mei, is_active=False, by="command line"),
        lambda: operators.remove(mei, by="operator:mei"),
        lambda: operators.set_password(mei, by="operator:mei"),
    ):
        with pytest.raises(Refused):
            act()
    assert rows()[2:] == [
        ("operator.disable", "mei", "command line", "refused"),
        ("operator.remove", "mei", "operator:mei", "refused"),
        ("operator.password", "mei", "operator:mei", "refused"),
    ]


def test_a_typo_is_no_act(ada: Operator) -> None:
    with pytest.raises(Refused):
        operators.add("ada", role=Role.VIEWER, by=ADA)
    with pytest.raises(Refused):
        operators.add("vera", role=Role.VIEWER, by=ADA, password="short")
    assert rows() == []


def test_an_operator_named_like_the_schedule_is_not_it(ada: Operator) -> None:
    other, _secret = operators.add("schedule", role=Role.ADMIN, by=ADA)
    operators.set_active(other, is_active=False, by="schedule")  # its own access, if it were
    assert rows()[-1] == ("operator.disable", "schedule", "schedule", "done")


# -- registry users ------------------------------------------------------------------------------
PULL = rights.parse([("pull", "team/*")])


@pytest.mark.usefixtures("both")
def test_what_is_done_to_registry_users(files: Path) -> None:
    publish.prepare()
    secret = users.create("ci", by=ADA, may=PULL).secret
    row = RegistryUser.objects.get()
    users.set_rights(row, frozenset(), by=ADA)
    users.describe(row, note="nightly", owner=None, by=ADA)
    rotated = users.rotate(row, by=ADA, overlap=timedelta(hours=1)).secret
    users.set_password(row, PASSWORD, by=ADA)
    users.set_active([row], is_active=False, by=ADA)
    users.set_active([row], is_active=True, by=ADA)
    users.expire([row], timezone.now() + timedelta(days=9), by=ADA)
    users.remove([row], by=ADA)
    assert {row[1:] for row in rows()} == {("ci", ADA, "done")}
    assert [row[0] for row in rows()] == [
        "user.create", "user.rights", "user.describe", "user.secret", "user.password",
        "user.disable", "user.enable", "user.expire", "user.remove",
    ]  # fmt: skip
    said = str(list(AuditEvent.objects.values()))
    for text in (secret, rotated, PASSWORD, "$2"):
        assert text not in said
    changed = AuditEvent.objects.get(act="user.rights")
    assert changed.details == {"before": ["pull team/*"], "rights": []}


@pytest.mark.usefixtures("both")
def test_several_users_are_a_row_each(files: Path) -> None:
    publish.prepare()
    made = [users.create(name, by=ADA).user for name in ("a", "b", "c")]
    users.set_active(made, is_active=False, by=VERA)
    assert rows()[3:] == [("user.disable", name, VERA, "done") for name in ("a", "b", "c")]


@pytest.mark.usefixtures("both")
def test_files_that_cannot_be_written_are_a_failure_in_the_log(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.prepare()
    row = users.create("ci", by=ADA).user

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "_replace", full)
    with pytest.raises(Refused):
        users.set_active([row], is_active=False, by=ADA)
    with pytest.raises(Refused):
        users.create("new", by=ADA)
    assert rows()[1:] == [
        ("user.disable", "ci", ADA, "done"),
        ("user.disable", "ci", ADA, "failed"),
        ("user.create", "new", ADA, "done"),
        ("user.create", "new", ADA, "failed"),
    ]
    details = AuditEvent.objects.order_by("-id")[0].details
    assert details == {"reason": "No space left on device", "undone": True}
    row.refresh_from_db()
    assert row.is_active
    assert not RegistryUser.objects.filter(name="new").exists()


@pytest.mark.usefixtures("both")
def test_lines_edited_by_hand(files: Path) -> None:
    publish.prepare()
    users.create("ci", by=ADA)
    with (files / "htpasswd").open("a") as file:
        file.write("hand:$2y$05$abcdefghijklmnopqrstuuPdDyp.YrDZjHZdB6dyPmZRFKF1vVlYi\nodd\x07:x\n")
    found = {one.name: one for one in drift.find()}
    drift.take_over([found["hand"]], by=ADA)
    drift.leave_alone([found["odd\x07"]], by=ADA)
    drift.restore_lines([found["odd\x07"]], by=VERA)
    version = publish.versions()[0]
    drift.restore(version, by=ADA)
    assert rows()[1:] == [
        ("user.adopt", "hand", ADA, "done"),
        ("line.leave", "odd\x07", ADA, "done"),
        ("line.put_back", "odd\x07", VERA, "done"),
        ("file.restore", version.name, ADA, "done"),
    ]


# -- set-up and sync -----------------------------------------------------------------------------
def test_the_first_operator() -> None:
    first.operator()
    first.operator()
    assert rows() == [("operator.create", "admin", "set-up", "done")]


def test_a_sync_by_hand_and_none_by_the_schedule() -> None:
    for by in ("schedule", "start", "command line"):
        sync(FakeSource(), by=by)
    assert rows() == [("sync.start", "", "command line", "done")]


@pytest.fixture(autouse=True)
def _nobody_is_locked_out() -> None:
    cache.clear()
