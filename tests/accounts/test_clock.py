"""A clock that was ahead, and is right again: what it ended by itself works as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from axes.models import AccessAttempt
from django.conf import settings as live
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from registryui import operators
from registryui.accounts import htpasswd, publish, rights, users
from registryui.models import AuditEvent, RegistryUser, Role
from tests.support.factories import PASSWORD, make_operator

from .checks import inconsistent

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
PULL = rights.parse([("pull", "team/*")])
right_now = timezone.now


@contextmanager
def ahead(monkeypatch: pytest.MonkeyPatch, time: timedelta) -> Iterator[None]:
    """Meanwhile the clock of this process is ahead."""
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: right_now() + time)
        yield


def ends(row: RegistryUser) -> None:
    users.expire([row], timezone.now() + timedelta(hours=1), by="tests")


def overlaps(row: RegistryUser) -> None:
    users.rotate(row, by="tests", overlap=timedelta(hours=1))


@pytest.mark.parametrize("days", [1, 29])
@pytest.mark.parametrize("prepared", [ends, overlaps])
def test_what_a_clock_ended_too_early_works_again(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepared: Callable[[RegistryUser], None],
    days: int,
) -> None:
    publish.prepare()
    prepared(users.create("ci", by="tests", may=PULL).user)

    def said() -> list[object]:
        markers = sorted(str(path) for path in live.RIGHTS_DIR.rglob("@*"))
        return [publish.lines(), live.OVERLAP_FILE.read_bytes(), markers]

    before = said()
    with ahead(monkeypatch, timedelta(days=days)):
        publish.catch_up()
        assert said() != before
        assert inconsistent() == []
        assert publish.catch_up() == 0
    assert publish.late_names() == (["ci"] if prepared is ends else [])
    publish.catch_up()
    assert said() == before
    assert inconsistent() == []
    assert publish.late_names() == []
    assert publish.catch_up() == 0


def test_a_hands_edit_is_left_alone_all_the_same(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.prepare()
    for name in ("ci", "other"):
        ends(users.create(name, by="tests", may=PULL).user)
    live.HTPASSWD_FILE.write_bytes(htpasswd.change(publish.read(), {"other": ""}))
    publish.catch_up()
    assert publish.lines().keys() == {"ci"}


def test_failed_logins_and_sessions_of_a_time_to_come_go(client: Client) -> None:
    make_operator("ada", Role.ADMIN)
    log_in = {"username": "ada", "password": PASSWORD}
    stolen = Client()
    stolen.post("/login", log_in)
    for _ in range(5):
        client.post("/login", {**log_in, "password": "wrong"})
    # as if the clock had been ahead meanwhile
    then = timezone.now() + timedelta(days=400)
    AccessAttempt.objects.update(attempt_time=then)
    Session.objects.update(expire_date=then + timedelta(seconds=live.SESSION_COOKIE_AGE))
    assert stolen.get("/").status_code == 200
    operators.forget_times_to_come()
    assert client.post("/login", log_in).status_code == 302
    operators.forget_times_to_come()
    assert client.get("/").status_code == 200
    assert stolen.get("/").status_code == 302
    assert Session.objects.count() == 1


def test_a_row_of_a_time_to_come_silences_no_failed_login(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = {"username": "nobody", "password": "wrong"}
    with ahead(monkeypatch, timedelta(days=400)):
        client.post("/login", guess)
    client.post("/login", guess)
    assert AuditEvent.objects.filter(act="operator.login").count() == 2
