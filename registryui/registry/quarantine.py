"""What garbage collection has moved out of a store and can still restore: beside the store, not in
it.

    ROOT of the registry
    ├ docker/registry/v2/…          the store
    └ boathouse/quarantine/BATCH/
      ├ record                      written before anything is moved: where each came from
      └ 0, 1, 2 …                   a file or folder, moved here

Nothing is copied, and only `purge` deletes, only in here. The original path says what it was:
`paths.place_of`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from django.utils import timezone

from registryui.files import sync_folder

from . import paths
from .files import LocalFiles, Problems, shown, unreachable
from .store_writer import LocalWriter

FOLDER = "boathouse/quarantine"  # below the registry's root directory
DAMAGED = "damaged"  # Quarantined.run of damaged content: no review restores it


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One item in the quarantine."""

    id: str  # "BATCH/NUMBER"
    path: str  # where it was: data of a blob, a revision link, a folder of an upload or repository
    size: int  # bytes; of a folder all in it
    quarantined_at: datetime  # just before it was moved, by that host's clock
    run: str  # primary key of the Run, as text; or DAMAGED

    @property
    def is_damaged(self) -> bool:
        """Unreadable: it is only kept for inspection."""
        return self.run == DAMAGED


MayGo = Callable[[str], bool]


class Quarantine(Protocol):
    """Everything may be repeated, or done by two at once: a missing item is no error.

    Raises Unreachable when the disk or service does not respond. Safe to be killed at any moment;
    the next call of `contents` is correct.
    """

    def add(
        self, wanted: Sequence[str], *, run: str, may_go: MayGo = lambda path: True
    ) -> list[Quarantined]:
        """Moves these out of the store; one batch, one record, in this order. What is missing, of
        an unexpected type (a symbolic link) or on another file system is left out; `may_go` is
        called for each right before it is moved."""
        ...

    def contents(self) -> Iterator[Quarantined]:
        """All items, oldest batch first."""
        ...

    def restore(self, one: Quarantined) -> bool:
        """Restores it unless it exists again; the quarantined copy is removed in both cases. Of a
        folder: every missing file. False: all of it existed, or it was not here.
        """
        ...

    def purge(self, one: Quarantined) -> int:
        """Deletes it permanently; returns the bytes, 0 if it was not here any more."""
        ...

    def age(self, path: str) -> datetime | None:
        """When it last changed: the newest of all times that the store has of it (mtime, ctime); of
        a folder the newest in it. None: it does not exist."""
        ...

    def written_at(self, one: Quarantined) -> datetime | None:
        """When a file in a quarantined folder was last written, which may be after it was moved:
        the registry may have had it open. None: it is not here, or has no files."""
        ...

    def tidy(self) -> None:
        """Removes records without items."""
        ...

    def problems(self) -> list[str]:
        """Unexpected files in here: one line each. They are never purged."""
        ...


class LocalQuarantine:
    """A Quarantine on the disk of the store: it moves names, never bytes.

    A record is locked while its batch is moved, so that an unfinished batch is not mistaken for an
    empty one.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._base = f"{root}/{FOLDER}"
        self._files = LocalFiles(root, Problems())
        self._writer = LocalWriter(self._files, change=lambda *act: self.change(*act))
        self._problems: list[str] = []

    def change(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """All changes to the disk; tests kill the process here."""
        return act(*arguments)

    # -- quarantine --------------------------------------------------------------------------------
    def add(
        self, wanted: Sequence[str], *, run: str, may_go: MayGo = lambda path: True
    ) -> list[Quarantined]:
        """See Quarantine."""
        now = timezone.now()
        batch = f"{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"
        going: list[tuple[str, Quarantined]] = []
        for path in wanted:
            place = self._files.place(path)
            size = _size(place) if place else None
            if place is not None and size is not None:
                going.append((place, Quarantined(f"{batch}/{len(going)}", path, size, now, run)))
        if not going:
            return []
        with (
            self._reported(f"{FOLDER}/{batch}"),
            self._record(batch, [one for _place, one in going]),
        ):
            return [one for place, one in going if may_go(one.path) and self._moved(place, one)]

    @contextmanager
    def _record(self, batch: str, going: Sequence[Quarantined]) -> Iterator[None]:
        """Writes the record of a batch to the disk, and keeps it locked."""
        folder = f"{self._base}/{batch}"
        self.change(os.makedirs, folder)
        handle = os.open(f"{folder}/record.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self.change(os.write, handle, _written(going))
            os.fsync(handle)
            self.change(os.rename, f"{folder}/record.new", f"{folder}/record")
            for above in (folder, self._base):
                sync_folder(above)
            yield
        finally:
            os.close(handle)

    def _moved(self, place: str, one: Quarantined) -> bool:
        try:
            self.change(os.rename, place, f"{self._base}/{one.id}")
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EBUSY):  # another file system, or a mount
                raise
            return False
        return True

    def write(self, path: str, content: bytes) -> None:
        """Replaces the content of a file of the store, complete at every moment."""
        self._writer.write(path, content)

    # -- reading -----------------------------------------------------------------------------------
    def contents(self) -> Iterator[Quarantined]:
        """See Quarantine."""
        self._problems = []
        for batch in self._batches():
            here = self._names(batch)
            for one in self._read(batch):
                name = one.id.rpartition("/")[2]
                if name in here:
                    here.discard(name)
                    yield one
            odd = here - {"record", "record.new"}
            self._problems += [f"{FOLDER}/{batch}/{name}: is in no record" for name in sorted(odd)]

    def _batches(self) -> list[str]:
        try:
            with os.scandir(self._base) as entries:
                return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreachable(FOLDER, error) from error

    def _names(self, batch: str) -> set[str]:
        try:
            return set(os.listdir(f"{self._base}/{batch}"))  # noqa: PTH208
        except OSError:
            return set()

    def _read(self, batch: str) -> list[Quarantined]:
        """The record of a batch; [] if there is none, or it is damaged, which is a problem."""
        path = f"{self._base}/{batch}/record"
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123  (10,000 of these count)
                return [_parsed(batch, line) for line in file]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError):
            self._problems.append(f"{FOLDER}/{batch}/record: cannot be read")
            return []
        except OSError as error:
            raise unreachable(f"{FOLDER}/{batch}/record", error) from error

    def age(self, path: str) -> datetime | None:
        """See Quarantine."""
        place = self._files.place(path)
        if place is None:
            return None
        newest = max((max(one.st_mtime, one.st_ctime) for _path, one in _all(place)), default=None)
        return None if newest is None else datetime.fromtimestamp(newest, UTC)

    def written_at(self, one: Quarantined) -> datetime | None:
        """See Quarantine."""
        times = (
            status.st_mtime
            for _path, status in _all(f"{self._base}/{one.id}")
            if not stat.S_ISDIR(status.st_mode)
        )
        newest = max(times, default=None)
        return None if newest is None else datetime.fromtimestamp(newest, UTC)

    def problems(self) -> list[str]:
        """See Quarantine; those that the last `contents` found."""
        return list(self._problems)

    # -- restore and purge -------------------------------------------------------------------------
    def restore(self, one: Quarantined) -> bool:
        """See Quarantine. If something else is in its place, it stays here, as a problem."""
        here = f"{self._base}/{one.id}"
        with self._reported(one.path):
            if not os.path.lexists(here):
                return False
            place = self._writer.way(one.path)
            if stat.S_ISDIR(os.lstat(here).st_mode):
                came = self._link_folder(here, place)
            else:
                came = self._link(here, place)
                if not came and not _is_file(place, one.size):
                    self._problems.append(f"{shown(one.path)}: something else is in its place")
                    return False
            self._remove(here)
            return came

    def _link_folder(self, here: str, place: str) -> bool:
        came = False
        for path, status in list(_all(here)):  # folders before what is in them
            target = place + path[len(here) :]
            if not stat.S_ISDIR(status.st_mode):
                came = self._link(path, target) or came
                continue
            with suppress(FileExistsError):
                self.change(os.mkdir, target)
                came = True
        return came

    def _link(self, here: str, place: str) -> bool:
        """False: something is in its place. Uses a link, because that never replaces anything."""
        try:
            self.change(_link, here, place)
        except FileExistsError:
            return False
        return True

    def purge(self, one: Quarantined) -> int:
        """See Quarantine."""
        with self._reported(f"{FOLDER}/{one.id}"):
            return self._remove(f"{self._base}/{one.id}")

    def _remove(self, here: str) -> int:
        """Removes a file or folder of the quarantine; returns the bytes that this frees."""
        size = 0
        for path, status in reversed(list(_all(here))):
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(status.st_mode):
                    self.change(os.rmdir, path)
                else:
                    self.change(os.unlink, path)
                    size += status.st_size if status.st_nlink == 1 else 0
        return size

    def tidy(self) -> None:
        """See Quarantine."""
        with self._reported(FOLDER):
            for batch in self._batches():
                self._tidy(batch)

    def _tidy(self, batch: str) -> None:
        """Removes the record of a batch without items."""
        folder = f"{self._base}/{batch}"
        for name in ("record", "record.new"):
            if not self._names(batch) <= {"record", "record.new"}:
                return
            try:
                handle = os.open(f"{folder}/{name}", os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._names(batch) <= {"record", "record.new"}:  # while nobody adds to it
                    self.change(os.unlink, f"{folder}/{name}")
            except BlockingIOError:
                return
            except FileNotFoundError:
                continue
            finally:
                os.close(handle)
        with suppress(OSError):  # not empty, or gone
            self.change(os.rmdir, folder)

    @contextmanager
    def _reported(self, path: str) -> Iterator[None]:
        """Errors of the system, as Unreachable."""
        try:
            yield
        except OSError as error:
            raise unreachable(path, error) from error


def _written(going: Sequence[Quarantined]) -> bytes:
    lines = (
        json.dumps(
            {
                "number": one.id.rpartition("/")[2],
                "path": one.path,
                "size": one.size,
                "at": one.quarantined_at.isoformat(),
                "run": one.run,
            }
        )
        for one in going
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _parsed(batch: str, line: str) -> Quarantined:
    """One line of a record; ValueError, KeyError or TypeError if it is none."""
    found = json.loads(line)
    number, path = str(int(found["number"])), str(found["path"])
    if ".." in path.split("/") or paths.place_of(path) is None:
        raise ValueError("not a path of a store")
    at = datetime.fromisoformat(found["at"])
    return Quarantined(f"{batch}/{number}", path, int(found["size"]), at, str(found["run"]))


def _link(here: str, place: str) -> None:
    try:
        os.link(here, place, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EXDEV:  # its repository was moved to another disk meanwhile
            _copy(here, place)
            return
        # A file system without hard links: for an instant a new file may be replaced, by the same
        # content.
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP) or os.path.lexists(place):
            raise
        os.rename(here, place)  # noqa: PTH104


def _copy(here: str, place: str) -> None:
    """Like `os.link`: atomic, and nothing is replaced."""
    new = f"{place}.{secrets.token_hex(4)}"
    try:
        shutil.copyfile(here, new, follow_symlinks=False)
        os.link(new, place, follow_symlinks=False)
    finally:
        Path(new).unlink(missing_ok=True)


def _is_file(place: str, size: int) -> bool:
    status = os.lstat(place)
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _size(place: str) -> int | None:
    """Bytes of a file, or of all files in a folder; None: it does not exist, or is neither."""
    try:
        status = os.lstat(place)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise unreachable(place, error) from error
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    if not stat.S_ISDIR(status.st_mode):
        return None
    return sum(one.st_size for _path, one in _all(place) if stat.S_ISREG(one.st_mode))


def _all(place: str) -> Iterator[tuple[str, os.stat_result]]:
    """A file, or a folder and then all in it. Symbolic links are included and not followed."""
    try:
        status = os.lstat(place)
    except FileNotFoundError:
        return
    yield place, status
    if stat.S_ISDIR(status.st_mode):
        for name in sorted(os.listdir(place)):  # noqa: PTH208
            yield from _all(f"{place}/{name}")
