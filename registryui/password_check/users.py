"""Who may log in by the htpasswd files."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from registryui.accounts import htpasswd

_Stamp = tuple[int, int, int, int]
# Nanoseconds: above the resolution of a file's times. Two changes within it may have one stamp.
_TICK = 50_000_000


@dataclass(frozen=True, slots=True)
class Login:
    """A login to check: what a client sent, and the hashes of that name now."""

    name: bytes
    secret: bytes = field(repr=False)
    hashes: tuple[bytes, ...]  # the current one, and that of the replaced secret; none: no user


class Users:
    """The lines of both files as they are now: read again when a file has changed."""

    def __init__(self, file: Path, overlap: Path) -> None:
        self._file, self._overlap = _File(file), _File(overlap)

    def login(self, name: bytes, secret: bytes) -> Login:
        """That login. OSError if the file of users cannot be read; without the other one, no
        replaced secret is right."""
        lines = [self._file.lines()]
        with contextlib.suppress(OSError):
            lines.append(self._overlap.lines())
        return Login(name, secret, tuple(one[name] for one in lines if name in one))


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: _Stamp | None = None
        self._lines: dict[bytes, bytes] = {}

    def lines(self) -> dict[bytes, bytes]:
        found = self._path.stat()
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if stamp != self._seen:
            self._lines = htpasswd.parse_bytes(self._path.read_bytes())
            is_final = abs(time.time_ns() - found.st_ctime_ns) > _TICK
            self._seen = stamp if is_final else None
        return self._lines
