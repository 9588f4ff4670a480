"""When a user was last seen, by what the registry tells."""

from datetime import timedelta

import pytest

from registryui.accounts import usage
from registryui.models import RegistryUser
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
