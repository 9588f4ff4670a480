"""Folders of files that nginx tests for at each request, below one that only their writer lists.

FOLDER/.lock        of two writers the later one has the later rows
FOLDER/…/@all       content: what a client is told
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registryui import files


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else writes in that folder meanwhile; it is made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make(folder, folder)
    handle = os.open(folder / ".lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def put(folder: Path, path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes a file below the folder, if it is another one."""
    _make(folder, path.parent)
    with suppress(OSError):
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return
    files.write(path, content, mode=mode)


def remove_others(folder: Path, kept: Iterable[Path]) -> None:
    """Removes all files but these, and folders that become empty."""
    stay = {*kept, folder / ".lock"}
    for place, _folders, names in os.walk(folder, topdown=False):
        for name in names:
            if Path(place, name) not in stay:
                Path(place, name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: something in it stays
            Path(place).rmdir()


def _make(folder: Path, place: Path) -> None:
    """That folder, which nginx can pass but not list."""
    if place != folder:
        _make(folder, place.parent)
    place.mkdir(exist_ok=True)
    if place.stat().st_mode & 0o777 != 0o711:  # whatever the umask
        place.chmod(0o711)
