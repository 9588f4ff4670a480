"""The health page: what the doctor found in the newest round, and when that changed."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from registryui import doctor as the_doctor
from registryui import outage, tasks
from registryui.models import Role, Run

from .access import Request, require_role
from .form import Number, read_or_default
from .parts import parts, with_lines

PATIENCE = 15  # seconds until a round that was asked for should have come


@require_role(Role.VIEWER)
def doctor(request: Request) -> HttpResponse:
    """The page, or its fragment; 204 while the fragment that asks has the newest round.

    `asked` is the time (seconds of the epoch) at which "Check now" was pressed.
    """
    run = the_doctor.latest()
    token = _token(run)
    waited = time.time() - read_or_default(request.GET, asked=Number(initial=0))["asked"]
    is_same = request.GET.get("seen", "") == token
    is_waiting = is_same and waited < PATIENCE
    is_late = is_same and PATIENCE <= waited < 10 * PATIENCE
    if request.htmx and is_same and not is_late:
        return HttpResponse(status=204)
    template = "doctor/_findings.html" if request.htmx else "doctor/page.html"
    return render(request, template, _context(run, token, is_waiting=is_waiting, is_late=is_late))


@require_role(Role.ADMIN, methods=("POST",))
def doctor_check(request: Request) -> HttpResponse:
    """Asks the worker for a round now; the page that follows waits for it."""
    seen = _token(the_doctor.latest())
    tasks.examine()
    query = urlencode({"seen": seen, "asked": int(time.time())})
    return HttpResponseRedirect(f"{reverse('doctor')}?{query}")


def _context(run: Run | None, token: str, *, is_waiting: bool, is_late: bool) -> dict[str, Any]:
    findings = the_doctor.current(run)
    changes = the_doctor.history()
    return {
        "run": run,
        "token": token,
        "is_waiting": is_waiting,
        "is_late": is_late,
        "findings": [(finding, the_doctor.texts(finding)) for finding in findings],
        "worst": the_doctor.worst(findings),
        "care": sum(finding.state != "ok" for finding in findings),
        "parts": with_lines(parts()),
        "metrics": _metrics(),
        "changes": [(at, finding, the_doctor.texts(finding)) for at, finding in changes],
    }


def _metrics() -> dict[str, Any]:
    """Where Prometheus reads metrics, and who may."""
    return {
        "is_on": settings.METRICS,
        "url": f"{settings.PUBLIC_URL}/metrics",
        "token_file": settings.SECRETS_DIR / "metrics-token",
        "networks": settings.METRICS_NETWORKS,
        "port": settings.METRICS_REGISTRY_PORT,
    }


def _token(run: Run | None) -> str:
    """Changes with each round, when the worker falls silent, and with each part that goes down or
    comes back."""
    down = outage.token()
    return f"{run.pk if run else 0}-{the_doctor.worker(run).state}{down and '-'}{down}"
