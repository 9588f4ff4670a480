"""How far a delete, or an undo, of many tags is: the page can be left, and the work stopped."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _

from registryui import runs
from registryui.deletion import restore
from registryui.deletion.bulk import Result
from registryui.failures import in_words
from registryui.models import Repository, Role, Run
from registryui.views.access import Request, back_to, require_role
from registryui.views.activity.words import actor
from registryui.views.live import not_changed, wants_fragment

LINES = 50  # of the log


@require_role(Role.MAINTAINER)
def delete_run(request: Request, pk: int) -> HttpResponse:
    """The page, or for htmx its fragment; 204 while nothing changed since ?seen=."""
    run = get_object_or_404(Run, pk=pk, kind=Run.Kind.DELETE)
    is_silent, facts = runs.is_silent(run), Result.of(run)
    token = f"{run.state}-{run.done}-{bool(run.stop_asked_by)}-{is_silent}"
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    lines = run.log.splitlines()
    context: dict[str, Any] = {
        "run": run,
        "token": token,
        "facts": facts,
        "problem": in_words(facts.problem),
        "by": actor(run.by),
        "percent": min(100 * run.done // run.total, 100) if run.total else 0,
        "is_running": runs.is_alive(run),
        "is_silent": is_silent,
        "lines": lines[:LINES],
        "more_lines": max(len(lines) - LINES, 0),
        "has_repository": Repository.objects.filter(name=facts.repository).exists(),
        "can_undo": run.state != Run.State.RUNNING and _can_undo(facts),
    }
    template = "deletion/_run.html" if wants_fragment(request) else "deletion/run.html"
    return render(request, template, context)


@require_role(Role.MAINTAINER, methods=("POST",))
def delete_stop(request: Request, pk: int) -> HttpResponse:
    """Asks the run to end after the tag that it is at."""
    run = get_object_or_404(Run, pk=pk, kind=Run.Kind.DELETE)
    runs.ask_to_stop(run, by=request.user.actor)
    words = _("The run on %(name)s stops after the current tag.")
    messages.info(request, words % {"name": Result.of(run).repository})
    return back_to(request, "delete_run", pk)


def _can_undo(facts: Result) -> bool:
    is_delete = facts.what == "delete" and facts.act != ""
    return is_delete and restore.restorable().filter(act=facts.act).exists()
