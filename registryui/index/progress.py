"""What a sync has done so far: its counts, its lines, how far it is. One for each run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from registryui.models import Run
from registryui.registry.errors import RegistryError

from . import ingest, runs

log = logging.getLogger(__name__)

LOG_LINES = 200
BEAT = 0.5  # seconds between two writes of how far it is

Progress = Callable[[Run], None]


@dataclass(slots=True)
class State:
    """One run while it goes on."""

    run: Run
    progress: Progress | None
    changes: ingest.Changes = field(default_factory=ingest.Changes)
    errors: int = 0
    lines: list[str] = field(default_factory=list)
    left_out: int = 0  # lines over LOG_LINES
    broken: RegistryError | None = None  # why the list of repositories has no end
    beaten: float = 0.0  # by the clock of time.monotonic

    def note(self, text: str) -> None:
        """A line for a person; those over the limit are counted."""
        if len(self.lines) < LOG_LINES:
            self.lines.append(text)
        else:
            self.left_out += 1

    def all_lines(self) -> list[str]:
        """The lines, and how many were left out."""
        return [*self.lines, f"and {self.left_out} more"] if self.left_out else self.lines

    def failed(self, what: str, error: RegistryError) -> None:
        """Something could not be looked at: nothing is concluded from that."""
        self.errors += 1
        self.note(f"{what}: {error}")
        log.warning("sync %s: %s", what, error)

    def advance(self, tags: int, *, total: int | None = None) -> None:
        """So many tags more are done. Written at most every BEAT seconds."""
        self.run.done += tags
        if total is not None:
            self.run.total = max(total, self.run.done)
        if time.monotonic() - self.beaten >= BEAT:
            self.beaten = time.monotonic()
            runs.beat(self.run)
            if self.progress is not None:
                self.progress(self.run)
