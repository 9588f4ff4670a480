"""Backups: the age of the newest, and how the last one ended.

Only reads the runs; backup/backups.py writes them.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from registryui import runs, schedules
from registryui.backup import backups
from registryui.models import Run

from .findings import Finding

NEWEST = 20  # newest runs; older ones do not matter
LATE = timedelta(hours=6)  # after the time when one should have begun: it may be long
LATE_BY_HAND = timedelta(days=8)  # without a schedule


def check_backup(*, now: datetime | None = None) -> Finding | None:
    """How old is the newest backup, and did the last one succeed? None without backups. One
    query."""
    now = now or timezone.now()
    found = backups.newest_runs(NEWEST)
    if not (found or settings.BACKUP_TO):
        return None
    if shutil.which("restic") is None:
        return _finding("bad", "backup-no-program")
    done = backups.last_done(found)
    ended = next((run for run in found if not runs.is_alive(run)), None)
    if ended is not None and ended.state != Run.State.DONE:
        result = backups.Result.of(ended)
        over_at = (ended.finished_at or ended.heartbeat_at).isoformat()
        why = (result.problem or runs.DIED)[:300]
        return _finding("bad", "backup-failed", at=over_at, error=why)
    if done is None:
        return _finding("warn", "backup-none", next=_next(now))
    at = done.started_at
    if now > _due(at) + (LATE if settings.BACKUP_TO else LATE_BY_HAND):
        return _finding("warn", "backup-late", at=at.isoformat(), next=_next(now))
    missing = backups.Result.of(done).missing
    if missing:
        return _finding("warn", "backup-missing", at=at.isoformat(), count=len(missing))
    return _finding("ok", "backup-ok", at=at.isoformat(), bytes=backups.Result.of(done).bytes)


def _due(at: datetime) -> datetime:
    """When the one after that should begin."""
    following = schedules.next_time(settings.BACKUP_SCHEDULE, at) if settings.BACKUP_TO else None
    return following or at


def _next(now: datetime) -> str:
    following = schedules.next_time(settings.BACKUP_SCHEDULE, now) if settings.BACKUP_TO else None
    return following.isoformat() if following else ""


def _finding(state: str, code: str, **params: Any) -> Finding:
    return Finding("backup", state, code, params)
