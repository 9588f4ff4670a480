"""The lines that the parts print, as `up` writes them to log/boathouse.log: TIME PART | WORDS.

With systemd's units they are in the journal, and in the foreground on the terminal: then there are
none here.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

NAME = "boathouse.log"
TAIL = 256 * 1024  # bytes of the end that `last` reads
PAUSE = 0.2  # seconds between two looks of `follow`
_LINE = re.compile(r"(?P<at>\d{4}-\d\d-\d\dT\S+) (?P<part>\w+) +\| (?P<words>.*)")
_SECRETS = (
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), r"\1[hidden]@"),
    (re.compile(r"(?i)(authorization\W+(?:basic|bearer)\s+)[^\s\"\]]+"), r"\1[hidden]"),
    (re.compile(r"([?&]_state=)[^&\s\"]+"), r"\1[hidden]"),
)


@dataclass(frozen=True, slots=True)
class Line:
    at: datetime
    part: str
    words: str

    def __str__(self) -> str:
        return f"{self.at.isoformat(timespec='seconds')} {self.part:<9} | {self.words}"


def last(part: str, count: int) -> list[str]:
    """The newest words of a part, the oldest first; [] if there are none. For pages, which viewers
    read: what looks like a secret is hidden."""
    try:
        with _log().open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            found = file.read(TAIL).decode("utf-8", "replace")
    except OSError:
        return []
    lines = (parse(line) for line in found.splitlines())
    ours = deque((one.words for one in lines if one and one.part == part), maxlen=count)
    return [_without_secrets(words) for words in ours]


def parse(line: str) -> Line | None:
    """A line of the log; None: it is of no part."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found["at"])
    except ValueError:
        return None
    return Line(at if at.tzinfo else at.replace(tzinfo=UTC), found["part"], found["words"])


def read(part: str = "", *, since: datetime | None = None, count: int = 0) -> list[Line]:
    """The lines of a part, or of all, the oldest first: those since a time, or the newest `count`
    (0: all)."""
    found: deque[Line] = deque(maxlen=count or None)
    for file in _files():
        with suppress(FileNotFoundError), file.open(errors="replace") as lines:
            if since and file.stat().st_mtime < since.timestamp():
                continue
            for line in lines:
                one = parse(line.rstrip("\n"))
                if one and (not part or one.part == part) and (not since or one.at >= since):
                    found.append(one)
    return list(found)


def follow(part: str = "") -> Iterator[Line]:
    """New lines, as they come, also after a rotation. Never ends."""
    file = _log().open(errors="replace")
    file.seek(0, os.SEEK_END)
    rest = ""
    while True:
        while piece := file.readline():
            rest += piece
            if not rest.endswith("\n"):
                continue
            one, rest = parse(rest.rstrip("\n")), ""
            if one and (not part or one.part == part):
                yield one
        with suppress(FileNotFoundError):  # just renamed
            if not os.path.samestat(os.fstat(file.fileno()), _log().stat()):
                file.close()
                file = _log().open(errors="replace")
                continue
        time.sleep(PAUSE)


def _without_secrets(words: str) -> str:
    for pattern, shown in _SECRETS:
        words = pattern.sub(shown, words)
    return words


def _log() -> Path:
    return Path(settings.LOG_DIR / NAME)


def _files() -> list[Path]:
    """The renamed ones, the oldest first, and the log itself."""
    return [*sorted(Path(settings.LOG_DIR).glob(f"{NAME}.*")), _log()]
