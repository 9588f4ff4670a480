"""Whether anything was written to the database: exact, and cheaper than any query of a table.

What was read stays true as long as nothing was written, by whichever process or host.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

MOST_ROWS = 1000  # kept in each process: two of each open browser and state
_numbers = itertools.count(1)
_newest = 0  # of this process
_SEEN = "boathouse_state"
_SNAPSHOT = "SELECT concat(pg_current_snapshot(), ' ', pg_postmaster_start_time())"
_moment: ContextVar[list[str] | None] = ContextVar("moment", default=None)


def state() -> str:
    """Equal for two moments of one process only if no transaction was committed in between,
    whoever wrote. What is read from the database after asking is at least as new as the answer.

    Raises django.db.DatabaseError. In a transaction its own writes may not change it.
    """
    moment = _moment.get()
    if moment:
        return moment[0]
    connection = connections[DEFAULT_DB_ALIAS]  # of this thread
    is_postgresql = connection.vendor == "postgresql"
    now = _of_postgresql(connection) if is_postgresql else str(_of_sqlite(connection))
    if moment is not None:
        moment.append(now)
    return now


@contextmanager
def one_moment() -> Iterator[None]:
    """Within it the state is asked once: a request begins with it. What this thread writes
    meanwhile is only noticed after `written`."""
    token = _moment.set([])
    try:
        yield
    finally:
        _moment.reset(token)


def written() -> None:
    """The moment is over: what is read from now on shall see what this thread wrote."""
    if moment := _moment.get():
        moment.clear()


def while_unwritten(read: Callable[[K], T], asked: K) -> T:
    """What `read` gives for this value, from the database and nothing else; read again if
    anything was written since. The result is shared: nobody changes it.

    Only a row is kept, never what follows from it: the clock is asked by the caller.
    """
    if connections[DEFAULT_DB_ALIAS].in_atomic_block:  # it may be rolled back
        return read(asked)
    found: T = _read(state(), read, asked)
    return found


@lru_cache(maxsize=MOST_ROWS)
def _read(_state: str, read: Callable[[K], T], asked: K) -> T:
    return read(asked)


def _of_postgresql(connection: Any) -> str:
    """The transactions that are visible, of all hosts, since the server's start: a backup may
    number its own anew. https://www.postgresql.org/docs/15/functions-info.html

    Django asks at the beginning of each request whether a kept connection still works; this
    question tells as well."""
    is_kept = connection.connection is not None and connection.health_check_enabled
    if is_kept and not connection.health_check_done:
        connection.health_check_done = True
        try:
            return _snapshot(connection)
        except DatabaseError:
            connection.close()
    return _snapshot(connection)


def _snapshot(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOT)
        return str(cursor.fetchone()[0])


def _of_sqlite(connection: BaseDatabaseWrapper) -> int:
    """SQLite tells a connection when another one has written (https://sqlite.org/pragma.html,
    data_version), and what it has written itself. The first of the process's connections to notice
    gives the state its number; another one that notices the same later gives it a new one."""
    global _newest
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors:  # else a damaged file is no error that pages know
        (version,) = raw.execute("PRAGMA data_version").fetchone()
    now = (raw, version, raw.total_changes)  # `raw`: another connection begins to count anew
    if getattr(connection, _SEEN, None) != now:
        setattr(connection, _SEEN, now)
        _newest = next(_numbers)
    return _newest
