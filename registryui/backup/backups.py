"""A backup, what there is of them, verify, prune. Called by the command, the schedule, the page.

    locked ─► files, database ─► links and blobs (garbage collection waits) ─► streams ─► state

Killed at any point, all earlier snapshots are as they were: a stream or state that did not complete
is in no list, and `prune` frees it.
"""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit, files, runs, schedules
from registryui.accounts import users
from registryui.deletion.locks import Busy, locked
from registryui.gc import collector as collector
from registryui.models import RegistryUser, Run
from registryui.refused import Refused
from registryui.registry.choose import choose, open_store
from registryui.registry.storage import FileStore
from registryui.registry.storages import of_settings

from . import state, targets
from .blobs import FILE, Chain, in_parts, write_tar
from .listing import Listing, write_links
from .restic import BLOBS, STATE, Absent, Repository, Snapshot

ALONE = "backup"  # the lock of a backup, a prune, and a verify
PATIENCE = 900.0  # seconds that garbage collection may take between quarantine and review
PASSWORD = "backup-password"  # noqa: S105  (a file's name)
LOGIN = "boathouse-rehearsal"  # a registry user without rights, as which a rehearsal logs in
LOGIN_NOTE = "Rehearsed restores log in as this user. It has no rights."
SETTING = "BOATHOUSE_BACKUP_SCHEDULE"


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of a BACKUP."""

    target: str = ""
    snapshot: str = ""  # its id, short
    stage: str = ""  # "database", "links", "blobs", "state", "done"
    repositories: int = 0
    tags: int = 0
    blobs: int = 0
    bytes: int = 0  # of all blobs
    new_blobs: int = 0
    read_bytes: int = 0  # of new blobs, so far
    added_bytes: int = 0  # new to the target, before they were compressed
    missing: list[str] = field(default_factory=list)  # linked blobs that the store lacks
    seconds: float = 0.0
    password: str = field(default="", repr=False)  # never stored: see facts

    def facts(self) -> dict[str, object]:
        """Without the password."""
        return {**runs.Result.facts(self), "password": ""}


@dataclass(slots=True, kw_only=True)
class _Backup(runs.Work[Result]):
    """One while it goes on."""

    began: float = field(default_factory=time.monotonic)

    def beat(self, size: int = 0) -> None:
        """So many bytes more were read; Stopped if that is enough."""
        self.result.read_bytes += size
        self.result.seconds = round(time.monotonic() - self.began, 1)
        self.advance()

    def stage(self, name: str) -> None:
        """The next one."""
        self.result.stage = name
        self.advance(at_once=True)

    def finish(self) -> audit.Entry | None:
        """For the audit log."""
        self.result.seconds = round(time.monotonic() - self.began, 1)
        facts = self.result.facts()
        details = {name: facts[name] for name in ("snapshot", "tags", "bytes", "problem")}
        return self.entry("backup.run", self.result.target[:255], details)


def back_up(
    text: str, *, by: str, password_file: Path | None = None, progress: runs.Progress | None = None
) -> Run | None:
    """One backup to that target; None if another one is under way. State FAILED: it could not be
    made, and the result says why."""
    try:
        with locked(alone=[ALONE], seconds=0):
            _close_dead()
            result = Result(target=text[:255])
            run = runs.begin(Run.Kind.BACKUP, by=by, result=result)
            if run is None:
                return None
            with _Backup(run, result, progress) as work:
                _everything(work, targets.parse(text), password_file)
            run.result["password"] = result.password  # for the one who asked, not stored
            return run
    except Busy:
        return None


def snapshots(repository: Repository) -> list[Snapshot]:
    """The complete ones, newest first. Refused: there is no repository, or it does not open."""
    targets.check_reachable(repository.target)
    return repository.snapshots(STATE)[::-1]


def find(repository: Repository, id: str) -> Snapshot:
    """The snapshot with that id or its beginning, "" is the newest. Refused: there is none."""
    found = [one for one in snapshots(repository) if one.id.startswith(id)]
    if not found or (id and len(found) > 1):
        raise Refused(
            _("There is no snapshot %(id)s in %(target)s: ./boathouse backup list shows all.")
            % {"id": id[:64], "target": repository.target.text}
            if id
            else _("There are no complete snapshots in %(target)s.")
            % {"target": repository.target.text}
        )
    return found[0]


def facts(repository: Repository, snapshot: Snapshot) -> state.Facts:
    """What that snapshot says of itself."""
    return state.Facts.of(repository.read(snapshot.id, f"/{STATE}/{state.FACTS}"))


def opened(text: str, password_file: Path | None = None) -> Repository:
    """The repository of that target, with this instance's password, or that of a file."""
    target = targets.parse(text)
    return Repository(target, password_file or default_password_file(), folder() / "cache")


def default_password_file() -> Path:
    """Where the password is: BOATHOUSE_BACKUP_PASSWORD_FILE, else among the secrets."""
    named = settings.BACKUP_PASSWORD_FILE
    return Path(named).expanduser() if named else Path(settings.SECRETS_DIR) / PASSWORD


def folder() -> Path:
    """The folder for notes, restic's cache, and what is written for a moment."""
    return Path(settings.DATA) / "backup"


def _note(target: targets.Target) -> Path:
    """Where the chain in that place is noted."""
    return folder() / f"{target.key}.chain"


# -- verify and prune ------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Verified:
    """What a verify found."""

    snapshots: int
    damaged: tuple[str, ...]  # short ids of snapshots that cannot be restored completely
    problems: tuple[str, ...]  # in restic's words


def verify(repository: Repository, *, is_quick: bool = False) -> Verified:
    """Reads all that is stored and computes its checksums; `is_quick`: only the structure."""
    found = snapshots(repository)
    said = repository.check(is_quick=is_quick)
    if not said:
        return Verified(len(found), (), ())
    lines = [line.strip() for line in said.splitlines()]
    problems = [line for line in lines if re.search(r"error|not match|missing|damaged|Fatal", line)]
    packs = sorted(set(re.findall(r"\b[0-9a-f]{64}\b", said)))
    short = {snapshot for pack in packs for snapshot in repository.holders(pack)}
    damaged = [
        one.id[:8]
        for one in found
        if not short or one.id[:8] in short or _depends_on(repository, one, short)
    ]
    return Verified(len(found), tuple(damaged), tuple(problems[:50]))


def _depends_on(repository: Repository, one: Snapshot, short: set[str]) -> bool:
    try:
        parts = facts(repository, one).parts
    except Refused:
        return True
    return any(part[:8] in short for part in parts)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did."""

    kept: tuple[Snapshot, ...]  # newest first
    removed: tuple[Snapshot, ...]


def prune(repository: Repository, *, keep: int = 0, keep_days: int = 0) -> Pruned:
    """Removes all but the newest `keep`, and those of the last days; never the newest. Busy: a
    backup is under way."""
    with locked(alone=[ALONE], seconds=0):
        found = snapshots(repository)
        since = timezone.now() - timedelta(days=keep_days)
        kept = [
            one
            for place, one in enumerate(found)
            if place == 0 or place < keep or (keep_days and one.made_at > since)
        ]
        removed = [one for one in found if one not in kept]
        # Also what a killed backup has stored, for the next one.
        needed = _needed_parts(repository, kept) | set(Chain.read(_note(repository.target)).parts)
        streams = [
            one.id
            for one in repository.snapshots(BLOBS)
            if not any(one.id.startswith(part) for part in needed)
        ]
        repository.forget([*(one.id for one in removed), *streams])
        return Pruned(tuple(kept), tuple(removed))


def _needed_parts(repository: Repository, kept: Iterable[Snapshot]) -> set[str]:
    """The streams that these need. The newest of a chain needs all that earlier ones do."""
    newest: dict[str, Snapshot] = {}
    for one in kept:  # newest first
        newest.setdefault(one.tag("chain"), one)
    return {part for one in newest.values() for part in facts(repository, one).parts}


# -- when ------------------------------------------------------------------------------------------
def is_scheduled(minute: datetime) -> bool:
    """Whether a target is set, and its schedule names this minute."""
    return bool(settings.BACKUP_TO) and schedules.is_now(
        settings.BACKUP_SCHEDULE, minute, setting=SETTING
    )


def newest_runs(count: int) -> list[Run]:
    """Newest first. One query."""
    return list(Run.objects.filter(kind=Run.Kind.BACKUP).order_by("-started_at", "-id")[:count])


def last_done(recent: Sequence[Run]) -> Run | None:
    """The newest that completed."""
    return next((run for run in recent if run.state == Run.State.DONE), None)


# -- one backup ------------------------------------------------------------------------------------
def _everything(work: _Backup, target: targets.Target, password_file: Path | None) -> None:
    work.beat()
    targets.check_reachable(target)
    repository, known = _open(work, target, password_file)
    store = _store()
    _prepare_login()
    chain_file = _note(target)
    with _state_folder() as place:
        work.stage("database")
        state.write_files(place)
        state.write_database(place)
        work.stage("links")
        listing = _list(work, store, place / state.LINKS)
        work.stage("blobs")
        chain = Chain.read(chain_file)
        if not chain.is_usable((one.id for one in known), listing.bytes):
            chain = Chain.new()
        _streams(work, repository, store, chain, chain_file, listing)
        work.stage("state")
        state.write_facts(place, _facts(chain, listing))
        result = work.result
        tags = [STATE, f"chain:{chain.id}", f"tags:{listing.tags}", f"bytes:{listing.bytes}"]
        result.snapshot, added = repository.back_up(place, tags)
        result.added_bytes += added
    work.result.stage = "done"


def _open(
    work: _Backup, target: targets.Target, password_file: Path | None
) -> tuple[Repository, list[Snapshot]]:
    """The repository, made with a new password the first time, and its streams."""
    folder().mkdir(mode=0o700, exist_ok=True)
    place = password_file or default_password_file()
    was_used = _note(target).exists()
    is_new = not place.exists()
    if is_new:
        if password_file or settings.BACKUP_PASSWORD_FILE:
            raise Refused(
                _("%(path)s does not exist: it must contain the password.") % {"path": place}
            )
        work.result.password = secrets.token_urlsafe(24)
        files.write(place, work.result.password + "\n")
    repository = Repository(target, place, folder() / "cache")
    try:
        with suppress(Absent):
            return repository, repository.snapshots(BLOBS)
        if was_used:
            raise Refused(
                _(
                    "The backups in %(target)s are gone: is the share mounted? For a new start "
                    "there, remove %(note)s."
                )
                % {"target": target.text, "note": _note(target)}
            )
        repository.make()
    except BaseException:
        if is_new:  # it opens nothing
            place.unlink(missing_ok=True)
            work.result.password = ""
        raise
    return repository, []


def _store() -> FileStore:
    """The store to read. Refused: it cannot be read from here."""
    choice = choose("store")
    if choice.code:
        raise Refused(
            _("Backups read the store itself, and it cannot be read: run ./boathouse doctor.")
        )
    return open_store(of_settings())


def _prepare_login() -> None:
    """The registry user as which a rehearsal logs in, with a secret that goes with the backup."""
    place = Path(settings.SECRETS_DIR) / LOGIN
    row = RegistryUser.objects.filter(name=LOGIN).first()
    if row is not None and place.exists():
        return
    if row is None:
        done = users.create(LOGIN, by="backup", note=LOGIN_NOTE)
    else:
        done = users.rotate(row, by="backup")
    files.write(place, done.secret + "\n")


@contextmanager
def _state_folder() -> Iterator[Path]:
    """An empty folder `state`, removed afterwards; a killed backup leaves it to the next."""
    place = folder() / STATE
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _list(work: _Backup, store: FileStore, file: Path) -> Listing:
    """The links, and which blobs they need. Not while something needed may be in quarantine."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with locked(alone=[collector.MOVING], seconds=1):
                if collector.is_unreviewed(collector.newest_runs(collector.NEWEST)):
                    raise Refused(
                        _(
                            "Garbage collection was ended before its review: the worker completes "
                            "it within a minute. Then run the backup again."
                        )
                    )
                with file.open("w") as lines:
                    listing = write_links(store, lines, work.beat)
                break
        except Busy:
            work.beat()
            if time.monotonic() > deadline:
                raise
    result = work.result
    result.repositories, result.tags = listing.repositories, listing.tags
    result.blobs, result.bytes = len(listing.blobs), listing.bytes
    result.missing = listing.missing[:100]
    if listing.missing:
        work.note(
            f"{len(listing.missing)} linked blobs are not in the store, such as "
            f"{listing.missing[0]}: run ./boathouse integrity"
        )
    return listing


def _streams(
    work: _Backup,
    repository: Repository,
    store: FileStore,
    chain: Chain,
    note: Path,
    listing: Listing,
) -> None:
    missing = chain.missing(listing.blobs)
    work.result.new_blobs = len(missing)
    for part in in_parts(missing):
        with repository.stream(FILE, [BLOBS, f"chain:{chain.id}"]) as (file, made):
            written = write_tar(store, part, file, work.beat)
        chain.parts.append(made[0])
        chain.stored |= written
        chain.write(note)
        work.result.added_bytes += made[1]
        work.beat()
    if not missing:
        chain.write(note)


def _facts(chain: Chain, listing: Listing) -> state.Facts:
    return state.facts_now(
        chain=chain.id,
        parts=chain.parts,
        repositories=listing.repositories,
        tags=listing.tags,
        blobs=len(listing.blobs),
        size=listing.bytes,
        missing=listing.missing,
    )


def _close_dead() -> None:
    """Closes a run whose process is gone: we have its lock."""
    for run in Run.objects.filter(kind=Run.Kind.BACKUP, state=Run.State.RUNNING):
        runs.end(run, Run.State.FAILED, runs.DIED, problem=runs.DIED)
    with suppress(OSError):
        shutil.rmtree(folder() / STATE, ignore_errors=True)
