"""Counters and errors of a mirror: MIRRORS_DIR/NAME/state.json, for the portal to read.

Written at most once a second, and only after a change. Counters continue after a restart.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registryui import files

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two writes of a file


@dataclass(slots=True)
class State:
    """The content of the file. Times are in ISO 8601, UTC."""

    contact: str | None = None  # when the upstream answered last
    away_since: str | None = None
    error: str = ""  # the last one; "" after a success
    limit: dict[str, int] | None = None  # of Docker Hub: limit, remaining; window in seconds
    hits: int = 0  # tags answered from here
    misses: int = 0  # manifests that were fetched
    stale: int = 0  # tags answered from here without a check: the upstream was away or slow
    upstream_requests: int = 0
    upstream_bytes: int = 0  # of manifests and blobs
    refused: int = 0  # answers of the upstream that were wrong or incomplete
    last_refusal: dict[str, str] | None = None  # at, what, words


COUNTERS = ("hits", "misses", "stale", "upstream_requests", "upstream_bytes", "refused")


class StateFile:
    """The state of one mirror. Safe for several threads."""

    def __init__(self, path: Path, changed: threading.Event) -> None:
        self._path = path
        self._changed = changed
        self._lock = threading.Lock()
        self._state = _read(path)
        self._written = asdict(self._state)

    def count(self, **added: int) -> None:
        """Adds to counters, which are named by their fields."""
        with self._lock:
            for name, number in added.items():
                setattr(self._state, name, getattr(self._state, name) + number)
        self._changed.set()

    def note(self, **values: Any) -> None:
        """Sets fields."""
        with self._lock:
            for name, value in values.items():
                setattr(self._state, name, value)
        self._changed.set()

    def refuse(self, what: str, words: str) -> None:
        """The upstream's content for `what` was refused."""
        log.warning("%s: refused: %s", what, words)
        with self._lock:
            self._state.refused += 1
            self._state.last_refusal = {"at": now(), "what": what, "words": words}
        self._changed.set()

    def write(self) -> None:
        """Writes the file if it would change. OSError."""
        with self._lock:
            told = asdict(self._state)
        if told != self._written and self._path.parent.is_dir():
            files.write(self._path, json.dumps(told))
            self._written = told


class States:
    """The files of all mirrors, and the thread that writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._files: dict[str, StateFile] = {}

    def of(self, name: str) -> StateFile:
        """The state of that mirror: the same object each time."""
        with self._lock:
            if name not in self._files:
                place = self._folder / name / "state.json"
                self._files[name] = StateFile(place, self._changed)
            return self._files[name]

    def start(self) -> None:
        """Writes what changes from now on, in a thread."""
        threading.Thread(target=self._write_always, name="state", daemon=True).start()

    def write(self) -> None:
        """Writes what changed. A full disk is no error: it is written later."""
        for one in list(self._files.values()):
            try:
                one.write()
            except OSError as error:
                log.warning("%s", error)

    def _write_always(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            self.write()
            time.sleep(PAUSE)


def now() -> str:
    """The time, as in the file."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _read(path: Path) -> State:
    """What an earlier process wrote: its errors are over, its counters continue."""
    state = State()
    with suppress(OSError, ValueError, TypeError):
        found = json.loads(path.read_bytes())
        for one in fields(State):
            value = found.get(one.name)
            if (one.name in COUNTERS and isinstance(value, int)) or one.name in (
                "contact",
                "limit",
                "last_refusal",
            ):
                setattr(state, one.name, value)
    return state
