"""Whether anything was written: never missed, and the same for all threads while nothing was."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection, connections, transaction

from registryui.database_state import state
from tests.support.factories import make_repository

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_it_changes_with_each_write_of_whoever_and_with_nothing_else() -> None:
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        try:
            for ask in (one, other):  # each has a connection of its own
                ask.submit(state).result()
            before = state()
            if connection.vendor == "sqlite":  # tests beside this one write to the same PostgreSQL
                seen = [one.submit(state).result(), other.submit(state).result()]
                assert seen == [before, before]

            one.submit(make_repository, "team/app").result()
            seen = other.submit(state).result()
            assert seen != before
            assert state() not in (before, "")

            before = one.submit(state).result()
            make_repository("team/api")
            assert before not in (state(), one.submit(state).result(), other.submit(state).result())
        finally:
            for ask in (one, other):
                ask.submit(connections.close_all).result()


def test_what_is_rolled_back_may_change_it_and_what_is_read_does_not() -> None:
    before = state()
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM registryui_repository")
    assert state() == before or connection.vendor == "postgresql"
    with transaction.atomic():
        make_repository("team/app")
        inside = state()
        transaction.set_rollback(True)
    make_repository("team/api")
    assert state() not in (before, inside)


@pytest.mark.one_database  # SQLite's own words
def test_an_error_is_one_that_pages_know(monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged:
        total_changes = 0

        def execute(self, _sql: str) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(connections["default"], "connection", Damaged())
    with pytest.raises(DatabaseError):
        state()
