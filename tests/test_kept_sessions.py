"""Rows of sessions and operators that a process keeps: nobody is let in by an old one, whoever
changed it, in which process, on which host."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.sessions.models import Session
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from portal.sessions import SessionStore
from registryui import database_state
from registryui.database_state import one_moment, state
from registryui.models import Operator, Role
from registryui.operators import Backend
from tests.selection import Extent
from tests.support.factories import make_operator
from tests.support.shared_database import own_database

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
PAGE = "/password"  # every operator's
OF_SQLITE = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], timeout=20)
base.execute(sys.argv[2])
base.commit()
"""
OF_POSTGRESQL = """
import psycopg, sys
with psycopg.connect(sys.argv[1]) as base:
    base.execute(sys.argv[2])
"""


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """One that other processes can open, too; in SQLite a file, as in the product."""
    file = tmp_path_factory.mktemp("database") / "index.sqlite3"
    is_file = connection.vendor == "sqlite"
    with (
        own_database(file, django_db_blocker) if is_file else nullcontext(),
        django_db_blocker.unblock(),
    ):
        yield


@pytest.fixture(autouse=True)
def ada(database: None, transactional_db: None) -> Operator:
    return make_operator("ada", Role.ADMIN)


@pytest.fixture
def client(ada: Operator) -> Client:
    """Signed in, and both rows are kept."""
    client = Client()
    client.force_login(ada)
    for _time in range(3):
        assert client.get(PAGE).status_code == 200
    return client


def elsewhere(statement: str) -> None:
    """Another process does it: it knows nothing of Django."""
    if connection.vendor == "sqlite":
        code, where = OF_SQLITE, str(connection.settings_dict["NAME"])
    else:
        place = connection.get_connection_params()
        names = ("host", "port", "user", "password", "dbname")
        code = OF_POSTGRESQL
        where = " ".join(f"{name}={place[name]}" for name in names if place.get(name))
    subprocess.run([sys.executable, "-c", code, where, statement], check=True)


def threads(count: int) -> ThreadPoolExecutor:
    """With connections of their own to the same database."""
    usual, place = type(connections["default"]), connection.settings_dict

    def begin() -> None:
        connections["default"] = usual(place, "default")

    return ThreadPoolExecutor(count, initializer=begin)


def test_while_nobody_writes_neither_row_is_read_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On PostgreSQL, tests beside this one write to other databases of the same server.
    monkeypatch.setattr(database_state, "state", lambda: "as it was")
    rows = re.compile("FROM (django_session|registryui_operator) WHERE")
    for found in (2, 0):
        with CaptureQueriesContext(connection) as captured:
            assert client.get(PAGE).status_code == 200
        assert len(rows.findall(" ".join(one["sql"] for one in captured))) == found


def test_a_request_asks_once_whether_anything_was_written(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = mock.Mock(side_effect=["1", "2"])
    monkeypatch.setattr(database_state, "_of_sqlite", lambda _connection: asked())
    monkeypatch.setattr(database_state, "_of_postgresql", lambda _connection: asked())
    assert client.get(PAGE).status_code == 200
    assert asked.call_count == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM django_session",  # signed out
        "UPDATE django_session SET expire_date = '2001-01-01 00:00:00'",
        "UPDATE django_session SET session_data = 'another'",
        "UPDATE registryui_operator SET is_active = false",
        "UPDATE registryui_operator SET password = 'another'",
        "DELETE FROM registryui_operator",
    ],
)
def test_what_another_process_ends_has_ended(client: Client, statement: str) -> None:
    elsewhere(statement)
    assert client.get(PAGE).status_code == 302
    assert client.get(PAGE, headers={"HX-Request": "true"}).status_code == 401


def test_a_role_that_another_process_takes_and_gives_is_the_role(client: Client) -> None:
    for role, status in (("viewer", 403), ("admin", 200), ("maintainer", 403)):
        elsewhere(f"UPDATE registryui_operator SET role = '{role}'")
        assert client.get("/operators").status_code == status
        assert client.get("/operators").status_code == status


def test_one_ends_by_the_clock_although_nobody_writes(client: Client) -> None:
    later = timezone.now() + timedelta(hours=13)
    with mock.patch.object(timezone, "now", return_value=later):
        assert client.get(PAGE).status_code == 302
    assert Session.objects.exists()


def test_signing_out_ends_it_in_every_thread(client: Client) -> None:
    key = client.session.session_key

    def is_in() -> bool:
        with one_moment():
            return "_auth_user_id" in SessionStore(key)

    with threads(1) as one, threads(1) as other:
        try:
            assert [ask.submit(is_in).result() for ask in (one, other, one, other)] == [True] * 4
            client.post("/logout")
            assert [ask.submit(is_in).result() for ask in (one, other)] == [False, False]
        finally:
            for ask in (one, other):
                ask.submit(connections.close_all).result()


def test_a_request_sees_what_it_wrote_itself() -> None:
    with one_moment():
        session = SessionStore()
        session["a"] = 1
        session.save()
        assert SessionStore(session.session_key)["a"] == 1
        session["a"] = 2
        session.save()
        assert SessionStore(session.session_key)["a"] == 2
        session.delete()
        assert SessionStore(session.session_key).get("a") is None


def test_what_was_rolled_back_was_never_kept(ada: Operator) -> None:
    with transaction.atomic():
        Operator.objects.update(role=Role.VIEWER)
        inside = Backend().get_user(ada.pk)
        transaction.set_rollback(True)
    after = Backend().get_user(ada.pk)
    assert inside
    assert after
    assert (inside.role, after.role) == (Role.VIEWER, Role.ADMIN)


def test_each_request_has_an_operator_of_its_own(ada: Operator) -> None:
    first = Backend().get_user(ada.pk)
    assert first
    first.role, first.is_active = Role.VIEWER, False
    second = Backend().get_user(ada.pk)
    assert second
    assert (second.role, second.is_active) == (Role.ADMIN, True)


def test_no_reader_is_behind_a_write_that_has_returned(ada: Operator, extent: Extent) -> None:
    """Readers beside a writer: each sees at least what was committed before it asked."""
    writes = extent(200, 5000)
    Operator.objects.update(longest_days=0)
    committed = 0
    is_over = threading.Event()

    def write() -> None:
        nonlocal committed
        try:
            for number in range(1, writes + 1):
                Operator.objects.filter(pk=ada.pk).update(longest_days=number)
                committed = number
        finally:
            is_over.set()
            connections.close_all()

    def read() -> int:
        count = 0
        try:
            while not is_over.is_set():
                least = committed
                with one_moment():
                    row = Backend().get_user(ada.pk)
                assert row
                assert (row.longest_days or 0) >= least
                count += 1
        finally:
            connections.close_all()
        return count

    with threads(4) as pool:
        readers = [pool.submit(read) for _number in range(3)]
        pool.submit(write).result()
        assert all(reader.result() > 0 for reader in readers)


def test_a_connection_that_the_server_ended_is_made_anew() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server")
    before = state()
    assert connection.health_check_enabled
    elsewhere(f"SELECT pg_terminate_backend({connection.connection.info.backend_pid})")
    connection.health_check_done = False  # as at the beginning of a request
    assert state().split()[1:] == before.split()[1:]  # the server's start
