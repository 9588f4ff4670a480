"""The page of protections, the command that does the same, and the lock on tags."""

from __future__ import annotations

import json
import re

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.deletion import protection
from registryui.models import (
    AuditEvent,
    Manifest,
    Operator,
    Protection,
    RegistryEvent,
    Role,
)
from registryui.views.deletion import protection as page
from tests.support import pushed
from tests.support.commands import Command

pytestmark = pytest.mark.django_db
ADA = "operator:ada"


def client_of(role: Role) -> Client:
    client = Client()
    client.force_login(Operator.objects.create(username=f"a-{role}", role=role))
    return client


@pytest.fixture
def admin() -> Client:
    return client_of(Role.ADMIN)


@pytest.fixture
def store() -> None:
    pushed.image("team/app", tags=["v1", "v2", "latest"], layers=[("a", 1)], config={"os": "linux"})
    pushed.image("other", tags=["v1"], layers=[("b", 1)], config={"os": "linux"})


def test_the_list_says_how_many_tags_each_protects(admin: Client, store: None) -> None:
    protection.add("team/*", "v* stable", note="releases", by=ADA)
    protection.add("*", "*", note="", by="command line")
    protection.add("no/such", "*", note="", by=ADA)
    rows = admin.get("/maintenance/protected").context["rows"]
    assert [(str(one.row), one.count) for one in rows] == [
        ("no/such:*", 0), ("*:*", 4), ("team/*:v* stable", 2),
    ]  # fmt: skip


def test_in_a_large_index_counting_ends(
    admin: Client, store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    protection.add("team/*", "v*", note="", by=ADA)
    monkeypatch.setattr(page, "COUNTING_SECONDS", -1)
    answer = admin.get("/maintenance/protected")
    assert [one.count for one in answer.context["rows"]] == [None]
    assert "Not all tags were counted" in answer.content.decode()


def test_adding_and_lifting(admin: Client) -> None:
    form = {"repositories": " team/* , other ", "tags": "v*", "note": "releases"}
    assert admin.post("/maintenance/protected/add", form).status_code == 302
    row = Protection.objects.get()
    assert (str(row), row.note, row.by) == ("team/* other:v*", "releases", "operator:a-admin")
    assert admin.post("/maintenance/protected/lift", {"protection": row.pk}).status_code == 302
    assert not Protection.objects.exists()
    acts = AuditEvent.objects.order_by("id").values_list("act", "actor", "address")
    assert list(acts) == [
        ("protection.add", "operator:a-admin", "127.0.0.1"),
        ("protection.lift", "operator:a-admin", "127.0.0.1"),
    ]


def test_what_was_typed_is_not_lost_when_it_is_refused(admin: Client) -> None:
    form = {"repositories": "team/<b>", "tags": "v*", "note": "<i>"}
    answer = admin.post("/maintenance/protected/add", form)
    content = answer.content.decode()
    assert answer.status_code == 422
    assert "team/&lt;b&gt;" in content
    assert "<b>" not in content
    assert "<i>" not in content


@pytest.mark.parametrize("pk", ["", "x", "-1", "9" * 30, "٣", "1; DROP TABLE"])
def test_lifting_what_is_not_there_says_so(admin: Client, pk: str) -> None:
    answer = admin.post("/maintenance/protected/lift", {"protection": pk}, follow=True)
    assert "has already been removed" in answer.content.decode()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MAINTAINER])
def test_others_look_and_do_not_change(role: Role) -> None:
    row = protection.add("team/*", "v*", note="", by=ADA)
    client = client_of(role)
    content = client.get("/maintenance/protected").content.decode()
    assert "/maintenance/protected/add" not in content
    assert "/maintenance/protected/lift" not in content
    assert client.post("/maintenance/protected/lift", {"protection": row.pk}).status_code == 403
    assert client.get("/maintenance/protected/lift").status_code in (403, 405)
    assert Protection.objects.exists()


def test_a_link_fills_the_form_in(admin: Client) -> None:
    asked = {"repositories": "team/app", "tags": '1.0"><script>'}
    content = admin.get("/maintenance/protected", asked).content.decode()
    assert 'value="team/app"' in content
    assert "<script>" not in content


def test_hostile_notes_are_text(admin: Client) -> None:
    Protection.objects.create(repositories="a", tags="b", note="<script>x", by="<script>y")
    assert "<script>x" not in admin.get("/maintenance/protected").content.decode()
    assert "<script>y" not in admin.get("/maintenance/protected").content.decode()


def test_a_lock_is_on_protected_tags_for_one_query(admin: Client, store: None) -> None:
    def cost(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            admin.get(path)
        return len(queries)

    assert "Protected" not in _badges(admin, "/repositories/team/app")
    before = cost("/repositories/team/app")
    protection.add("team/*", "v*", note="", by=ADA)
    protection.add("team/*", "v1", note="", by=ADA)
    assert _badges(admin, "/repositories/team/app").count("Protected") == 2
    assert "Protected" in _badges(admin, "/repositories/team/app:v1")
    assert "Protected" not in _badges(admin, "/repositories/team/app:latest")
    assert cost("/repositories/team/app") == before


def test_a_protected_tag_offers_no_delete_but_its_rule(admin: Client, store: None) -> None:
    row = protection.add("team/*", "v1", note="", by=ADA)
    fixed = protection.add("team/*", "v2", note="", by=ADA, is_immutable=True)
    pages = {tag: admin.get(f"/repositories/team/app:{tag}") for tag in ("v1", "v2", "latest")}
    for tag, rule in {"v1": row, "v2": fixed}.items():
        content = pages[tag].content.decode()
        assert 'action="/delete"' not in content
        assert content.count(f"/maintenance/protected?rule={rule.pk}") == 2  # the badge, the button
    assert 'action="/delete"' in pages["latest"].content.decode()
    assert _badges(admin, "/repositories/team/app:v2") == ["Immutable"]
    listed = admin.get("/maintenance/protected", {"rule": row.pk})
    assert [one.row for one in listed.context["rows"]] == [row]
    assert "Show all protections" in listed.content.decode()
    for odd in ("", "0", "x", "9" * 30):
        assert len(admin.get("/maintenance/protected", {"rule": odd}).context["rows"]) == 2


def test_immutable_is_a_box_to_tick_and_stays_ticked(admin: Client) -> None:
    form = {"repositories": "team/*", "tags": "v*", "immutable": "1"}
    admin.post("/maintenance/protected/add", form)
    row = Protection.objects.get()
    assert row.is_immutable
    assert AuditEvent.objects.get().details == {"note": "", "immutable": True}
    assert ">Immutable</span>" in admin.get("/maintenance/protected").content.decode()
    again = admin.post("/maintenance/protected/add", form)
    assert again.status_code == 422
    assert 'value="1" checked' in again.content.decode()
    weaker = admin.post("/maintenance/protected/add", {**form, "immutable": ""})
    assert "already immutable" in weaker.content.decode()
    assert Protection.objects.get().is_immutable


def test_ticking_immutable_makes_the_protection_that_is_there_immutable(admin: Client) -> None:
    form = {"repositories": "team/*", "tags": "v*", "note": "releases"}
    admin.post("/maintenance/protected/add", form)
    answer = admin.post("/maintenance/protected/add", {**form, "immutable": "1"}, follow=True)
    assert "Immutable: team/*:v*" in answer.content.decode()
    row = Protection.objects.get()
    assert (row.is_immutable, row.note) == (True, "releases")


def test_history_offers_no_way_back_for_an_immutable_tag(admin: Client, store: None) -> None:
    pushed.image("team/app", tags=["v1"], layers=[("c", 1)], config={"os": "linux"})
    events = RegistryEvent.objects.bulk_create(
        RegistryEvent(
            event_id=f"e{number}",
            action="push",
            repository="team/app",
            tag="v1",
            digest=manifest.digest,
            at=timezone.now(),
        )
        for number, manifest in enumerate(Manifest.objects.filter(repository__name="team/app"))
    )
    assert len(events) == 2
    page = "/repositories/team/app:v1?tab=history"
    assert "restore_digest=" in admin.get(page).content.decode()
    protection.add("team/*", "v*", note="", by=ADA)
    assert "restore_digest=" in admin.get(page).content.decode()
    protection.add("team/*", "v1", note="", by=ADA, is_immutable=True)
    assert "restore_digest=" not in admin.get(page).content.decode()


def _badges(client: Client, path: str) -> list[str]:
    """The words of the plain badges of a page."""
    content = client.get(path).content.decode()
    return re.findall(r'class="badge"[^>]*><svg.*?</svg>(\w+)<', content, re.DOTALL)


# -- the command ---------------------------------------------------------------------------------
said = Command("protect").said


def test_the_command_adds_lists_and_lifts(store: None) -> None:
    assert said("list").strip() == "No protected tags."
    assert "2 matching tags" in said("add", "team/* x:v*", "--note", "releases")
    (fact,) = json.loads(said("list", "--json"))
    assert (fact["repositories"], fact["tags"], fact["tags_now"], fact["by"]) == (
        "team/* x", "v*", 2, "command line",
    )  # fmt: skip
    assert "TAGS NOW" in said("list")
    assert fact["immutable"] is False
    assert "is immutable: 2 matching tags" in said("add", "team/* x:v*", "--immutable")
    (fact,) = json.loads(said("list", "--json"))
    assert (fact["immutable"], fact["note"]) == (True, "releases")
    with pytest.raises(CommandError):
        said("add", "team/* x:v*")
    assert "Removed the protection" in said("lift", "team/*,x : v*")
    said("add", "other:v1")
    said("lift", str(Protection.objects.get().pk))
    assert not Protection.objects.exists()


@pytest.mark.parametrize(
    "arguments", [["add", "team/*"], ["add", ":"], ["lift", "a:b"], ["lift", "7"]]
)
def test_the_command_ends_with_1_if_it_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError) as ended:
        said(*arguments)
    assert ended.value.returncode == 1
