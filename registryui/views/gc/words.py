"""A garbage collection as people read it: its steps with times, its counts, what it is at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from registryui.failures import in_words
from registryui.gc.result import Result
from registryui.models import Run
from registryui.views.runs import ShownRun

STAGES = ("canary", "mark", "quarantine", "review", "purge", "leftovers")
DRY_STAGES = ("mark", "leftovers")  # of a dry run
REVIEW_STAGES = ("review",)  # of one that only looks again
LEAST_SHARE = 0.05  # of the work that must be done before "left" is said
LEAST_SECONDS = 3
MOST_SHARE = 0.98  # of a run that goes on: how much there is to do is a guess


@dataclass(frozen=True, slots=True)
class Step:
    """One stage. state: done, now, next; stopped or bad where the run ended before its time."""

    name: str  # of STAGES
    title: str
    state: str
    seconds: float | None  # None: not begun


@dataclass(frozen=True, slots=True)
class Report(ShownRun):
    """A garbage collection, and its steps."""

    counts: Result
    steps: tuple[Step, ...]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Repositories of which nothing goes, and why."""
        return [(name, in_words(why)) for name, why in self.counts.skipped_repositories]

    @property
    def is_due(self) -> bool:
        """Some of what waits may go."""
        return self.counts.due is not None and self.counts.due <= timezone.now()

    @property
    def share(self) -> float:
        """0–100: how far it is; 100 once it is done."""
        return self.share_up_to(MOST_SHARE)

    @property
    def seconds_left(self) -> float | None:
        """By what it has done; None: too early to say, or nothing to go by."""
        share = self.share / 100
        if not self.is_alive or self.seconds < LEAST_SECONDS or share < LEAST_SHARE:
            return None
        return None if share >= MOST_SHARE else self.seconds * (1 - share) / share


def report(run: Run) -> Report:
    """What that run says. No query."""
    result = Result.of(run)
    return Report(run, result, _steps(run, result))


def counted(recent: Sequence[Run]) -> Report | None:
    """The newest of these that came to its end: what the store is like."""
    return next((report(run) for run in recent if run.state == Run.State.DONE), None)


def quarantine(recent: Sequence[Run]) -> Report | None:
    """The newest of these that has ended, also badly: it says what is in quarantine now."""
    ended = (run for run in recent if run.state != Run.State.RUNNING)
    found = (one for one in map(report, ended) if one.counts.in_quarantine is not None)
    return next(found, None)


def _steps(run: Run, result: Result) -> tuple[Step, ...]:
    ended: dict[str, float] = {}  # seconds of each stage, in the order in which they ended
    for one in result.stages:
        ended[one.name] = ended.get(one.name, 0) + one.seconds
    names: tuple[str, ...] = DRY_STAGES if result.dry_run else STAGES
    if result.is_review:
        names = REVIEW_STAGES
    if run.state == Run.State.DONE:  # what it had no need of is left out
        names = tuple(name for name in names if name in ended)
    steps = []
    for name in names:
        state = _state(run, name, result.stage, ended)
        seconds = ended.get(name)
        if state == "now":
            seconds = max(
                (timezone.now() - run.started_at).total_seconds() - sum(ended.values()), 0
            )
        steps.append(Step(name, _title(name), state, seconds))
    return tuple(steps)


def _state(run: Run, name: str, at: str, ended: Mapping[str, float]) -> str:
    if name == at and run.state != Run.State.DONE:
        return {Run.State.RUNNING: "now", Run.State.STOPPED: "stopped"}.get(
            Run.State(run.state), "bad"
        )
    return "done" if name in ended else "next"


def _title(name: str) -> str:
    return {
        "canary": _("Test that the registry notices quarantined content"),
        "mark": _("Mark reachable content"),
        "quarantine": _("Quarantine unreachable content"),
        "review": _("Review"),
        "purge": _("Purge content that is due"),
        "leftovers": _("Remove unfinished uploads and empty repositories"),
    }[name]
