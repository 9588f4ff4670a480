"""When a user was last seen, by what the registry tells."""

import json
from datetime import timedelta
from typing import Any

import pytest

from registryui.accounts import usage
from registryui.models import UNKNOWN, RegistryUser
from tests.support.factories import NOW, make_event

pytestmark = pytest.mark.django_db


def seen(name: str) -> tuple[object, ...]:
    row = RegistryUser.objects.get(name=name)
    return row.used_at, row.used_from, row.used_with


def test_the_newest_event_of_each_user_counts_in_any_order() -> None:
    for name in ("a", "b", "A"):
        RegistryUser.objects.create(name=name, secret_hash="x")
    before = seen("A")
    usage.note(
        [
            make_event("x", actor="a", address="10.0.0.2", client="podman", at=NOW),
            make_event("x", actor="a", address="10.0.0.1", client="docker", at=NOW - timedelta(1)),
            make_event("x", actor="b", address="::1", client="skopeo", action="pull"),
            make_event("x", actor="stranger"),
            make_event("x", actor=""),
        ]
    )
    assert seen("a") == (NOW, "10.0.0.2", "podman")
    assert seen("b") == (NOW, "::1", "skopeo")
    assert seen("A") == before


def test_an_older_event_that_comes_late_changes_nothing() -> None:
    RegistryUser.objects.create(name="a", secret_hash="x")
    usage.note([make_event("x", actor="a", client="new")])
    usage.note([make_event("x", actor="a", client="old", at=NOW - timedelta(minutes=1))])
    usage.note([make_event("x", actor="a", client="again")])
    assert seen("a") == (NOW, "", "new")


def test_one_query_a_user(django_assert_num_queries: object) -> None:
    events = [make_event("x", actor=f"user-{number % 3}") for number in range(30)]
    with django_assert_num_queries(3):  # type: ignore[operator]
        usage.note(events)
    with django_assert_num_queries(0):  # type: ignore[operator]
        usage.note([])


def logged(user: str, *, uri: str = "/v2/", status: int = 200) -> bytes:
    """A line of nginx's log."""
    row = {"time": NOW.isoformat(), "address": "10.0.0.9", "user": user, "method": "GET"}
    row |= {"uri": uri, "status": status, "bytes": 2, "agent": "docker/28"}
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_used", set())


@pytest.mark.usefixtures("_fresh")
def test_a_login_is_the_first_use_of_who_never_pushed_or_pulled() -> None:
    for name in ("new", "wrong", "busy"):
        RegistryUser.objects.create(name=name, secret_hash="x")
    usage.note([make_event("x", actor="busy", client="podman", at=NOW - timedelta(1))])
    lines = [logged("new"), logged("busy"), logged("stranger"), logged("")]
    refused = [logged("wrong", status=401), logged("wrong", uri="/v2/x/tags/list"), b"cut off\n"]
    usage.note_logins(b"".join([*refused, *lines]))
    assert seen("new") == (NOW, "10.0.0.9", "docker/28")
    assert seen("wrong")[0] == UNKNOWN
    assert seen("busy")[2] == "podman"


@pytest.mark.usefixtures("_fresh")
def test_a_login_is_asked_about_once(django_assert_num_queries: Any) -> None:
    RegistryUser.objects.create(name="new", secret_hash="x")
    with django_assert_num_queries(1):
        for _number in range(3):
            usage.note_logins(logged("new"))
