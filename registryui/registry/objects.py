"""A store on an object service, through fsspec. See Files in files.py.

One listing returns a thousand keys, whatever their folders, and reading one byte costs as much as a
manifest: so many folders are listed at once, a folder of links or blobs by its prefix, and contents
in one round. Nothing is cached between calls.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import fsspec

from ..oci.untrusted import quoted
from .errors import NotFound, RegistryError, TooLarge, Unreachable
from .files import ABSENT, ODD, Content, Leaf, Problems, shown

AT_ONCE = 16  # listings in flight
PIECE = 8 * 1024 * 1024  # bytes: as large as costs no more than one request
_NO_SECRETS = ("endpoint_url", "region_name", "account_name", "project")
# Names of a time of change, as the drivers have them: S3; azure; gcs; a disk; memory.
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class ObjectFiles:
    """A store below `root` (bucket and prefix) of what `protocol` and `options` of fsspec are.

    `options` hold credentials: they are in no text that comes from here.
    """

    def __init__(
        self, protocol: str, root: str, options: Mapping[str, Any], problems: Problems
    ) -> None:
        self._told = (protocol, root, dict(options), problems)
        self.root = root.rstrip("/")
        self.protocol = protocol
        self._problems = problems
        self._secrets = _secrets(options)
        # Listings would be cached for ever, while the registry writes. fsspec gives a thread the
        # same object for the same options again: a new client of S3 takes 0.2 s of processor.
        self.system: Any = fsspec.filesystem(protocol, **{"use_listings_cache": False, **options})

    def __repr__(self) -> str:
        return f"ObjectFiles({self.protocol}://{self.root})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (ObjectFiles, self._told)  # another process needs its own connections

    def folders(self, parents: Sequence[str]) -> list[list[str] | RegistryError]:
        """See Files."""
        if len(parents) == 1:
            return [self._folders(parents[0])]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="list") as pool:
            return list(pool.map(self._folders, parents))

    def _folders(self, parent: str) -> list[str] | RegistryError:
        place = f"{self.root}/{parent}"
        try:
            entries = self.system.ls(place, detail=True)
        except FileNotFoundError:
            return self._check_bucket() or []
        except NotADirectoryError:
            return []
        except Exception as error:  # each driver has its own
            return self.unreachable(parent, error)
        names = set()
        for entry in entries:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if entry["type"] == "directory":
                names.add(name)
            elif str(entry["name"]).rstrip("/").strip("/") != place.strip("/"):  # its own marker
                self._problems.note(f"{parent}/{name}", "is no folder")
        return sorted(names)

    def _check_bucket(self) -> RegistryError | None:
        """None if a listing is empty because there are no keys, not because the bucket is missing:
        that is only reported when a prefix is listed."""
        try:
            self.system.find(f"{self.root}/docker/registry/v2/nothing-is-called-so")
        except Exception as error:
            return self.unreachable("", error)
        return None

    def leaves(self, folder: str, leaf: str) -> list[Leaf]:
        """See Files."""
        found: dict[str, Leaf] = {}
        for rest, info in self.found(folder):
            name, _, inner = rest.partition("/")
            before = found.get(name)
            if inner == leaf:
                found[name] = Leaf(name, int(info["size"]), modified(info))
            elif before is None or before.size < 0:
                is_odd = not inner or inner.startswith(f"{leaf}/")
                if is_odd and before is None:
                    self._problems.note(f"{folder}/{rest}", "is not what belongs there")
                size = ODD if is_odd else ABSENT
                newest = max(modified(info), before.modified if before else 0.0)
                found[name] = Leaf(name, min(size, before.size if before else size), newest)
        return [found[name] for name in sorted(found)]

    def read(self, wanted: Sequence[str], *, limit: int) -> list[Content]:
        """See Files. Never more than `limit` and one byte of a file."""
        if not wanted:
            return []
        places = [f"{self.root}/{path}" for path in wanted]
        count = len(places)
        try:
            answers = self.system.cat_ranges(
                places, [0] * count, [limit + 1] * count, on_error="return"
            )
        except Exception as error:
            return [self.unreachable(wanted[0], error)] * count
        return [
            self._content(path, answer, limit) for path, answer in zip(wanted, answers, strict=True)
        ]

    def _content(self, path: str, answer: object, limit: int) -> Content:
        if isinstance(answer, bytes):
            if len(answer) > limit:
                return TooLarge(f"{shown(path)}: more than {limit} bytes")
            return answer
        if isinstance(answer, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return None
        # A range of an empty object cannot be satisfied.
        if isinstance(answer, OSError) and answer.errno == errno.EINVAL and self._is_empty(path):
            return b""
        return self.unreachable(path, answer)

    def pieces(self, path: str) -> Iterator[bytes]:
        """See Files. One request for each piece: an open one would end while it is waited for."""
        at = 0
        while True:
            place = f"{self.root}/{path}"
            answer = self.system.cat_ranges([place], [at], [at + PIECE], on_error="return")[0]
            if at and isinstance(answer, OSError) and answer.errno == errno.EINVAL:
                return  # it ended with the piece before
            piece = self._content(path, answer, PIECE)
            if isinstance(piece, RegistryError):
                raise piece
            if piece is None:
                raise NotFound(f"{shown(path)}: is not there")
            if piece:
                yield piece
            if len(piece) < PIECE:
                return
            at += len(piece)

    def _is_empty(self, path: str) -> bool:
        try:
            return bool(self.system.info(f"{self.root}/{path}")["size"] == 0)
        except Exception:
            return False

    def stamp(self, folder: str, nested: str) -> str:
        """See Files. From the keys with their sizes and times: it changes for a moved tag, too."""
        lines = [
            f"{one} {rest} {info['size']} {modified(info)}"
            for one in (folder, nested)
            for rest, info in self.found(one)
        ]
        text = "\n".join(sorted(lines))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def found(self, folder: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """All keys that begin with `folder`/: the rest of each, and its facts."""
        try:
            keys = self.system.find(f"{self.root}/{folder}", detail=True)
        except FileNotFoundError:
            if missing := self._check_bucket():
                raise missing from None
            return
        except Exception as error:
            raise self.unreachable(folder, error) from None
        start = f"{self.root}/{folder}/".lstrip("/")
        for key, info in keys.items():
            rest = str(key).lstrip("/").removeprefix(start)
            if rest and rest != str(key).lstrip("/"):
                yield rest, info

    def unreachable(self, path: str, error: object) -> Unreachable:
        """The driver's error, without secrets that it may contain."""
        words = " ".join(str(error).split())[:200]
        for secret in self._secrets:
            words = words.replace(secret, "[hidden]")
        told = f"{self.protocol}://{self.root}/{path}".rstrip("/")
        return Unreachable(f"{quoted(told)[1:-1]}: {type(error).__name__}: {quoted(words)[1:-1]}")


def _secrets(options: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += _secrets(value)
        elif isinstance(value, str) and value and name not in _NO_SECRETS:
            found.append(value)
    return sorted(found, key=len, reverse=True)


def modified(info: Mapping[str, Any]) -> float:
    """Seconds since 1970; 0 if the driver has no valid time."""
    value = next((info[name] for name in _TIMES if info.get(name) is not None), 0.0)
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        return value.timestamp() if isinstance(value, datetime) else float(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def is_installed(protocol: str) -> bool:
    """Whether fsspec has a driver for `protocol` with its packages."""
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError):
        return False
    return True
