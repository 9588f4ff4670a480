"""What is in a snapshot beside the blobs: a folder that is written before, and removed after it.

state/
├ facts.json      Facts: version, counts, the streams of blobs
├ links           listing.py
├ files.tar       the data folder but store, database, logs and what `up` makes; modes are kept
├ settings.env    the instance's environment variables, with secrets
└ index.sqlite3   or index.pgdump, for pg_restore
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from django.utils.translation import gettext as _

import portal
from registryui import files
from registryui.refused import Refused

FACTS, LINKS, FILES, ENVIRONMENT = "facts.json", "links", "files.tar", "settings.env"
SQLITE, POSTGRESQL = "index.sqlite3", "index.pgdump"
OWN_TLS = "own-tls"  # a certificate of the user's own, with its key
# What is elsewhere in the snapshot, is made again by `up`, or belongs to one host only; archives
# that wait for their import.
LEFT_OUT = re.compile(
    r"registry|log|run|static|made|config|backup|imports|reserve|\.reserve|host-id|lost\+found"
    r"|(index|jobs)\.sqlite3.*|.*\.damaged-.*|\.new-.*"
)
APP = "registryui"


@dataclass(frozen=True, slots=True)
class Facts:
    """About a snapshot."""

    version: str
    made_at: str
    database: str  # SQLITE or POSTGRESQL
    migrations: list[str]  # newest last
    chain: str
    parts: list[str]  # ids of the streams, oldest first
    repositories: int
    tags: int
    blobs: int
    size: int  # bytes of all blobs
    data: str  # the data folder that it is of
    pinned: bool = False  # blobs and links stay in a bucket with versions
    missing: list[str] = field(default_factory=list)  # blobs that the store lacked then

    @classmethod
    def of(cls, text: bytes) -> Facts:
        """From the file. Refused: it is no snapshot of ours."""
        try:
            found = json.loads(text)
            return cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(_("This snapshot was not made by Boathouse.")) from error


def database_name() -> str:
    """The file with the database of this instance."""
    return POSTGRESQL if settings.IS_POSTGRESQL else SQLITE


def migrations() -> list[str]:
    """Those of the database, oldest first."""
    rows = MigrationRecorder(connection).applied_migrations()
    return sorted(name for app, name in rows if app == APP)


def facts_now(**facts: Any) -> Facts:
    """Facts about this instance, with those of the store."""
    return Facts(
        version=portal.__version__,
        made_at=timezone.now().isoformat(),
        database=database_name(),
        migrations=migrations(),
        data=str(settings.DATA),
        **facts,
    )


def write_facts(folder: Path, facts: Facts) -> None:
    """facts.json."""
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=1))


def write_files(folder: Path) -> None:
    """files.tar and settings.env. Before the database: what is in a file is in it then, too."""
    with tarfile.open(folder / FILES, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(Path(settings.DATA).iterdir()):
            if not LEFT_OUT.fullmatch(path.name):
                _add(tar, path, path.name)
        for name in ("TLS_CERTIFICATE", "TLS_KEY"):
            if own := getattr(settings, name):
                _add(tar, Path(own), f"{OWN_TLS}/{Path(own).name}")
    lines = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith("BOATHOUSE_") or name == "DATABASE_URL"
    ]
    files.write(folder / ENVIRONMENT, "".join(f"{line}\n" for line in lines))


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """A file or folder; what is removed meanwhile is left out."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            tar.add(path, name, recursive=False)
            for inner in sorted(path.iterdir()):
                _add(tar, inner, f"{name}/{inner.name}")
        elif path.is_file():
            tar.add(path, name, recursive=False)


def write_database(folder: Path) -> None:
    """The database as it is at one moment. Refused: its program is missing, or fails."""
    if not settings.IS_POSTGRESQL:
        connection.ensure_connection()
        copy = sqlite3.connect(folder / SQLITE)
        try:
            connection.connection.backup(copy)  # in one step: writers do not wait, nor restart it
            copy.execute("PRAGMA journal_mode=DELETE")
        finally:
            copy.close()
        return
    # Not compressed: restic does that, and finds what has not changed. The queue of jobs is not
    # needed.
    run_postgresql(
        *("pg_dump", "--format=custom", "--compress=0", "--no-owner", "--no-privileges"),
        *("--exclude-table-data=huey_*", f"--file={folder / POSTGRESQL}"),
    )


def read_database(folder: Path, data: Path) -> None:
    """Puts the database into the data folder, or into the empty one of DATABASE_URL."""
    if (folder / SQLITE).exists():
        (folder / SQLITE).chmod(0o600)
        (folder / SQLITE).rename(data / SQLITE)
        return
    name = str(settings.DATABASES["default"]["NAME"])
    run_postgresql(
        *("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"),
        *(f"--dbname={name}", str(folder / POSTGRESQL)),
    )


def check_fits(facts: Facts, known: list[str]) -> None:
    """Refused if this program and its settings cannot use that snapshot. `known`: migrations of
    this program."""
    if newer := sorted(set(facts.migrations) - set(known)):
        raise Refused(
            _(
                "The snapshot was made by Boathouse %(theirs)s, which is newer than this one "
                "(%(ours)s lacks %(migration)s): install that version or a later one first."
            )
            % {"theirs": facts.version, "ours": portal.__version__, "migration": newer[-1]}
        )
    if facts.database == POSTGRESQL and not settings.IS_POSTGRESQL:
        raise Refused(
            _(
                "The snapshot has a PostgreSQL database: create an empty one (createdb), and set "
                "DATABASE_URL to it."
            )
        )
    if facts.database == SQLITE and settings.IS_POSTGRESQL:
        raise Refused(_("The snapshot has a SQLite database: unset DATABASE_URL."))
    if settings.IS_POSTGRESQL and connection.introspection.table_names():
        raise Refused(
            _(
                "The database of DATABASE_URL contains tables: create an empty one (createdb), and "
                "set DATABASE_URL to it. Nothing was changed."
            )
        )


def read_files(folder: Path, data: Path) -> None:
    """Unpacks files.tar into the data folder, as this user."""
    with tarfile.open(folder / FILES) as tar:
        for member in tar:
            _unpack(tar, member, data)
    shutil.copyfile(folder / ENVIRONMENT, data / ENVIRONMENT)
    (data / ENVIRONMENT).chmod(0o600)


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, data: Path) -> None:
    """A file or folder, with its mode and time; nothing else, and nothing outside."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        return
    place = data / name
    if member.isdir():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif (source := tar.extractfile(member)) is not None and member.isfile():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with source, place.open("xb") as file:
            shutil.copyfileobj(source, file)
        os.utime(place, (member.mtime, member.mtime))
    else:
        return
    place.chmod(member.mode & 0o755)


def run_postgresql(*command: str) -> None:
    """Runs a program of PostgreSQL with the database of the settings; the password is in its
    environment only. Refused with what it says."""
    if shutil.which(command[0]) is None:
        raise Refused(
            _("This needs %(program)s: as root, type apt-get install postgresql-client.")
            % {"program": command[0]}
        )
    found: dict[str, Any] = settings.DATABASES["default"]
    options: dict[str, Any] = found["OPTIONS"]
    wanted: dict[str, Any] = {
        "PGSSLMODE": options.get("sslmode"),
        "PGSSLROOTCERT": options.get("sslrootcert"),
        "PGHOST": found.get("HOST"),
        "PGPORT": found.get("PORT"),
        "PGUSER": found.get("USER"),
        "PGPASSWORD": found.get("PASSWORD"),
        "PGDATABASE": found.get("NAME"),
    }
    environment = {name: str(value) for name, value in wanted.items() if value}
    done = subprocess.run(  # noqa: S603  (programs of PostgreSQL)
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [str(done.returncode)]
        raise Refused(
            _("%(program)s failed: %(error)s") % {"program": command[0], "error": lines[-1][:300]}
        )
