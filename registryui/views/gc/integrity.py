"""Is every tag whole? The newest check on the page of collecting, and each with what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import schedules, tasks
from registryui.index import runs
from registryui.models import Role, Run, actor_name
from registryui.views.access import Request, require_role
from registryui.views.live import minute, not_changed, wants_fragment
from registryui.views.plain_text import line

FEW = 5  # broken tags that the page of collecting names
LOG = 50_000  # characters of it that a page shows
COUNTS = (
    "repositories",
    "tags",
    "broken",
    "unmarked",
    "errors",
    "manifests",
    "blobs",
    "read_bytes",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken tag."""

    repository: str
    tag: str
    words: str  # what is wrong with it
    digest: str  # what that is about; "" of the tag itself


@dataclass(frozen=True, slots=True)
class Check:
    """A run, and what its result says."""

    run: Run
    is_deep: bool
    is_alive: bool
    is_silent: bool
    counts: Mapping[str, int]
    problems: tuple[Problem, ...]
    problem: str  # why it ended before its time

    @property
    def is_running(self) -> bool:
        return self.run.state == Run.State.RUNNING

    @property
    def share(self) -> float:
        """0–100."""
        if self.run.state == Run.State.DONE:
            return 100
        return round(100 * min(self.run.done / self.run.total, 1), 1) if self.run.total else 0

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        end = self.run.finished_at or (self.run.heartbeat_at if self.is_silent else timezone.now())
        return max((end - self.run.started_at).total_seconds(), 0)

    @property
    def by(self) -> str:
        """Who asked for it, in words."""
        known = {"schedule": _("scheduled"), "command line": _("from the command line")}
        return known.get(self.run.by) or actor_name(self.run.by)


@require_role(Role.VIEWER)
def integrity_run(request: Request, pk: int) -> HttpResponse:
    """One check: how far it is, what is broken, its log."""
    run = _runs().filter(pk=pk).first()
    if run is None:
        raise Http404
    token = token_of(run)
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    found = check(run)
    context = {
        "token": token,
        "check": found,
        "log": run.log[-LOG:],
        "more": max(found.counts["broken"] - len(found.problems), 0),
    }
    template = "_run" if wants_fragment(request) else "run"
    return render(request, f"integrity/{template}.html", context)


@require_role(Role.MAINTAINER, methods=("POST",))
def integrity_start(request: Request) -> HttpResponse:
    """Asks the worker to look at every tag; with `deep`, to read every byte."""
    run = newest()
    if run is not None and check(run).is_alive:
        messages.error(request, _("A check is already in progress."))
    else:
        tasks.integrity(request.user.actor, deep=request.POST.get("deep") == "1")
        messages.info(request, _("The check starts in a moment."))
    return redirect("gc")


@require_role(Role.MAINTAINER, methods=("POST",))
def integrity_stop(request: Request) -> HttpResponse:
    """Asks the check under way to end; what it found is kept."""
    run = newest()
    if run is None or run.state != Run.State.RUNNING:
        messages.info(request, _("It has already ended."))
    else:
        runs.ask_to_stop(run, by=request.user.actor)
        messages.info(request, _("The check stops in a moment; its findings are kept."))
    return redirect("gc")


def newest() -> Run | None:
    """The newest check. One query."""
    return _runs().first()


def panel(run: Run | None) -> dict[str, Any]:
    """What the page of collecting shows of the newest check."""
    following = schedules.next_time(settings.INTEGRITY_SCHEDULE)
    found = check(run) if run else None
    return {
        "check": found,
        "few": found.problems[:FEW] if found else (),
        "next": schedules.when(following) if following else "",
    }


def check(run: Run) -> Check:
    """What that run says. No query."""
    result = run.result if isinstance(run.result, dict) else {}
    is_running = run.state == Run.State.RUNNING
    is_silent = is_running and timezone.now() - run.heartbeat_at > runs.STALE
    counts = {name: result.get(name) for name in COUNTS}
    return Check(
        run=run,
        is_deep=result.get("deep") is True,
        is_alive=is_running and not is_silent,
        is_silent=is_silent,
        counts={name: value if isinstance(value, int) else 0 for name, value in counts.items()},
        problems=_problems(result.get("problems")),
        problem=str(result.get("problem") or ""),
    )


def token_of(run: Run | None) -> str:
    """Changes with each step of the check."""
    if run is None:
        return "0"
    if run.state == Run.State.RUNNING:
        return f"{run.pk}-{run.heartbeat_at.timestamp():.1f}-{run.done}"
    return f"{run.pk}-{run.state}-{minute()}"


def _runs() -> QuerySet[Run]:
    """Newest first."""
    return Run.objects.filter(kind=Run.Kind.INTEGRITY).order_by("-started_at", "-id")


def _problems(found: object) -> tuple[Problem, ...]:
    rows = found if isinstance(found, list) else []
    return tuple(
        Problem(row[0], row[1], _words(row[2]), line(row[3], 100))
        for row in rows
        if isinstance(row, list) and len(row) == 4 and all(isinstance(one, str) for one in row)
    )


def _words(why: str) -> str:
    """`layer-missing` in words."""
    what, _dash, how = why.partition("-")
    thing = {
        "tag": _("Tag link"),
        "manifest": _("Manifest"),
        "child": _("Platform image"),
        "config": _("Config"),
        "layer": _("Layer"),
    }.get(what, line(what, 40))
    state = {
        "missing": _("is missing"),
        "damaged": _("is damaged"),
        "unlinked": _("is not linked in the repository"),
        "size": _("differs in size from the manifest"),
    }.get(how, line(how, 40))
    return _("%(thing)s %(state)s") % {"thing": thing, "state": state}
