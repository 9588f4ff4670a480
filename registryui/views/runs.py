"""A run of any kind as pages show it: does it live, how long did it take, who asked for it?"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import runs
from registryui.failures import in_words
from registryui.models import Run, portal_actor


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run, and what is said of all kinds."""

    run: Run

    @property
    def is_running(self) -> bool:
        return self.run.state == Run.State.RUNNING

    @property
    def is_alive(self) -> bool:
        """It is under way, and its process lives."""
        return runs.is_alive(self.run)

    @property
    def is_silent(self) -> bool:
        """It says that it runs, and has not been heard of for a minute."""
        return runs.is_silent(self.run)

    @property
    def by(self) -> str:
        """Who asked for it, in words."""
        known = {"schedule": _("scheduled"), "command line": _("from the command line")}
        known["start"] = _("at startup")
        return known.get(self.run.by) or portal_actor(self.run.by)

    @property
    def problem(self) -> str:
        """Why it ended before its time, in words."""
        return in_words(runs.Result.of(self.run).problem)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        end = self.run.finished_at or (self.run.heartbeat_at if self.is_silent else timezone.now())
        return max((end - self.run.started_at).total_seconds(), 0)

    def share_up_to(self, most: float) -> float:
        """0–100: how far it is; 100 once it is done, before that `most` (0–1) of it at most."""
        if self.run.state == Run.State.DONE:
            return 100
        return round(100 * min(self.run.done / self.run.total, most), 1) if self.run.total else 0
