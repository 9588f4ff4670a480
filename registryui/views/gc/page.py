"""Garbage collection: what is reclaimable, the current run, the quarantine, earlier runs.

The page reads the book of runs and asks the store nothing; all work is the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from registryui import audit, clock, runs, tasks
from registryui.gc import access as store_access
from registryui.gc import collector as collector
from registryui.gc import registry_gc
from registryui.gc.pending import pending
from registryui.gc.result import Result
from registryui.models import Role, Run
from registryui.models.paging import page as keyset_page
from registryui.views.access import Request, may_open, require_role
from registryui.views.form import Number, read_or_default
from registryui.views.live import minute, not_changed, wants_fragment

from . import integrity
from .settings import duration, settings_words
from .words import counted, quarantine, report

SIZE = 10  # runs of a page
LOG = 50_000  # characters of it that a page shows
SKIPPED = 200  # repositories that a run's page names
REGISTRY = (
    "docker-registry"  # in the commands for its own garbage collector, if no setting names it
)
PATIENCE = 15  # seconds until the worker should have taken up what was asked for


@require_role(Role.VIEWER)
def gc(request: Request) -> HttpResponse:
    """`was` and `asked`: the newest run and the time when a run was asked for."""
    recent = collector.newest_runs(SIZE)
    newest = recent[0] if recent else None
    newest_check = integrity.newest()
    token = f"{_token(newest)}-{integrity.token_of(newest_check)}"
    waited = time.time() - read_or_default(request.GET, asked=Number(initial=0))["asked"]
    is_same = request.GET.get("was", "") == _key(newest)
    is_late = is_same and PATIENCE <= waited < 10 * PATIENCE
    if not is_late and (unchanged := not_changed(request, token)) is not None:
        return unchanged
    obstacle = store_access.obstacle()
    jumped = clock.known()
    history = keyset_page(
        _runs(), ("-started_at", "-id"), after=request.GET.get("after", ""), size=SIZE
    )
    context: dict[str, Any] = {
        "token": token,
        "newest": report(newest) if newest else None,
        "counted": counted(recent),
        "quarantine": quarantine(recent),
        "pending": pending(recent),
        "undo": duration(timedelta(days=settings.UNDO_DAYS)),
        "grace": duration(settings.GC_GRACE),
        "quarantine_time": duration(settings.QUARANTINE_TIME),
        "integrity": integrity.panel(newest_check),
        "obstacle": obstacle,
        "clock_words": clock.words(jumped) if jumped.has_jumped else "",
        "is_unreviewed": collector.is_unreviewed(recent),
        "own_gc_steps": registry_gc.steps(settings.REGISTRY_PROGRAM or REGISTRY)
        if obstacle
        else (),
        "settings_words": settings_words(),
        "is_waiting": is_same and waited < PATIENCE,
        "is_late": is_late,
        "page": history,
        "reports": [report(run) for run in history.rows],
    }
    template = "_fragment" if wants_fragment(request) else "page"
    return render(request, f"gc/{template}.html", context)


@require_role(Role.VIEWER)
def gc_run(request: Request, pk: int) -> HttpResponse:
    """One run: its stages, counts and log."""
    run = _runs().filter(pk=pk).first()
    if run is None:
        raise Http404
    token = _token(run)
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    found = report(run)
    skipped = found.skipped
    title = _("Estimate") if found.counts.dry_run else _("Garbage collection run")
    context = {
        "title": title,
        "token": token,
        "report": found,
        "log": run.log[-LOG:],
        "is_cut": len(run.log) > LOG,
        "skipped": skipped[:SKIPPED],
        "more_skipped": max(len(skipped) - SKIPPED, 0),
    }
    template = "_report" if wants_fragment(request) else "report"
    return render(request, f"gc/{template}.html", context)


@require_role(Role.MAINTAINER, methods=("POST",))
def gc_estimate(request: Request) -> HttpResponse:
    """A dry run: changes nothing."""
    return _ask(request, lambda: tasks.run_gc(request.user.actor, dry_run=True))


@require_role(Role.ADMIN, methods=("POST",))
def gc_start(request: Request) -> HttpResponse:
    """A run now: quarantines what nothing needs, and purges what was in quarantine long enough."""
    return _ask(request, lambda: tasks.run_gc(request.user.actor))


@require_role(Role.MAINTAINER, methods=("POST",))
def gc_stop(request: Request) -> HttpResponse:
    """Asks the run that the form names to end; what it did is consistent, the next one goes on.
    A maintainer may end an estimate only."""
    run = _runs().filter(pk=read_or_default(request.POST, run=Number())["run"]).first()
    if run is None or run.state != Run.State.RUNNING:
        messages.info(request, _("The garbage collection has already ended."))
    elif not Result.of(run).dry_run and not may_open(request.user, "gc_start"):
        messages.error(request, _("Only an administrator can stop garbage collection."))
    else:
        runs.ask_to_stop(run, by=request.user.actor)
        words = _(
            "Garbage collection stops at the next safe point; the next run continues from there."
        )
        messages.info(request, words)
    return redirect("gc")


@require_role(Role.ADMIN, methods=("POST",))
def gc_trust_clock(request: Request) -> HttpResponse:
    """Says that this host's clock is right, though it jumped: what was paused goes on."""
    if clock.trust():
        audit.record("clock.trust", "store", by=request.user.actor)
        messages.success(request, _("Trusted the clock. Paused work continues."))
    return redirect("gc")


@require_role(Role.ADMIN, methods=("POST",))
def gc_restore(request: Request) -> HttpResponse:
    """Restores all of the quarantine; an estimate follows and counts anew."""
    return _ask(request, lambda: tasks.restore_quarantined(request.user.actor))


@require_role(Role.ADMIN, methods=("GET", "POST"))
def gc_purge(request: Request) -> HttpResponse:
    """Says what a purge before its time does to those who push; then asks the worker for it."""
    if request.method == "POST":
        return _ask(request, lambda: tasks.run_gc(request.user.actor, purge_now=True))
    recent = collector.newest_runs(SIZE)
    context = {
        "quarantine": quarantine(recent),
        "is_running": any(runs.is_alive(run) for run in recent),
        "freeze_seconds": _freeze_seconds(recent),
    }
    return render(request, "gc/purge.html", context)


def _runs() -> QuerySet[Run]:
    """Newest first."""
    return Run.objects.filter(kind=Run.Kind.GC).order_by("-started_at", "-id")


def _freeze_seconds(recent: Sequence[Run]) -> float | None:
    """How long purging now would hold manifests, by the newest whole one of these: a purge looks
    at everything first. None: there is none."""
    for run in recent:
        took = {step.name: step.seconds or 0 for step in report(run).steps if step.state == "done"}
        if took.get("mark") and run.state == Run.State.DONE:
            return took["mark"] + took.get("purge", 0)
    return None


def _ask(request: Request, job: Callable[[], object]) -> HttpResponse:
    """Gives the job to the worker if no run is under way; the page then waits for a newer run."""
    newest = _runs().first()
    if newest is not None and runs.is_alive(newest):
        messages.error(request, _("A run is in progress: wait until it is done, or stop it."))
        return redirect("gc")
    job()
    query = urlencode({"was": _key(newest), "asked": int(time.time())})
    return redirect(f"{reverse('gc')}?{query}")


def _key(run: Run | None) -> str:
    return str(run.pk if run else 0)


def _token(run: Run | None) -> str:
    """Changes with each step of the run; while it runs, with each second, for its clock."""
    if run is None:
        return f"0-{minute()}"
    if run.state == Run.State.RUNNING:
        return f"{run.pk}-{int(time.time())}"
    return f"{run.pk}-{run.state}-{minute()}"
