"""Garbage collection: how the last run ended, and overdue content in quarantine.

Only reads the runs; gc/collector.py writes them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from registryui import runs, schedules
from registryui.gc import collector
from registryui.gc.result import Result
from registryui.integrity import check as integrity
from registryui.models import UNKNOWN, Run, StoreDay, Tag

from .findings import Finding

NEWEST = 20  # newest runs; older ones do not matter
NEW_STORE = timedelta(days=14)  # a newer store may have had no garbage collection yet
LATE = timedelta(hours=6)  # after the run that should have purged it: a run may be long
LATE_BY_HAND = timedelta(days=30)  # without a schedule
# Findings of the disk that include what could be freed.
LOW = ("disk-low", "disk-soon", "disk-full")


def check_gc(*, now: datetime | None = None) -> Finding:
    """How did the newest run end, and is quarantined content purged in time? Two queries."""
    now = now or timezone.now()
    found = collector.newest_runs(NEWEST)
    gc_runs = [run for run in found if not Result.of(run).dry_run]
    ended = (Result.of(run) for run in found if run.state != Run.State.RUNNING)
    waiting = next((one for one in ended if one.in_quarantine is not None), Result())
    newest = gc_runs[0] if gc_runs else None
    if newest is None:
        return _none_yet(now)
    if runs.is_alive(newest):
        return _finding("ok", "gc-running", at=newest.started_at.isoformat())
    if collector.is_unreviewed(gc_runs):
        ended_at = newest.finished_at or newest.heartbeat_at
        return _finding("warn", "gc-unreviewed", at=ended_at.isoformat())
    if newest.state in (Run.State.FAILED, Run.State.RUNNING):
        return _failed(newest)
    if due_at := _overdue(waiting, now):
        size = waiting.in_quarantine_bytes
        return _finding("warn", "gc-overdue", due_at=due_at.isoformat(), bytes=size)
    result = Result.of(newest)
    if result.skipped_repositories:
        (name, why), count = result.skipped_repositories[0], len(result.skipped_repositories)
        return _finding("warn", "gc-skipped", count=count, name=name, why=why[:300])
    at = newest.finished_at or newest.started_at
    sizes = {"freed": result.freed_bytes, "waiting": waiting.in_quarantine_bytes}
    return _finding("ok", "gc-ok", at=at.isoformat(), **sizes)


def check_integrity() -> Finding | None:
    """Tags that the newest check found damaged and that still are; None if there are none. Two
    queries at most."""
    ended = Run.objects.filter(kind=Run.Kind.INTEGRITY).exclude(state=Run.State.RUNNING)
    newest = ended.order_by("-started_at", "-id").first()
    if newest is None or not integrity.Result.of(newest).broken:
        return None
    count = Tag.objects.filter(problem=Tag.Problem.BROKEN).count()
    at = (newest.finished_at or newest.started_at).isoformat()
    return (
        Finding("integrity", "bad", "integrity-broken", {"count": count, "at": at})
        if count
        else None
    )


def with_gc_estimate(disk: Finding) -> Finding:
    """`disk` with what garbage collection and purging would free, if space is low."""
    if disk.code not in LOW:
        return disk
    found = (run for run in collector.newest_runs(NEWEST) if run.state == Run.State.DONE)
    counted = next(map(Result.of, found), None)
    if counted is None:
        return Finding(disk.name, disk.state, disk.code, {**disk.params, "uncounted": True})
    # After a run its candidates are in quarantine.
    more = counted.candidate_bytes if counted.dry_run else 0
    counts = {"waiting": counted.in_quarantine_bytes, "reclaimable": more}
    return Finding(disk.name, disk.state, disk.code, {**disk.params, **counts})


def _none_yet(now: datetime) -> Finding:
    """No garbage collection among the newest runs: fine for a new store."""
    first = StoreDay.objects.filter(measured_at__gt=UNKNOWN).order_by("day").first()
    following = schedules.next_time(settings.GC_SCHEDULE, now)
    params = {"next": following.isoformat() if following else ""}
    if first is None or now - first.measured_at < NEW_STORE:
        return _finding("ok", "gc-none", **params)
    return _finding("warn", "gc-never", days=(now - first.measured_at).days, **params)


def _failed(run: Run) -> Finding:
    result = Result.of(run)
    lines = run.log.strip().splitlines()
    error = (result.problem or (lines[-1] if lines else ""))[:300]
    at = (run.finished_at or run.heartbeat_at).isoformat()
    if result.stage == "canary":
        return _finding("bad", "gc-canary", error=error, at=at)
    return _finding("warn", "gc-failed", error=error, at=at)


def _overdue(result: Result, now: datetime) -> datetime | None:
    """Since when content is overdue for a purge; None: nothing is."""
    due_at = result.due
    if due_at is None or not result.in_quarantine:
        return None
    is_late = now - due_at > (LATE if settings.GC_SCHEDULE else LATE_BY_HAND)
    return due_at if is_late else None


def _finding(state: str, code: str, **params: Any) -> Finding:
    return Finding("gc", state, code, params)
