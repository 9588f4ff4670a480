"""An empty data folder from a snapshot.

    DATA/.restoring/ ├ state/    from the snapshot
                     ├ data/     what becomes DATA, file by file
                     └ complete  then its entries are moved into DATA

Killed before `complete`, the next restore begins anew; after it, it goes on. Every blob is checked
against its digest on its way.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.utils.translation import gettext as _

from registryui.oci import names
from registryui.refused import Refused
from registryui.registry import paths
from registryui.registry.storages import FILESYSTEM

from . import backups, state
from .blobs import FILE, hasher, read_tar
from .listing import digests, paths_of, read_links
from .restic import STATE, Repository, Snapshot

ASIDE = ".restoring"
Progress = Callable[[str, int, int], None]  # stage, done, of how many


def _silent(stage: str, done: int, total: int) -> None:
    pass


@dataclass(slots=True)
class Restored:
    """What was restored."""

    snapshot: Snapshot
    facts: state.Facts
    data: Path
    tags: int = 0
    blobs: int = 0  # each compared with its digest
    missing: list[str] = field(default_factory=list)  # that the snapshot should have


def restore(
    repository: Repository, data: Path, *, id: str = "", progress: Progress = _silent
) -> Restored:
    """The snapshot with that id, "" the newest, into an empty or new folder. Refused: the folder
    contains something, or the snapshot cannot be used or read."""
    if settings.STORAGE != FILESYSTEM:
        raise Refused(
            _("Restores put images on a disk: unset BOATHOUSE_STORAGE, or choose filesystem.")
        )
    aside = data / ASIDE
    _check_empty(data)
    snapshot = backups.find(repository, id)
    facts = backups.facts(repository, snapshot)
    known = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == state.APP)
    state.check_fits(facts, known)
    is_new = not data.exists()
    data.mkdir(mode=0o711, parents=True, exist_ok=True)
    done = Restored(snapshot, facts, data)
    try:
        if not (aside / "complete").exists():
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(mode=0o700)
            _check_space(data, facts)
            _assemble(repository, done, aside, progress)
        _rename_into(aside, data)
    except BaseException:
        if not (aside / "complete").exists():
            shutil.rmtree(aside, ignore_errors=True)
            if is_new:
                with suppress(OSError):
                    data.rmdir()
        raise
    return done


def _check_empty(data: Path) -> None:
    try:
        names = {one.name for one in data.iterdir()} if data.exists() else set()
    except OSError as error:
        raise Refused(
            _("%(path)s cannot be read (%(error)s): choose another folder with --to.")
            % {"path": data, "error": error.strerror}
        ) from error
    if names - {ASIDE} and not (data / ASIDE / "complete").exists():
        raise Refused(
            _(
                "%(path)s is not empty: move it away (./boathouse down; mv %(path)s %(path)s.lost) "
                "or choose another folder with --to. Nothing was changed."
            )
            % {"path": data}
        )


def _check_space(data: Path, facts: state.Facts) -> None:
    free = shutil.disk_usage(data).free
    if free < facts.size:
        raise Refused(
            _(
                "The images need %(needed)d MB, and %(free)d MB are free at %(path)s: free some "
                "space, or choose another folder with --to."
            )
            % {
                "needed": facts.size // 1_000_000,
                "free": free // 1_000_000,
                "path": data,
            }
        )


def _assemble(repository: Repository, done: Restored, aside: Path, progress: Progress) -> None:
    data, place = aside / "data", aside / STATE
    data.mkdir(mode=0o700)
    progress("files", 0, 0)
    repository.restore(done.snapshot.id, aside)
    state.read_files(place, data)
    wanted: set[str] = set()
    with (place / state.LINKS).open("rb") as lines:
        for record in read_links(lines):
            wanted |= digests(record)
    wanted -= set(done.facts.missing)
    root = data / settings.STORE_DIR.name
    _blobs(repository, done, root, wanted, progress)
    _links(done, place / state.LINKS, root, progress)
    progress("database", 0, 0)
    state.read_database(place, data)
    os.sync()  # before it counts as complete
    (aside / "complete").touch()


def _blobs(
    repository: Repository, done: Restored, root: Path, wanted: set[str], progress: Progress
) -> None:
    """Writes the blobs that the state needs, newest stream first."""
    left, total, read = set(wanted), done.facts.size, 0
    made: set[str] = set()
    for part in reversed(done.facts.parts):
        if not left:
            break
        with repository.dump(part, f"/{FILE}") as file:
            try:
                for digest, size, pieces in read_tar(file):
                    if digest not in left:
                        for _piece in pieces:
                            pass
                    elif _blob(root / paths.blob_data(digest), digest, pieces, made):
                        left.discard(digest)
                        done.blobs += 1
                        read += size
                        progress("blobs", read, total)
            except ValueError as error:
                raise Refused(
                    _(
                        "Snapshot %(id)s is damaged: the stream %(part)s %(error)s. Run "
                        "./boathouse backup verify, or restore another snapshot."
                    )
                    % {"id": done.snapshot.id[:8], "part": part, "error": error}
                ) from error
    done.missing = sorted(left)


def _blob(place: Path, digest: str, pieces: Iterator[bytes], made: set[str]) -> bool:
    """Writes it; False if it is not what its digest says, as it was in the store then: an earlier
    stream may have the right one."""
    computed = hasher(digest)
    _make(str(place.parent), made)
    with place.open("wb") as out:
        for piece in pieces:
            computed.update(piece)
            out.write(piece)
    if computed.hexdigest() == digest.partition(":")[2]:
        return True
    place.unlink()
    return False


def _links(done: Restored, file: Path, root: Path, progress: Progress) -> None:
    made: set[str] = set()
    base = f"{root}/"
    with file.open("rb") as lines:
        for record in read_links(lines):
            for path, digest, at in paths_of(record):
                place = base + path
                _make(place.rpartition("/")[0], made)
                handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                try:
                    os.write(handle, digest.encode())
                finally:
                    os.close(handle)
                if at:
                    os.utime(place, (at, at))
            done.tags += names.tag_counts(record["tags"])[0]
            progress("links", done.tags, done.facts.tags)


def _make(folder: str, made: set[str]) -> None:
    """The folder and those above it: one system call for each that is new."""
    if folder in made:
        return
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102  (there are hundreds of thousands)
    except FileNotFoundError:
        _make(folder.rpartition("/")[0], made)
        os.mkdir(folder, 0o700)  # noqa: PTH102
    except FileExistsError:
        pass
    made.add(folder)


def _rename_into(aside: Path, data: Path) -> None:
    for one in sorted((aside / "data").iterdir()):
        os.rename(one, data / one.name)  # noqa: PTH104  (replaces nothing: it is empty)
    shutil.rmtree(aside)
