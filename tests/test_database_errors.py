"""What each error of a database means for a person: real ones of SQLite, PostgreSQL's by class."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as live
from django.db import (
    ConnectionHandler,
    DatabaseError,
    IntegrityError,
    InternalError,
    OperationalError,
    ProgrammingError,
)

from registryui import database_errors, doctor
from registryui.doctor import checks

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def made(path: Path) -> None:
    """A database with a table of some pages, closed."""
    with closing(sqlite3.connect(path)) as one:
        one.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, text TEXT)")
        one.execute("CREATE INDEX some ON django_migrations (text)")
        rows = [(f"{number} " * 40,) for number in range(500)]
        one.executemany("INSERT INTO django_migrations (text) VALUES (?)", rows)
        one.commit()


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """As Django opens the product's own."""
    options = {"timeout": 0.05, "init_command": "PRAGMA journal_mode=WAL"}
    engine = "django.db.backends.sqlite3"
    handler = ConnectionHandler({"default": {"ENGINE": engine, "NAME": path, "OPTIONS": options}})
    connection = handler["default"]
    try:
        yield connection
    finally:
        connection.close()


def error_of(path: Path, sql: str = "SELECT max(text) FROM django_migrations") -> DatabaseError:
    with opened(path) as connection, pytest.raises(DatabaseError) as raised:
        connection.cursor().execute(sql)
    return raised.value


def noise(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def noise_behind_the_head(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("hurt", "kind"),
    [
        (noise, "damaged"),
        (noise_behind_the_head, "damaged"),
        (lambda path: path.write_bytes(b""), "empty"),
        (Path.unlink, "empty"),  # SQLite makes another one at once
        (folder, "closed"),
    ],
)
def test_each_trouble_of_sqlite_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurt: Callable[[Path], object], kind: str
) -> None:
    monkeypatch.setattr(live, "IS_POSTGRESQL", False)
    path = tmp_path / "index.sqlite3"
    monkeypatch.setattr(database_errors, "path", lambda: str(path))
    made(path)
    hurt(path)
    error = error_of(path)
    assert database_errors.kind(error) == kind
    said = database_errors.sentence(error)
    assert str(path) in said
    assert "./boathouse" in said or "user" in said
    assert "server" not in said


def test_a_file_that_others_write_to_is_away_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    made(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert database_errors.kind(error_of(path, "DELETE FROM django_migrations")) == "away"


def test_each_trouble_of_postgresql_is_known(settings: Any) -> None:
    settings.IS_POSTGRESQL = True
    for raised, cause, kind in (
        (InternalError, psycopg.errors.DataCorrupted("invalid page in block 3"), "damaged"),
        (InternalError, psycopg.errors.IndexCorrupted("unexpected zero page"), "damaged"),
        (ProgrammingError, psycopg.errors.UndefinedTable("no relation"), "empty"),
        (OperationalError, psycopg.OperationalError("connection refused"), "away"),
        (IntegrityError, psycopg.errors.UniqueViolation("twice"), ""),
    ):
        error = raised(str(cause))
        error.__cause__ = cause
        assert database_errors.kind(error) == kind
        said = database_errors.sentence(error)
        assert bool(said) == bool(kind)
        assert ".sqlite3" not in said


def test_what_is_not_the_databases_is_nothing() -> None:
    for error in (None, ValueError("x"), IntegrityError("x"), sqlite3.ProgrammingError("x")):
        assert database_errors.kind(error) == ""


def test_the_doctor_reads_all_of_it_only_when_a_person_asks(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IS_POSTGRESQL = False
    path = tmp_path / "index.sqlite3"
    made(path)
    with path.open("r+b") as file:  # the last page: of the index, which nothing below asks
        file.seek(-4096, os.SEEK_END)
        file.write(os.urandom(4096))
    with opened(path) as connection:
        monkeypatch.setattr(checks, "connection", connection)
        assert checks.check_database().state == "ok"
        finding = checks.check_database(is_thorough=True)
    assert (finding.state, finding.code) == ("bad", "database-damaged")
    assert "restore a backup" in doctor.texts(finding).advice


def test_a_damage_that_one_check_meets_is_no_bug() -> None:
    def meets() -> doctor.Finding:
        cause = sqlite3.DatabaseError("database disk image is malformed")
        cause.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise DatabaseError(str(cause)) from cause

    finding = checks._safely("events", meets)
    assert (finding.name, finding.code) == ("events", "database-damaged")
    words = doctor.texts(finding)
    assert "malformed" in words.note
    assert "bug" not in words.advice


@pytest.mark.parametrize("code", ["away", "damaged", "closed", "empty"])
@pytest.mark.parametrize("path", ["", "/srv/boathouse/index.sqlite3"])
def test_the_doctor_has_words_for_each(code: str, path: str) -> None:
    told = {"error": "so it said", "path": path}
    words = doctor.texts(doctor.Finding("database", "bad", f"database-{code}", told))
    assert words.value != f"database-{code}"
    assert "so it said" in words.note
    assert path in words.note
    assert words.advice
