"""One run of a policy, dry or real: how far it is, what went and why, what stayed and why."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from registryui import runs
from registryui.models import UNKNOWN, RetentionFate, RetentionPolicy, Role, Run
from registryui.models.paging import page
from registryui.retention import words
from registryui.retention.runs import REPORT_ORDER, Result, reviewed
from registryui.views.access import Request, back_to, may_open, require_role
from registryui.views.form import one_of, read_or_default
from registryui.views.live import wants_fragment
from registryui.views.runs import ShownRun

_KINDS = (Run.Kind.DRY_RUN, Run.Kind.RETENTION, Run.Kind.EXPIRY)


@dataclass(frozen=True, slots=True)
class Line:
    fate: RetentionFate
    verdict: str
    because: str


@require_role(Role.MAINTAINER)
def retention_run(request: Request, pk: int) -> HttpResponse:
    """The page, or its fragment; 204 while the fragment that asks has what is so."""
    run = _run_or_404(pk)
    token = f"{run.state}-{run.done}-{run.stop_asked_by}"
    if wants_fragment(request) and request.GET.get("seen") == token:
        return HttpResponse(status=204)
    template = "retention/_run.html" if wants_fragment(request) else "retention/run.html"
    return render(request, template, _context(request, run, token))


@require_role(Role.MAINTAINER, methods=("POST",))
def retention_stop(request: Request, pk: int) -> HttpResponse:
    """Asks the run to end at its next safe place, which is never far."""
    runs.ask_to_stop(_run_or_404(pk), by=request.user.actor)
    return back_to(request, "retention_run", pk)


@require_role(Role.MAINTAINER)
def retention_csv(request: Request, pk: int) -> HttpResponseBase:
    """The whole report, as it is now; lines come as they are read."""
    run = _run_or_404(pk)
    response = StreamingHttpResponse(_csv_lines(run), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="retention-{run.pk}.csv"'
    return response


def _run_or_404(pk: int) -> Run:
    run = Run.objects.filter(pk=pk, kind__in=_KINDS).first()
    if run is None or not (run.kind == Run.Kind.EXPIRY or Result.of(run).policy):
        raise Http404
    return run


def _context(request: Request, run: Run, token: str) -> dict[str, Any]:
    is_dry, result = run.kind == Run.Kind.DRY_RUN, Result.of(run)
    filters = _filters(result, is_dry=is_dry)
    kind = read_or_default(request.GET, show=one_of(key for key, _word, _count in filters))["show"]
    found = run.fates.filter(kind=kind) if kind else run.fates.all()
    order = REPORT_ORDER if is_dry else ("id",)
    shown = page(found, order, after=request.GET.get("after", ""))
    policy = RetentionPolicy.objects.filter(pk=result.policy_id).first()
    return {
        "run": run,
        "token": token,
        "is_dry": is_dry,
        "is_running": run.state == Run.State.RUNNING,
        "policy": policy,
        **_question(request, run, policy),
        **_subject(run, result),
        "by": ShownRun(run).by,
        "counts": result,
        "missed": words.missed(result.due),
        "share": min(round(100 * run.done / run.total), 100) if run.total else 0,
        "filters": filters,
        "show": kind,
        "page": shown,
        "lines": [_line(fate, run, result.policy) for fate in shown.rows],
        "log": run.log if run.state in (Run.State.FAILED, Run.State.STOPPED) else "",
        "tab": "policies",
    }


def _subject(run: Run, result: Result) -> dict[str, str]:
    """What ran."""
    if run.kind == Run.Kind.EXPIRY:
        said = _("Tags whose expiry, set for them or by their label, has passed.")
        return {"name": _("Expired tags"), "sentence": said}
    return {"name": result.policy["name"], "sentence": words.sentence(result.policy)}


def _question(request: Request, run: Run, policy: RetentionPolicy | None) -> dict[str, Any]:
    """What `?confirm` asks: whether the policy shall delete what this dry run lists."""
    asks = "confirm" in request.GET and may_open(request.user, "retention_policy")
    if not asks or policy is None or not policy.is_active or run.kind != Run.Kind.DRY_RUN:
        return {"is_asked": False}
    return {
        "is_asked": True,
        "is_current": reviewed(policy, run.pk) is not None,
        "exceptions": words.exceptions(Result.of(run).reasons),
        "undo_days": settings.UNDO_DAYS,
    }


def _filters(counts: Result, *, is_dry: bool) -> list[tuple[str, str, int | None]]:
    """Key, words and number of tags."""
    if is_dry:
        return [
            ("", _("All"), counts.tags),
            (RetentionFate.Kind.GOES, _("Would be deleted"), counts.goes),
            (RetentionFate.Kind.SAVED, _("Kept as an exception"), counts.saved),
        ]
    return [
        ("", _("All"), counts.goes + counts.failed + counts.saved),
        (RetentionFate.Kind.GOES, _("Deleted"), counts.goes),
        (RetentionFate.Kind.FAILED, _("Not deleted"), counts.failed),
        *(
            [(RetentionFate.Kind.SAVED, _("Kept as an exception"), counts.saved)]
            * bool(counts.saved)
        ),
    ]


def _line(fate: RetentionFate, run: Run, policy: dict[str, Any]) -> Line:
    return Line(
        fate,
        words.verdict(fate, is_dry=run.kind == Run.Kind.DRY_RUN),
        words.because(fate, policy, run.started_at),
    )


class _Echo:
    """What csv writes to: it hands the line back."""

    def write(self, text: str) -> str:
        return text


def _csv_lines(run: Run) -> Iterator[str]:
    # A name of a tag or a repository begins with a letter, a digit or _, so no program that opens
    # this takes one for a formula. A reason is a sentence of ours.
    writer, policy = csv.writer(_Echo()), Result.of(run).policy
    yield "\ufeff"  # or a spreadsheet does not know that it is UTF-8
    yield writer.writerow(
        ["verdict", "repository", "tag", "digest", "size", "pushed", "pulled", "code", "because"]
    )
    for fate in run.fates.order_by(*REPORT_ORDER).iterator(chunk_size=2000):
        line = _line(fate, run, policy)
        times = ["" if at <= UNKNOWN else at.isoformat() for at in (fate.tagged_at, fate.pulled_at)]
        yield writer.writerow(
            [
                *(line.verdict, fate.repository, fate.tag, fate.digest, fate.size),
                *(*times, fate.reason, line.because),
            ]
        )
