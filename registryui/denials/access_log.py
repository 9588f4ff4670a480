"""Reads what nginx appended to its access log, also after a rotation (setup/rotation.py).

    access.json.20260131-031700   renamed; nginx writes there until it has opened a new one
    access.json

A file is known by its first line, whatever its name. The remaining hole: what a file holds that is
removed before it was read (BOATHOUSE_LOG_MB, a worker that was down) is not counted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

NAME = "access.json"
PIECE = 4_000_000  # bytes that are read at once
LONGEST_LINE = 64_000  # bytes; nginx cuts what clients send
QUIET = 5.0  # seconds after which nothing more is written to a renamed file


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where the log was read."""

    file: str = ""  # "": nothing yet
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    mark: str


def unread(since: Position) -> Iterator[tuple[bytes, Position]]:
    """What was appended since then, as pieces of whole lines, each with the position behind it.

    A position in a file that is gone: from the oldest file on. Never read: the current file.
    """
    files = _files()
    names = [one.mark for one in files]
    if since.file in names:
        start, offset = names.index(since.file), since.offset
    else:
        start, offset = 0 if since.file else max(len(files) - 1, 0), 0
    for number, file in enumerate(files[start:], start=start):
        for piece, behind in _pieces(file.path, offset):
            yield piece, Position(file.mark, behind)
        if number + 1 < len(files) and not _is_quiet(file.path):
            return
        offset = 0


def _files() -> list[_File]:
    """The oldest first; without empty ones."""
    log = Path(settings.LOG_DIR / NAME)
    found = [_File(path, _mark(path)) for path in (*sorted(log.parent.glob(f"{NAME}.*-*")), log)]
    return [one for one in found if one.mark]


def _mark(path: Path) -> str:
    """ "" if it has no whole line yet, or is gone."""
    with suppress(OSError), path.open("rb") as file:
        line = file.readline(LONGEST_LINE)
        return hashlib.sha256(line).hexdigest() if line.endswith(b"\n") else ""
    return ""


def _pieces(path: Path, offset: int) -> Iterator[tuple[bytes, int]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:  # removed in this moment
        return
    with file:
        file.seek(offset)
        while piece := file.read(PIECE):
            end = piece.rfind(b"\n") + 1
            if end == 0 and len(piece) < PIECE:
                return
            end = end or len(piece)  # no line of nginx
            offset += end
            file.seek(offset)
            yield piece[:end], offset


def _is_quiet(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > QUIET
    except FileNotFoundError:
        return True
