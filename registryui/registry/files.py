"""The files of a store: what storage.py needs of them, and their implementation on a disk.

    Files ├ LocalFiles    plain os calls: with fsspec reading takes twice as long
          └ ObjectFiles   objects.py: everything else, through fsspec

Raises Unreachable when the disk or service does not respond (no permission, an I/O error): then
nothing is known. Invalid content is noted in `Problems` and left out.

A symbolic link is followed where an administrator may have moved a part of the store to another
disk: in the name of a repository, and above the folders of single blobs. Only if its target is a
folder with no other path: not circular, not in the store already. No other link is followed. Behind
a link only digests are read, in files named as the registry names them. A broken link means that a
disk is not mounted, and nothing is known: Unreachable.
"""

from __future__ import annotations

import errno
import hashlib
import operator
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ..oci.untrusted import quoted
from . import paths
from .errors import BadAnswer, NotFound, RegistryError, TooLarge, Unreachable

LINES = 200
FRESH = 2.0  # seconds in which a folder may change again with the same time: ext4 has ticks of 4 ms
PLAIN_LIMIT = 10_000  # cached folders: 2 MB
PIECE = 1024 * 1024  # bytes
ABSENT = -1  # a size: no such file
ODD = -2  # a size: something else is in its place

Content = bytes | RegistryError | None


class Leaf(NamedTuple):
    """A file, named by the folder that it is in."""

    name: str
    size: int  # bytes, or ABSENT, or ODD
    modified: float  # seconds since 1970; of the folder where there is no file
    changed: float = 0.0  # the newest of all its times; 0: only that one


class Files(Protocol):
    """Paths are those of paths.py. Safe to call from several threads."""

    def folders(self, parents: Sequence[str]) -> list[list[str] | RegistryError]:
        """The names of the folders in each of these; [] if there is none."""
        ...

    def leaves(self, folder: str, leaf: str) -> list[Leaf]:
        """The file `leaf` of each entry in `folder`; [] if there is no such folder."""
        ...

    def read(self, wanted: Sequence[str], *, limit: int) -> list[Content]:
        """The contents in the order asked. None: no such file, or a folder in its place. An error
        in the place of one: TooLarge, BadAnswer (no file), Unreachable."""
        ...

    def pieces(self, path: str) -> Iterator[bytes]:
        """The content from its start to its end, in pieces of some MiB at most. NotFound,
        BadAnswer (no file) or Unreachable when the first is asked for, or later."""
        ...

    def stamp(self, folder: str, nested: str) -> str:
        """Changes whenever an entry was added to or removed from `folder`, or the folders two
        levels below `nested`."""
        ...


class Problems:
    """Invalid content of the store: the first lines, and their number. For several threads."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def note(self, path: str, what: str) -> None:
        """One line: never with content of a file, which may be another file of this machine."""
        mark = hash((path, what))
        with self._lock:
            if mark not in self._seen and len(self._lines) < LINES:
                self._lines.append(f"{shown(path)}: {what}")
            self._seen.add(mark)  # what is found again counts once

    def lines(self) -> list[str]:
        """LINES at most, then one with the number of the others."""
        with self._lock:
            more = len(self._seen) - len(self._lines)
            return [*self._lines, f"and {more} more"] if more else list(self._lines)

    def __getstate__(self) -> tuple[()]:
        return ()  # another process begins with none (and None would not call __setstate__)

    def __setstate__(self, state: tuple[()]) -> None:
        self.__init__()  # type: ignore[misc]


class LocalFiles:
    """A store in `root`, the registry's `rootdirectory`."""

    def __init__(self, root: str, problems: Problems) -> None:
        self.root = root
        self._problems = problems
        # An administrator may have moved these two to other disks; everything below is the
        # registry's.
        self._bases = {
            base: os.path.realpath(f"{root}/{base}") for base in (paths.REPOSITORIES, paths.BLOBS)
        }
        self._plain: set[str] = set(self._bases.values())  # folders that may be read
        self._ways: dict[str, str] = {}  # symbolic links that are followed, and their targets
        # Those among repositories that are not. The registry follows them: content behind them is
        # served, and its references are unknown here.
        self.unfollowed: list[str] = []

    def __repr__(self) -> str:
        return f"LocalFiles({self.root!r})"

    def folders(self, parents: Sequence[str]) -> list[list[str] | RegistryError]:
        """See Files. What is no folder is noted."""
        return [self._folders(parent) for parent in parents]

    def _folders(self, parent: str) -> list[str] | RegistryError:
        names = []
        try:
            for entry in self._entries(parent):
                if _is_folder(entry) or self.follows(entry.path):
                    names.append(entry.name)
                else:
                    self._note_odd(f"{parent}/{entry.name}", entry)
        except Unreachable as error:
            return error
        return names

    def leaves(self, folder: str, leaf: str) -> list[Leaf]:
        """See Files."""
        place = self._place(folder)
        is_deep = "/" in leaf
        found = []
        for entry in self._entries(folder):
            name = entry.name
            if not _is_folder(entry):
                self._note_odd(f"{folder}/{name}", entry)
                found.append(Leaf(name, ODD, _modified(entry.path)))
                continue
            if is_deep and len(self._plain) < PLAIN_LIMIT:
                self._plain.add(entry.path)  # need not be checked again when the leaf is read
            try:
                status = os.lstat(f"{place}/{name}/{leaf}")
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise unreachable(f"{folder}/{name}/{leaf}", error) from error
                found.append(Leaf(name, ABSENT, _modified(entry.path)))
                continue
            is_file = stat.S_ISREG(status.st_mode)
            size = status.st_size if is_file else ODD
            changed = max(status.st_mtime, status.st_ctime)
            found.append(Leaf(name, size, status.st_mtime, changed))
        return found

    def _note_odd(self, path: str, entry: os.DirEntry[str]) -> None:
        self._problems.note(path, kind := _kind(entry))
        if kind == _LINK:
            self._note_unfollowed(path)

    def _note_unfollowed(self, path: str) -> None:
        if path.startswith(paths.REPOSITORIES) and len(self.unfollowed) < LINES:
            self.unfollowed.append(path)

    def read(self, wanted: Sequence[str], *, limit: int) -> list[Content]:
        """See Files."""
        return [self._read(path, limit) for path in wanted]

    def _read(self, path: str, limit: int) -> Content:
        place = self._place(path)
        folder = place.rpartition("/")[0]
        above = folder.rpartition("/")[0]
        try:
            # Each folder is checked once, its parents often.
            is_plain = above in self._plain or self._is_plain(above)
            if not is_plain or not stat.S_ISDIR(os.lstat(folder).st_mode):
                return self._odd(path, "lies behind a symbolic link, or in no folder")
            handle = os.open(place, _FLAGS)
        except OSError as error:
            return self._missing(path, error)
        except Unreachable as error:
            return error
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                self._odd(path, "is no file")
                return None
            size = status.st_size
            if size > limit:
                return TooLarge(f"{shown(path)}: {size} bytes, more than {limit}")
            content = os.read(handle, size + 1)
            while 0 < len(content) < size and (more := os.read(handle, size - len(content))):
                content += more
            return content if len(content) == size else self._odd(path, "changed while it was read")
        except OSError as error:
            return unreachable(path, error)
        finally:
            os.close(handle)

    def pieces(self, path: str) -> Iterator[bytes]:
        """See Files."""
        place = self.place(path)
        try:
            handle = os.open(place or "", _FLAGS)
        except OSError as error:
            answer = self._missing(path, error)
            if isinstance(answer, RegistryError):
                raise answer from error
            raise NotFound(f"{shown(path)}: is not there") from error
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise self._odd(path, "is no file")
            while piece := os.read(handle, PIECE):
                yield piece
        except OSError as error:
            raise unreachable(path, error) from error
        finally:
            os.close(handle)

    def _missing(self, path: str, error: OSError) -> Content:
        if error.errno == errno.ENOENT:
            return None
        if error.errno in _NOT_THERE:
            return self._odd(path, "is a symbolic link, or lies in no folder")
        return unreachable(path, error)

    def _odd(self, path: str, what: str) -> BadAnswer:
        self._problems.note(path, what)
        return BadAnswer(f"{shown(path)}: {what}")

    def stamp(self, folder: str, nested: str) -> str:
        """See Files. From the times of the folders, not of files in them."""
        times = [self._time(folder)]
        for one in self._entries(nested):
            times.append(_stamp_of(one.path))
            if _is_folder(one):
                inside = self._entries_of(one.path)
                times += [f"{two.name} {_stamp_of(two.path)}" for two in inside]
        newest = max((int(time.rpartition(" ")[2]) for time in times), default=0)
        now = time.time_ns()
        if 0 <= now - newest < FRESH * 1e9:
            times.append(str(now))  # it may change again within the same tick: report a change once
        return hashlib.sha256("\n".join(times).encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _time(self, folder: str) -> str:
        place = self._place(folder)
        try:
            return _stamp_of(place) if self._is_plain(place) else "0"
        except OSError as error:
            if error.errno in _NOT_THERE:
                return "0"
            raise unreachable(folder, error) from error

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder, sorted; [] if it does not exist or is no folder."""
        place = self._place(folder)
        try:
            if not self._is_plain(place):
                self._problems.note(folder, f"{_LINK}, or lies behind one")
                self._note_unfollowed(folder)
                return []
        except OSError as error:
            if error.errno in _NOT_THERE:
                return []
            raise unreachable(folder, error) from error
        return self._entries_of(place)

    def _entries_of(self, place: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(place) as entries:
                return sorted(entries, key=_name)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return []
            raise unreachable(place.removeprefix(f"{self.root}/"), error) from error

    def place(self, path: str) -> str | None:
        """`path` on this disk; None if a parent is a symbolic link, or no folder."""
        place = self._place(path)
        try:
            return place if self._is_plain(place.rpartition("/")[0]) else None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise unreachable(path, error) from error

    def _place(self, path: str) -> str:
        base = paths.BLOBS if path.startswith(paths.BLOBS) else paths.REPOSITORIES
        return self._bases[base] + path[len(base) :]

    def is_elsewhere(self, path: str) -> bool:
        """True if `path` is on another file system than the store: nothing can be moved out."""
        place = self._place(path)
        try:
            status = Path(place).stat()
            if not stat.S_ISDIR(status.st_mode):  # on overlayfs only folders report their own
                status = Path(place).parent.stat()
            return status.st_dev != Path(self.root).stat().st_dev
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise unreachable(path, error) from error

    @property
    def elsewhere(self) -> list[str]:
        """The followed symbolic links that point to another file system."""
        followed = sorted(self._path(place) for place in self._ways)
        return [path for path in followed if self.is_elsewhere(path)]

    def follows(self, place: str) -> bool:
        """True for a symbolic link to a part of the store that has no other name. Unreachable if it
        is broken. Of two with the same target the first one counts."""
        if place in self._ways:
            return True
        if not self._may_be_way(place) or not Path(place).is_symlink():
            return False
        try:
            if not stat.S_ISDIR(Path(place).stat().st_mode):
                return False
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False
            raise unreachable(self._path(place), error) from error
        target = os.path.realpath(place)
        with _WAYS:
            if place in self._ways:
                return True
            known = (os.path.realpath(self.root), *self._bases.values(), *self._ways.values())
            if any(_overlap(target, other) for other in known):
                return False
            self._ways[place] = target
        return True

    def _may_be_way(self, place: str) -> bool:
        """Whether the path has only names of repositories, or only folders of many blobs."""
        repositories, blobs = self._bases[paths.REPOSITORIES], self._bases[paths.BLOBS]
        if place.startswith(f"{blobs}/"):
            return place.removeprefix(f"{blobs}/").count("/") < 2
        return place.startswith(f"{repositories}/") and "/_" not in place[len(repositories) :]

    def _path(self, place: str) -> str:
        for base, folder in self._bases.items():
            if place.startswith(f"{folder}/"):
                return base + place[len(folder) :]
        return place

    def _is_plain(self, place: str) -> bool:
        """Whether neither `place` nor a folder above it in the store is a symbolic link, but for
        those that are followed."""
        if place in self._plain:
            return True
        above = place.rpartition("/")[0]
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            self._is_plain(above)  # Unreachable: a disk is not mounted
            raise
        if not stat.S_ISDIR(status.st_mode) and not self.follows(place):
            return False
        if not self._is_plain(above):
            return False
        if len(self._plain) > PLAIN_LIMIT:
            self._plain = set(self._bases.values())
        self._plain.add(place)
        return True


# O_NONBLOCK: a pipe in place of a file must not block.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_THERE = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EISDIR)
)


_LINK = "is a symbolic link that is not followed"
_WAYS = threading.Lock()  # global: readers are sent to other processes, which cannot have it


def _overlap(one: str, other: str) -> bool:
    """True if one of two folders is the other or inside it."""
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)


_name = operator.attrgetter("name")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # on file systems without it in the listing
        return False


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        return _LINK if entry.is_symlink() else "is no folder"
    except OSError:
        return "cannot be looked at"


def _modified(place: str) -> float:
    try:
        return os.lstat(place).st_mtime
    except OSError:
        return 0.0


def _stamp_of(place: str) -> str:
    try:
        return str(os.lstat(place).st_mtime_ns)
    except OSError:
        return "0"


def unreachable(path: str, error: OSError) -> Unreachable:
    """The system's error for `path`."""
    return Unreachable(f"{shown(path)}: {os.strerror(error.errno or 0)}")


def shown(path: str) -> str:
    """A path for output: the relevant part, safe in a terminal."""
    for base in (paths.REPOSITORIES, paths.BLOBS):
        path = path.removeprefix(f"{base}/")
    return quoted(path if len(path) <= 80 else f"…{path[-78:]}")[1:-1]


def ordered(names: Iterable[str]) -> list[str]:
    """Repositories in the order of their parts, as the registry walks them."""
    return sorted(names, key=lambda name: name.split("/"))
