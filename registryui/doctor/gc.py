"""Does space come back? How the last collection ended, and what waits hidden for too long.

Reads the book of runs only; what collecting writes there: gc/collector.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from registryui import schedules
from registryui.gc import collector
from registryui.index import runs
from registryui.models import UNKNOWN, Run, StoreDay, Tag

from .findings import Finding

NEWEST = 20  # newest runs; what was before says nothing of now
NEW_STORE = timedelta(days=14)  # a store that is no older may well have had no collection yet
LATE = timedelta(hours=6)  # after the run that should have purged what is due: it may be long
LATE_BY_HAND = timedelta(days=30)  # where no schedule purges it
# Findings of the disk in which it matters what would come free.
LOW = ("disk-low", "disk-soon", "disk-full")


def check_gc(*, now: datetime | None = None) -> Finding:
    """How did the newest collection end, and does what it hid leave in time? Two queries."""
    now = now or timezone.now()
    found = _newest()
    collections = [run for run in found if not _result(run).get("dry_run")]
    ended = [
        run for run in found if run.state != Run.State.RUNNING and "in_quarantine" in _result(run)
    ]
    waiting = _result(ended[0]) if ended else {}
    newest = collections[0] if collections else None
    if newest is None:
        return _none_yet(now)
    if newest.state == Run.State.RUNNING and now - newest.heartbeat_at < runs.STALE:
        return _finding("ok", "gc-running", at=newest.started_at.isoformat())
    if collector.is_unreviewed(collections):
        ended_at = newest.finished_at or newest.heartbeat_at
        return _finding("warn", "gc-unreviewed", at=ended_at.isoformat())
    if newest.state in (Run.State.FAILED, Run.State.RUNNING):
        return _failed(newest)
    if due_at := _overdue(waiting, now):
        size = _count(waiting, "in_quarantine_bytes")
        return _finding("warn", "gc-overdue", due_at=due_at.isoformat(), bytes=size)
    match _result(newest).get("skipped_repositories"):
        case [[str(name), str(why)], *others]:
            count = 1 + len(others)
            return _finding("warn", "gc-skipped", count=count, name=name, why=why[:300])
    at = newest.finished_at or newest.started_at
    sizes = {"freed": _count(_result(newest), "freed_bytes")}
    sizes["waiting"] = _count(waiting, "in_quarantine_bytes")
    return _finding("ok", "gc-ok", at=at.isoformat(), **sizes)


def check_integrity() -> Finding | None:
    """Tags that the newest check found broken and that still are; None where there are none. Two
    queries at most."""
    ended = Run.objects.filter(kind=Run.Kind.INTEGRITY).exclude(state=Run.State.RUNNING)
    newest = ended.order_by("-started_at", "-id").first()
    if newest is None or not _count(_result(newest), "broken"):
        return None
    count = Tag.objects.filter(problem=Tag.Problem.BROKEN).count()
    at = (newest.finished_at or newest.started_at).isoformat()
    return (
        Finding("integrity", "bad", "integrity-broken", {"count": count, "at": at})
        if count
        else None
    )


def with_gc_estimate(disk: Finding) -> Finding:
    """`disk` with what collecting and purging would free, where it says that room runs out."""
    if disk.code not in LOW:
        return disk
    counted = next((_result(run) for run in _newest() if run.state == Run.State.DONE), None)
    if counted is None:
        return Finding(disk.name, disk.state, disk.code, {**disk.params, "uncounted": True})
    waiting = _count(counted, "in_quarantine_bytes")
    # A collection has hidden its candidates: they are among what waits.
    more = _count(counted, "candidate_bytes") if counted.get("dry_run") else 0
    counts = {"waiting": waiting, "collectable": more}
    return Finding(disk.name, disk.state, disk.code, {**disk.params, **counts})


def _newest() -> Sequence[Run]:
    """Newest first."""
    found = Run.objects.filter(kind=Run.Kind.GC).order_by("-started_at", "-id")
    return list(found[:NEWEST])


def _none_yet(now: datetime) -> Finding:
    """Nothing was collected among the newest runs: no matter while the store is young."""
    first = StoreDay.objects.filter(measured_at__gt=UNKNOWN).order_by("day").first()
    following = schedules.next_time(settings.GC_SCHEDULE, now)
    params = {"next": following.isoformat() if following else ""}
    if first is None or now - first.measured_at < NEW_STORE:
        return _finding("ok", "gc-none", **params)
    return _finding("warn", "gc-never", days=(now - first.measured_at).days, **params)


def _failed(run: Run) -> Finding:
    result = _result(run)
    lines = run.log.strip().splitlines()
    error = str(result.get("problem") or (lines[-1] if lines else ""))[:300]
    at = (run.finished_at or run.heartbeat_at).isoformat()
    if result.get("stage") == "canary":
        return _finding("bad", "gc-canary", error=error, at=at)
    return _finding("warn", "gc-failed", error=error, at=at)


def _overdue(result: Mapping[str, Any], now: datetime) -> datetime | None:
    """Since when something waits that a run should have purged meanwhile; None: all in time."""
    try:
        due_at = datetime.fromisoformat(str(result.get("due_at")))
    except ValueError:
        return None
    if due_at.tzinfo is None or not result.get("in_quarantine"):
        return None
    is_late = now - due_at > (LATE if settings.GC_SCHEDULE else LATE_BY_HAND)
    return due_at if is_late else None


def _result(run: Run) -> Mapping[str, Any]:
    return run.result if isinstance(run.result, dict) else {}


def _count(result: Mapping[str, Any], name: str) -> int:
    value = result.get(name)
    return value if isinstance(value, int) else 0


def _finding(state: str, code: str, **params: Any) -> Finding:
    return Finding("gc", state, code, params)
