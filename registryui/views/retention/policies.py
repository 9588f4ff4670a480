"""Retention policies: each as a sentence, created, changed and enabled by administrators; and what
their runs did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from registryui import schedules, tasks
from registryui.models import RetentionPolicy, Role, Run
from registryui.models.paging import page
from registryui.refused import Refused
from registryui.retention import policies, runs, words
from registryui.views.access import Request, back_to, require_role
from registryui.views.form import Number, read, read_or_default, text
from registryui.views.live import minute, wants_fragment
from registryui.views.runs import ShownRun

from .expiry import expiring

NEXT_TIMES = 3  # that a policy shows
RUNS = 10  # on a page


@dataclass(frozen=True, slots=True)
class Shown:
    """A policy as the page shows it."""

    row: RetentionPolicy
    sentence: str
    when: str
    next_times: list[str]
    dry_run: Run | None


@dataclass(frozen=True, slots=True)
class Past:
    """A run, as a line of the history."""

    run: Run
    policy: str
    by: str
    missed: str
    minutes: int
    seconds: int


@require_role(Role.VIEWER)
def retention(request: Request) -> HttpResponse:
    """The policies, a form if one is asked for (`new`, `edit`), and the runs.

    `remove` names a policy that the dialog asks about. As a fragment: the runs alone, 204
    while they are as the page that asks has them.
    """
    past = page(
        Run.objects.filter(kind=Run.Kind.RETENTION),
        ["-started_at"],
        after=request.GET.get("after", ""),
        size=RUNS,
    )
    token = _token(past.rows)
    context: dict[str, Any] = {
        "page": past,
        "runs": [_past(run) for run in past.rows],
        "token": token,
    }
    if wants_fragment(request):
        if request.GET.get("seen") == token:
            return HttpResponse(status=204)
        return render(request, "retention/_runs.html", context)
    return _page(request, context)


@require_role(Role.ADMIN, methods=("POST",))
def retention_policies(request: Request) -> HttpResponse:
    """Makes a policy. With `then=dry_run` what it would do comes next."""
    try:
        row = policies.add(_wanted(request.POST), by=request.user.actor)
    except Refused as error:
        return _with_form(request, None, str(error))
    messages.success(request, _("Created the policy %s as a draft.") % row.name)
    return _after_saving(request, row)


@require_role(Role.ADMIN, methods=("POST",))
def retention_policy(request: Request, pk: int) -> HttpResponse:
    """Does to a policy what the pressed button names."""
    row, by = _policy_or_404(pk), request.user.actor
    try:
        match request.POST.get("act"):
            case "change":
                return _changed(request, row)
            case "on":
                policies.set_active(row, is_active=True, by=by)
                messages.success(request, _("Enabled the policy %s.") % row.name)
            case "off":
                policies.set_active(row, is_active=False, by=by)
                messages.success(
                    request, _("Disabled the policy %s. It is a draft and does not run.") % row.name
                )
            case "remove":
                policies.remove(row, by=by)
                messages.success(request, _("Removed the policy %s.") % row.name)
            case "run":
                return _run(request, row)
            case _:
                raise Refused(_("This action is not supported."))
    except Refused as error:
        messages.error(request, str(error))
    return back_to(request, "retention")


@require_role(Role.MAINTAINER, methods=("POST",))
def retention_dry_run(request: Request, pk: int) -> HttpResponse:
    """Asks the worker what the policy would do now; the page that follows waits for it."""
    return _dry_run(request, _policy_or_404(pk))


# -- acts ----------------------------------------------------------------------------------------
def _changed(request: Request, row: RetentionPolicy) -> HttpResponse:
    was_active = row.is_active
    try:
        row = policies.change(row, _wanted(request.POST), by=request.user.actor)
    except Refused as error:
        return _with_form(request, row, str(error))
    if was_active and not row.is_active:
        said = _("Changed the policy %s. It is a draft again: check a dry run, then enable it.")
        messages.warning(request, said % row.name)
    else:
        messages.success(request, _("Changed the policy %s.") % row.name)
    return _after_saving(request, row)


def _after_saving(request: Request, row: RetentionPolicy) -> HttpResponse:
    if request.POST.get("then") == "dry_run":
        return _dry_run(request, row)
    return back_to(request, "retention")


def _run(request: Request, row: RetentionPolicy) -> HttpResponse:
    """Runs it, if what was confirmed is a dry run of just now; else makes one to confirm."""
    asked = read_or_default(request.POST, reviewed=Number())["reviewed"]
    if runs.reviewed(row, asked) is None:
        runs.check(row)
        return _dry_run(request, row, asks=True)
    run = runs.begin(row, by=request.user.actor, is_dry=False)
    tasks.retention(run.pk)
    return redirect("retention_run", run.pk)


def _dry_run(request: Request, row: RetentionPolicy, *, asks: bool = False) -> HttpResponse:
    """`asks`: the report that follows asks whether to delete what it lists."""
    try:
        run = runs.begin(row, by=request.user.actor, is_dry=True)
    except Refused as error:
        messages.error(request, str(error))
        return back_to(request, "retention")
    tasks.retention(run.pk)
    return redirect(f"{reverse('retention_run', args=[run.pk])}{'?confirm=1' if asks else ''}")


def _wanted(post: QueryDict) -> policies.Wanted:
    """The form, as it was typed. Raises Refused for what is no number."""
    asked = read(
        post,
        **{name: text() for name in ("name", "repositories", "tags", "keep_tags", "schedule")},
        **{name: Number() for name in ("keep_newest", "keep_pushed_days", "keep_pulled_days")},
    )
    return policies.Wanted(**asked)


def _policy_or_404(pk: int) -> RetentionPolicy:
    row = RetentionPolicy.objects.filter(pk=pk).first()
    if row is None:
        raise Http404
    return row


# -- the page ------------------------------------------------------------------------------------
def _with_form(request: Request, row: RetentionPolicy | None, error: str) -> HttpResponse:
    """The page again, with what was typed."""
    past = page(Run.objects.filter(kind=Run.Kind.RETENTION), ["-started_at"], size=RUNS)
    context: dict[str, Any] = {
        "page": past,
        "runs": [_past(run) for run in past.rows],
        "token": _token(past.rows),
        "error": error,
        "edited": row,
        "form": request.POST.dict(),
    }
    return _page(request, context, status=422)


def _page(request: Request, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    rows = list(RetentionPolicy.objects.all())
    by_pk = {str(row.pk): row for row in rows}
    asked = by_pk.get(request.GET.get("remove", ""))
    edited = by_pk.get(request.GET.get("edit", ""))
    may_write = request.user.has_role(Role.ADMIN)
    if may_write and "form" not in context and (edited or "new" in request.GET or not rows):
        context |= {"edited": edited, "form": _filled(edited)}
    context |= {
        "policies": _shown(rows),
        "asked": asked if may_write else None,
        "behind": asked is not None and may_write,
        "zone": settings.TIME_ZONE,
        "undo_days": settings.UNDO_DAYS,
        "tab": "policies",
        "expiring": expiring(),
    }
    return render(request, "retention/page.html", context, status=status)


def _filled(row: RetentionPolicy | None) -> Mapping[str, Any]:
    """The fields of the form: of a policy, or of a new one, safe as proposed."""
    if row is not None:
        return policies.facts(row)
    return {"tags": "*", "keep_newest": 10, "keep_pulled_days": 90, "schedule": "0 4 * * SUN"}


def _shown(rows: list[RetentionPolicy]) -> list[Shown]:
    """One query more than the policies: their newest dry runs."""
    dry_runs = {
        runs.Result.of(run).policy_id: run
        for run in Run.objects.filter(kind=Run.Kind.DRY_RUN, state=Run.State.DONE).order_by("pk")
    }
    return [
        Shown(
            row,
            words.sentence(policies.facts(row)),
            words.when(policies.facts(row)),
            [schedules.when(at) for at in _next_times(row)],
            dry_runs.get(row.pk),
        )
        for row in rows
    ]


def _next_times(row: RetentionPolicy) -> list[datetime]:
    """An active policy's; the first may be past, if it is waited for."""
    if row.next_at is None:
        return []
    return [row.next_at, *schedules.next_times(row.schedule, NEXT_TIMES - 1, row.next_at)]


def _past(run: Run) -> Past:
    result, shown = runs.Result.of(run), ShownRun(run)
    missed, took = words.missed(result.due), divmod(int(shown.seconds), 60)
    return Past(run, result.policy.get("name", ""), shown.by, missed, *took)


def _token(found: list[Run]) -> str:
    newest = found[0] if found else None
    return f"{newest.pk}-{newest.state}-{newest.done}-{minute()}" if newest else f"0-{minute()}"
