"""Backups: the last one, its age and size, the next one, all runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from registryui import runs, schedules, tasks
from registryui.backup import backups as kept
from registryui.models import Role, Run
from registryui.views.access import Request, require_role
from registryui.views.live import minute, not_changed, wants_fragment
from registryui.views.runs import ShownRun

SHOWN = 20  # runs
EXAMPLE = "/mnt/backups/boathouse"


@dataclass(frozen=True, slots=True)
class Report(ShownRun):
    """A run, and what its result says."""

    counts: kept.Result


@require_role(Role.ADMIN)
def backups(request: Request) -> HttpResponse:
    """Reads the runs, not the place where the backups are."""
    found = kept.newest_runs(SHOWN)
    token = _token(found[0] if found else None)
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    reports = [Report(run, kept.Result.of(run)) for run in found]
    following = schedules.next_time(settings.BACKUP_SCHEDULE) if settings.BACKUP_TO else None
    context: dict[str, Any] = {
        "token": token,
        "reports": reports,
        "newest": reports[0] if reports else None,
        "last": next((one for one in reports if one.run.state == Run.State.DONE), None),
        "to": settings.BACKUP_TO,
        "next": schedules.when(following) if following else "",
        "keep_days": settings.BACKUP_KEEP_DAYS,
        "password_file": kept.default_password_file(),
        "example": EXAMPLE,
    }
    template = "_fragment" if wants_fragment(request) else "page"
    return render(request, f"backups/{template}.html", context)


@require_role(Role.ADMIN, methods=("POST",))
def backup_start(request: Request) -> HttpResponse:
    """Asks the worker for one."""
    newest = next(iter(kept.newest_runs(1)), None)
    if not settings.BACKUP_TO:
        messages.error(request, _("Set BOATHOUSE_BACKUP_TO first, then run ./boathouse up."))
    elif newest is not None and runs.is_alive(newest):
        messages.error(request, _("A backup is already in progress."))
    else:
        tasks.run_backup(request.user.actor)
        messages.info(request, _("The backup starts in a moment."))
    return redirect("backups")


@require_role(Role.ADMIN, methods=("POST",))
def backup_stop(request: Request) -> HttpResponse:
    """Asks the one under way to end; earlier snapshots are as they were."""
    newest = next(iter(kept.newest_runs(1)), None)
    if newest is None or newest.state != Run.State.RUNNING:
        messages.info(request, _("The backup has already ended."))
    else:
        runs.ask_to_stop(newest, by=request.user.actor)
        messages.info(request, _("The backup stops in a moment; earlier snapshots are intact."))
    return redirect("backups")


def _token(run: Run | None) -> str:
    """Changes with each step of the newest."""
    if run is None:
        return "0"
    if run.state == Run.State.RUNNING:
        return f"{run.pk}-{run.heartbeat_at.timestamp():.1f}"
    return f"{run.pk}-{run.state}-{minute()}"
