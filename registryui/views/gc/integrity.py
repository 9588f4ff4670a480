"""The integrity check: the newest one, on the page of garbage collection, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from registryui import runs, schedules, tasks
from registryui.integrity.check import Result
from registryui.models import Role, Run
from registryui.views.access import Request, require_role
from registryui.views.live import minute, not_changed, wants_fragment
from registryui.views.plain_text import line
from registryui.views.runs import ShownRun

FEW = 5  # broken tags that the page of garbage collection names
LOG = 50_000  # characters of it that a page shows


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken tag."""

    repository: str
    tag: str
    words: str  # what is wrong with it
    digest: str  # what that is about; "" of the tag itself


@dataclass(frozen=True, slots=True)
class Check(ShownRun):
    """A run, and what its result says."""

    counts: Result
    problems: tuple[Problem, ...]

    @property
    def share(self) -> float:
        """0–100."""
        return self.share_up_to(1)


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
        "more": max(found.counts.broken - len(found.problems), 0),
    }
    template = "_run" if wants_fragment(request) else "run"
    return render(request, f"gc/integrity/{template}.html", context)


@require_role(Role.MAINTAINER, methods=("POST",))
def integrity_start(request: Request) -> HttpResponse:
    """Asks the worker to look at every tag; with `deep`, to read every byte."""
    run = newest()
    if run is not None and runs.is_alive(run):
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
        messages.info(request, _("The integrity check has already ended."))
    else:
        runs.ask_to_stop(run, by=request.user.actor)
        messages.info(request, _("The integrity check stops in a moment; its findings are kept."))
    return redirect("gc")


def newest() -> Run | None:
    """The newest check. One query."""
    return _runs().first()


def panel(run: Run | None) -> dict[str, Any]:
    """What the page of garbage collection shows of the newest check."""
    following = schedules.next_time(settings.INTEGRITY_SCHEDULE)
    found = check(run) if run else None
    return {
        "check": found,
        "few": found.problems[:FEW] if found else (),
        "next": schedules.when(following) if following else "",
    }


def check(run: Run) -> Check:
    """What that run says. No query."""
    result = Result.of(run)
    problems = (
        Problem(repository, tag, _words(why), line(digest, 100))
        for repository, tag, why, digest in result.problems
    )
    return Check(run, result, tuple(problems))


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
