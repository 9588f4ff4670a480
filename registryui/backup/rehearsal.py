"""A rehearsed restore: the snapshot aside, its parts started on free ports, compared, removed.

    restore ─► up ─► each tag's digest by its registry ─► a login with an old secret ─► down

Each step is a command of its own, as an administrator would type it. Nothing of this instance is
touched. With images in the same bucket it would not be so: then its registry has an empty folder.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from registryui.oci import names
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError

from . import backups, state
from .listing import read_links
from .restic import STATE, Repository

NAMED = 20  # problems that are told
Say = Callable[[str], None]
# Of the instance's own settings: they would take its ports, or act on other systems.
_NOT_THESE = (
    *("BOATHOUSE_HTTP_PORT", "BOATHOUSE_ANONYMOUS_PULL", "BOATHOUSE_ANONYMOUS_PORT"),
    *("BOATHOUSE_PROXY_PORT", "BOATHOUSE_PROXY_PROTOCOL", "BOATHOUSE_REGISTRY_PORT"),
    *("BOATHOUSE_HOOK_PORT", "BOATHOUSE_STORAGE", "BOATHOUSE_TLS_CERTIFICATE", "BOATHOUSE_TLS_KEY"),
    *("BOATHOUSE_BACKUP_TO", "BOATHOUSE_PUBLIC_URL"),
)


@dataclass(slots=True)
class Rehearsal:
    """What it found."""

    snapshot: str
    made_at: str
    tags: int = 0  # whose digest the restored registry confirmed
    blobs: int = 0  # whose content has its digest
    logged_in: bool = False
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def rehearse(
    repository: Repository, *, id: str = "", place: Path | None = None, say: Say
) -> Rehearsal:
    """Restores the snapshot with that id, "" the newest, below `place`. Refused: a step failed,
    with its sentence. All of it is removed in any case."""
    began = time.monotonic()
    snapshot = backups.find(repository, id)
    facts = backups.facts(repository, snapshot)
    found = Rehearsal(snapshot.id[:8], facts.made_at)
    with _aside(place) as data, _database(facts) as url:
        environment = _environment(data, url)
        say(f"Restoring snapshot {found.snapshot} into {data}.")
        restored = json.loads(
            _run(
                environment,
                "restore",
                repository.target.text,
                f"--snapshot={snapshot.id}",
                f"--password-file={repository.password_file}",
                "--json",
            )
        )
        found.blobs = restored["blobs"]
        found.problems += [f"{digest} is missing" for digest in restored["missing"]]
        for made in ("made", "static"):  # typefaces and styles, which take `up` some seconds
            if Path(settings.DATA, made).is_dir():
                shutil.copytree(Path(settings.DATA, made), data / made, dirs_exist_ok=True)
        say("Starting its parts on free ports.")
        try:
            _run(environment, "up", "--background", "--json")
            say(f"Comparing the digests of {facts.tags} tags.")
            with _links(repository, snapshot.id) as lines:
                _compare(found, data, lines)
            found.logged_in = _logs_in(found, data, environment)
        finally:
            _run(environment, "down", is_strict=False)
    found.seconds = round(time.monotonic() - began, 1)
    return found


@contextmanager
def _aside(place: Path | None) -> Iterator[Path]:
    """A folder that is removed afterwards, on the disk of the data folder."""
    base = place or (backups.folder() if Path(settings.DATA).is_dir() else None)
    if base is not None:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="r-", dir=base))
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(facts: state.Facts) -> Iterator[str]:
    """DATABASE_URL for the rehearsal: "" for SQLite; an empty database beside this instance's,
    dropped afterwards."""
    if facts.database == state.SQLITE:
        yield ""
        return
    if not settings.IS_POSTGRESQL:
        raise Refused(
            _(
                "The snapshot has a PostgreSQL database: set DATABASE_URL to a database on a "
                "server where this user may create another one."
            )
        )
    import psycopg  # a fifth of the start of `restore`, and with PostgreSQL only

    name = f"boathouse_rehearsal_{os.getpid()}"
    url, _slash, rest = settings.DATABASE_URL.rpartition("/")
    query = rest.partition("?")[2]
    try:
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
    except psycopg.Error as error:
        raise Refused(
            _(
                "No database can be created for the rehearsal (%(error)s): as PostgreSQL's "
                "administrator, ALTER ROLE … CREATEDB."
            )
            % {"error": str(error).strip().splitlines()[0][:200]}
        ) from error
    try:
        yield f"{url}/{name}" + (f"?{query}" if query else "")
    finally:
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _environment(data: Path, url: str) -> dict[str, str]:
    """That of the commands. Its schedules do nothing."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_THESE}
    kept.pop("DATABASE_URL", None)
    port = _free_port()
    return {
        **kept,
        **({"DATABASE_URL": url} if url else {}),
        "BOATHOUSE_DATA": str(data),
        "BOATHOUSE_PORT": str(port),
        "BOATHOUSE_BIND": "127.0.0.1",
        "BOATHOUSE_GC_SCHEDULE": "",
        "BOATHOUSE_INTEGRITY_SCHEDULE": "",
    }


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _run(environment: dict[str, str], *words: str, is_strict: bool = True) -> str:
    """The output of one of our commands. Refused with its sentence."""
    done = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, str(settings.BASE_DIR / "manage.py"), *words],
        env=environment,
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and is_strict:
        raise Refused(
            _("The rehearsal failed at ./boathouse %(command)s: %(error)s")
            % {"command": words[0], "error": _said(done)}
        )
    return done.stdout


def _said(done: subprocess.CompletedProcess[str]) -> str:
    try:
        return str(json.loads(done.stdout)["error"])
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines() or [str(done.returncode)]
        return lines[-1].removeprefix("boathouse: ")[:500]


@contextmanager
def _links(repository: Repository, id: str) -> Iterator[Iterator[dict[str, Any]]]:
    with repository.dump(id, f"/{STATE}/{state.LINKS}") as file:
        yield read_links(file)


def _compare(found: Rehearsal, data: Path, records: Iterator[dict[str, Any]]) -> None:
    """Asks the restored registry for each tag."""
    with RegistryClient(f"unix:{data}/run/sockets/registry") as client:
        for record in records:
            for tag, (digest, _at) in record["tags"].items():
                try:
                    answer = client.resolve(record["name"], tag)
                except RegistryError as error:
                    answer = str(error)
                if answer == digest:
                    found.tags += names.tag_counts([tag])[0]
                elif len(found.problems) < NAMED:
                    name = f"{record['name']}:{tag}"
                    found.problems.append(f"{name} is {answer or 'missing'}, not {digest}")


def _logs_in(found: Rehearsal, data: Path, environment: dict[str, str]) -> bool:
    """Logs in through its nginx, as the user whose secret was in the snapshot."""
    secret = data / "secrets" / backups.LOGIN
    if not secret.exists():
        found.problems.append("the snapshot has no secret to log in with")
        return False
    program = (
        "import sys, django; django.setup(); from registryui import proxy; "
        "print(proxy.ask('/v2/', proxy.basic(sys.argv[1], sys.stdin.read().strip())).status)"
    )
    done = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", program, backups.LOGIN],
        env={**environment, "DJANGO_SETTINGS_MODULE": "portal.settings"},
        cwd=settings.BASE_DIR,
        input=secret.read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stdout.strip() == "200":
        return True
    found.problems.append(f"the login was answered by {done.stdout.strip() or done.stderr[-200:]}")
    return False
