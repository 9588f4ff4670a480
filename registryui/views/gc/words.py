"""A run of collecting as people read it: its stages as steps with times, its counts, what it is at.

A run's result is JSON that another version may have written: what is not there counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from registryui.index import runs
from registryui.models import Run, actor_name

STAGES = ("canary", "mark", "hide", "review", "purge", "leftovers")
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
class Report:
    """A run, and what its result says; `counts` has every count, 0 where the run says nothing."""

    run: Run
    is_dry: bool
    is_running: bool
    is_silent: bool  # it says that it runs, and has not been heard of for a minute
    counts: Mapping[str, int]
    steps: tuple[Step, ...]
    due_at: datetime | None  # when the oldest of what waits may go
    freeze_seconds: float
    skipped: tuple[tuple[str, str], ...]  # repositories of which nothing goes, and why
    problem: str

    @property
    def is_alive(self) -> bool:
        """It is under way, and its process lives."""
        return self.is_running and not self.is_silent

    @property
    def is_due(self) -> bool:
        """Some of what waits may go."""
        return self.due_at is not None and self.due_at <= timezone.now()

    @property
    def by(self) -> str:
        """Who asked for it, in words."""
        known = {"schedule": _("scheduled"), "command line": _("from the command line")}
        return known.get(self.run.by) or actor_name(self.run.by)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        end = self.run.finished_at or (self.run.heartbeat_at if self.is_silent else timezone.now())
        return max((end - self.run.started_at).total_seconds(), 0)

    @property
    def share(self) -> float:
        """0–100: how far it is; 100 once it is done."""
        if self.run.state == Run.State.DONE:
            return 100
        return (
            round(100 * min(self.run.done / self.run.total, MOST_SHARE), 1) if self.run.total else 0
        )

    @property
    def seconds_left(self) -> float | None:
        """By what it has done; None: too early to say, or nothing to go by."""
        share = self.share / 100
        if not self.is_alive or self.seconds < LEAST_SECONDS or share < LEAST_SHARE:
            return None
        return None if share >= MOST_SHARE else self.seconds * (1 - share) / share


COUNTS = (
    *("repositories", "manifests", "blobs", "bytes", "kept_blobs", "kept_bytes"),
    *("candidate_manifests", "candidate_blobs", "candidate_bytes", "grace_bytes"),
    *(
        "quarantined",
        "quarantined_manifests",
        "quarantined_bytes",
        "restored",
        "purged",
        "freed_bytes",
    ),
    *("in_quarantine", "in_quarantine_bytes", "uploads", "upload_bytes", "empty_repositories"),
)


def report(run: Run) -> Report:
    """What that run says. No query."""
    result = run.result if isinstance(run.result, dict) else {}
    is_running = run.state == Run.State.RUNNING
    counts = {name: _count(result.get(name)) for name in COUNTS}
    counts["quarantined_things"] = counts["quarantined"] + counts["quarantined_manifests"]
    is_dry = result.get("dry_run") is True
    return Report(
        run=run,
        is_dry=is_dry,
        is_running=is_running,
        is_silent=is_running and timezone.now() - run.heartbeat_at > runs.STALE,
        counts=counts,
        steps=_steps(run, result, is_dry=is_dry),
        due_at=time_of(result.get("due_at")),
        freeze_seconds=_number(result.get("freeze_seconds")),
        skipped=_skipped(result.get("skipped_repositories")),
        problem=str(result.get("problem") or ""),
    )


def time_of(text: object) -> datetime | None:
    """An ISO time with its zone; None for "" and for what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def recent_runs(count: int) -> list[Run]:
    """The newest runs, newest first. One query."""
    return list(Run.objects.filter(kind=Run.Kind.GC).order_by("-started_at", "-id")[:count])


def counted(recent: Sequence[Run]) -> Report | None:
    """The newest of these that came to its end: what the store is like."""
    return next((report(run) for run in recent if run.state == Run.State.DONE), None)


def quarantine(recent: Sequence[Run]) -> Report | None:
    """The newest of these that has ended, also badly: it says what waits hidden now."""
    ended = (run for run in recent if run.state != Run.State.RUNNING)
    return next((report(run) for run in ended if "in_quarantine" in run.result), None)


def _steps(run: Run, result: Mapping[str, Any], *, is_dry: bool) -> tuple[Step, ...]:
    ended = _took(result.get("stages"))
    at = str(result.get("stage") or "")
    names: tuple[str, ...] = DRY_STAGES if is_dry else STAGES
    if result.get("is_review") is True:
        names = REVIEW_STAGES
    if run.state == Run.State.DONE:  # what it had no need of is left out
        names = tuple(name for name in names if name in ended)
    steps = []
    for name in names:
        state = _state(run, name, at, ended)
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
        "hide": _("Quarantine unreachable content"),
        "review": _("Review"),
        "purge": _("Purge content that is due"),
        "leftovers": _("Remove unfinished uploads and empty repositories"),
    }[name]


def _took(stages: object) -> dict[str, float]:
    """Seconds of each stage that is done, in the order in which they ended."""
    found: dict[str, float] = {}
    for one in stages if isinstance(stages, list) else []:
        if isinstance(one, dict) and one.get("name") in STAGES:
            name = str(one["name"])
            found[name] = found.get(name, 0) + _number(one.get("seconds"))
    return found


def _skipped(found: object) -> tuple[tuple[str, str], ...]:
    pairs = found if isinstance(found, list) else []
    return tuple(
        (str(one[0]), str(one[1])) for one in pairs if isinstance(one, list) and len(one) == 2
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.0
