"""Whether anything was written to the database: exact, and cheaper than any query of a table."""

from __future__ import annotations

import itertools
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

_numbers = itertools.count(1)
_newest = 0  # of this process
_SEEN = "boathouse_state"


def state() -> str:
    """Equal for two moments of one process only if no transaction was committed in between,
    whoever wrote. What is read from the database after asking is at least as new as the answer.

    Raises django.db.DatabaseError. In a transaction of PostgreSQL its own writes do not change it.
    """
    connection = connections[DEFAULT_DB_ALIAS]  # of this thread
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # The transactions that are visible: https://www.postgresql.org/docs/15/functions-info.html
            cursor.execute("SELECT pg_current_snapshot()::text")
            return str(cursor.fetchone()[0])
    return str(_of_sqlite(connection))


def _of_sqlite(connection: BaseDatabaseWrapper) -> int:
    """SQLite tells a connection when another one has written (https://sqlite.org/pragma.html,
    data_version), and what it has written itself. The first of the process's connections to notice
    gives the state its number; another one that notices the same later gives it a new one."""
    global _newest
    raw: Any = connection.connection
    with connection.wrap_database_errors:  # else a damaged file is no error that pages know
        (version,) = raw.execute("PRAGMA data_version").fetchone()
    now = (raw, version, raw.total_changes)  # `raw`: another connection begins to count anew
    if getattr(connection, _SEEN, None) != now:
        setattr(connection, _SEEN, now)
        _newest = next(_numbers)
    return _newest
