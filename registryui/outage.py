"""Which parts of this instance do not respond, as `up` or the worker has noted (setup/watching.py).

Every page reads this: no query, no request, and the file only when it has changed.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings

from . import files

SILENT = 30.0  # seconds: the file is touched every few seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """A part, as it was found in the last rounds."""

    name: str  # registry, nginx, worker …
    is_down: bool
    since: datetime
    note: str  # the problem in a few words; "" if there is none


@dataclass(frozen=True, slots=True)
class State:
    """`watcher`: the process that writes the file: "up", or with systemd's units "worker"."""

    parts: tuple[Seen, ...] = ()
    watcher: str = ""
    down: tuple[Seen, ...] = ()  # those of `parts` that do not respond


NOTHING = State()
_kept: tuple[tuple[int, int], State] = ((0, 0), NOTHING)


def file() -> Path:
    """Where the state of the parts is written."""
    return Path(_place(settings.RUN_DIR))


def state() -> State:
    """All parts in the order of starting; none if nobody watches them. If the process that watches
    has fallen silent, that part is down."""
    global _kept
    try:
        found = os.stat(_place(settings.RUN_DIR))  # noqa: PTH116  (each request does: a third)
    except OSError:
        return NOTHING
    key = (found.st_ino, found.st_mtime_ns)
    if _kept[0] != key:
        _kept = (key, _read())
    known = _kept[1]
    if not known.parts or time.time() - found.st_mtime <= SILENT:
        return known
    silent = Seen(known.watcher, True, datetime.fromtimestamp(found.st_mtime, UTC), "")
    others = tuple(one for one in known.parts if one.name != silent.name)
    return _state((*others, silent), known.watcher)


def down() -> tuple[Seen, ...]:
    """The parts that do not respond."""
    return state().down


def token() -> str:
    """Changes with each part that goes down or comes back; "" while all respond."""
    return ".".join(f"{one.name}-{one.since.timestamp():.0f}" for one in down())


def write(state: State) -> None:
    """Writes the file."""
    told = {
        "watcher": state.watcher,
        "parts": [[one.name, one.is_down, one.since.timestamp(), one.note] for one in state.parts],
    }
    files.write(file(), json.dumps(told))


def _state(parts: tuple[Seen, ...], watcher: str) -> State:
    return State(parts, watcher, tuple(one for one in parts if one.is_down))


@lru_cache(maxsize=1)
def _place(folder: Path) -> str:
    return str(folder / "health.json")


def _read() -> State:
    try:
        told: dict[str, Any] = json.loads(file().read_text())
        rows = [
            Seen(str(name), bool(is_down), datetime.fromtimestamp(since, UTC), str(note))
            for name, is_down, since, note in told["parts"]
        ]
        return _state(tuple(rows), str(told["watcher"]))
    except (OSError, ValueError, TypeError, KeyError):
        return NOTHING
