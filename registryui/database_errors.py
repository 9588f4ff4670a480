"""What a database error means for an administrator, and what to do.

Commands print `sentence`; pages and the doctor have their own words for each `Kind`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.db import InterfaceError, OperationalError

# damaged: corrupt; closed: this user cannot open or write it; empty: tables are missing; away: it
# does not respond, temporarily; "": anything else, a bug.
Kind = Literal["damaged", "closed", "empty", "away", ""]

_OF_SQLITE: dict[int, Kind] = {
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_CANTOPEN: "closed",
    sqlite3.SQLITE_READONLY: "closed",
    sqlite3.SQLITE_PERM: "closed",
}
# By SQLSTATE: with SQLite nothing imports psycopg, a fifth of a command's start.
_OF_POSTGRESQL: dict[str, Kind] = {
    "XX001": "damaged",  # data_corrupted
    "XX002": "damaged",  # index_corrupted
    "42P01": "empty",  # undefined_table
}


def kind(error: BaseException | None) -> Kind:
    """The kind of an error of Django or its driver."""
    cause = error.__cause__ if error is not None and error.__cause__ is not None else error
    if isinstance(cause, sqlite3.Error):
        # Python raises some without a code, for a connection.
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        if code == sqlite3.SQLITE_ERROR:
            return "empty" if str(cause).startswith("no such table") else ""
        if code in _OF_SQLITE:
            return _OF_SQLITE[code]
    elif (state := getattr(cause, "sqlstate", None)) in _OF_POSTGRESQL:
        return _OF_POSTGRESQL[state]
    is_away = isinstance(error, OperationalError | InterfaceError)
    return "away" if is_away else ""


def sentence(error: BaseException) -> str:
    """What is wrong and what to do, for a command; "" if unknown."""
    found = kind(error)
    if not found:
        return ""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{_named()} {_WORDS[found].format(said=said)} {_what_to_do(found)}"


_WORDS: dict[Kind, str] = {
    "damaged": "is damaged ({said}).",
    "closed": "cannot be opened ({said}).",
    "empty": "lacks its tables ({said}).",
    "away": "does not answer ({said}).",
}


def _named() -> str:
    return "The database" if settings.IS_POSTGRESQL else f"The database {path()}"


def path() -> str:
    """The file of SQLite."""
    return str(settings.DATABASES["default"]["NAME"])


def _what_to_do(found: Kind) -> str:
    if found == "empty":
        return "Restore a backup, or run ./boathouse down and ./boathouse up, which creates them."
    if settings.IS_POSTGRESQL:
        if found == "damaged":
            return 'Restore a dump: docs/operate.md, "Backup and restore".'
        return "Check DATABASE_URL and that its server runs."
    aside = Path(path()).with_name("damaged")
    if found == "damaged":
        return (
            f"Run ./boathouse down, move it (mkdir {aside}; mv {path()}* {aside}), bring a "
            "backup back if there is one, and run ./boathouse up: docs/operate.md, "
            '"When files are lost or damaged", lists what is restored without one.'
        )
    if found == "closed" and not Path(path()).exists():
        return (
            "It is not there: ./boathouse up makes one, or set BOATHOUSE_DATA to the data folder "
            "of this instance."
        )
    if found == "closed":
        return (
            "It must be a file that the user who runs Boathouse may write, like its folder: give "
            "both to that user, or run this as that user."
        )
    return "Try again; if it stays, run ./boathouse doctor."
