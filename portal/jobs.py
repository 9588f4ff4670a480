"""The job queue in SQLite, which may be lost: its jobs are started again.

The schedule runs each minute, a sync finds what events reported, and runs have their own rows. So a
damaged, unreadable or missing file is renamed and created again.
"""

import contextlib
import fcntl
import io
import logging
import os
import pickle
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from huey import PostgresHuey, SqliteHuey
from huey.serializer import Serializer as HueySerializer
from huey.storage import SqliteStorage

log = logging.getLogger(__name__)

# Errors of the file itself, not temporary ones.
_OF_THE_FILE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}


# Where a class was in 0.5 whose values are in jobs of then: where it is.
_MOVED = {("registryui.cleanup.records", "Selection"): "registryui.deletion.records"}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(_MOVED.get((module, name), module), name)


class Serializer(HueySerializer):  # type: ignore[misc]
    """huey's; reads what the version before has put into the queue, too."""

    def _deserialize(self, data: bytes) -> Any:
        return _Unpickler(io.BytesIO(data)).load()


class JobStorage(SqliteStorage):  # type: ignore[misc]  # huey has no types
    """huey's, on a file that is created again if needed. All processes of the instance switch to
    the new one."""

    _made: tuple[int, int] = (0, 0)  # device and inode of the open file

    def _create_connection(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except sqlite3.DatabaseError as error:
            if not self._put_aside(error, self._there()):
                raise
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        try:
            for statement in self.ddl:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        self._made = self._there()
        return connection

    def initialize_schema(self) -> None:
        """huey calls it at once, in every command: one that needs no job continues without."""
        try:
            with self.db(close=True):
                pass
        except sqlite3.DatabaseError as error:
            log.error("no job can be given to the worker: %s: %s", self.filename, error)

    @contextlib.contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[Any]:
        """huey's connection for each operation. One that meets a damaged file fails; the next one
        has a new file."""
        if self._conn is not None and self._made != self._there():
            self.close()  # it is missing, or another process has renamed it
        try:
            with super().db(commit=commit, close=close) as cursor:
                yield cursor
        except sqlite3.DatabaseError as error:
            if self._conn is not None and self._put_aside(error, self._made):
                self.close()
            raise

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """As huey's; repeated if the file was replaced."""
        before = self._made
        try:
            super().enqueue(data, priority)
        except sqlite3.DatabaseError:
            if before == self._there():
                raise
            super().enqueue(data, priority)

    def _there(self) -> tuple[int, int]:
        try:
            found = Path(self.filename).stat()
        except OSError:
            return (0, 0)
        return found.st_dev, found.st_ino

    def _put_aside(self, error: sqlite3.DatabaseError, seen: tuple[int, int]) -> bool:
        """Whether there is now another file than before, or none."""
        path = Path(self.filename)
        if not _is_of_the_file(error, path):
            return False
        try:
            folder = os.open(path.parent, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if self._there() != seen:
                return True  # another process was faster
            aside = f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
            path.rename(aside)
            for suffix in ("-wal", "-shm"):  # they belong to the old one
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        except OSError as refusal:
            log.error("%s cannot be used (%s) nor put aside (%s)", path, error, refusal)
            return False
        finally:
            os.close(folder)
        log.warning("%s could not be used (%s): put aside as %s, made anew", path, error, aside)
        return True


def _is_of_the_file(error: sqlite3.DatabaseError, path: Path) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN:  # or this process may open no more files, say
        files = [path, *(place for s in ("-wal", "-shm") if (place := Path(f"{path}{s}")).exists())]
        return any(not (one.is_file() and os.access(one, os.R_OK | os.W_OK)) for one in files)
    return code in _OF_THE_FILE or str(error).startswith("no such table")


class JobQueue(SqliteHuey):  # type: ignore[misc]
    """huey on that file."""

    storage_class = JobStorage

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, serializer=Serializer(), **options)


class PostgresJobQueue(PostgresHuey):  # type: ignore[misc]
    """huey in the database."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, serializer=Serializer(), **options)

    def enqueue(self, task: Any) -> Any:
        """As huey's; repeated if its connection was lost, for the next one is new."""
        try:
            return super().enqueue(task)
        except psycopg.Error:
            return super().enqueue(task)
