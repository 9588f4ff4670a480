"""The parts of this instance on pages: the banner while one does not respond, and the state of all
on the page Health. No part is asked: registryui/outage.py reads what `up` or the worker noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from registryui import outage
from registryui.models import Role
from registryui.setup import log_lines, units

from .access import Request, require_role

HEADER = "Boathouse-Outage"  # of answers to htmx: portal.js then loads the banner
LINES = 8  # of the log, for each part

# What it is, and what fails while it does not respond.
_WORDS: dict[str, tuple[Any, Any]] = {
    "registry": (_("Registry"), _("Pulls and pushes fail.")),
    "manifests": (
        _("Registry, pushes and deletes of manifests"),
        _("Pushes and deletes fail; pulls continue."),
    ),
    "blobs": (_("Registry, uploads"), _("Pushes fail; pulls continue.")),
    "passwords": (
        _("Password check"),
        _("Registry users with user-chosen passwords cannot log in."),
    ),
    "mirror": (_("Mirror service"), _("Mirrors serve only images that were pulled before.")),
    "nginx": (_("Proxy (nginx)"), _("Clients and browsers cannot connect.")),
    "web": (_("Portal"), _("Pages do not load; pulls and pushes continue.")),
    "worker": (
        _("Worker"),
        _("Pushes do not appear in the portal, and scheduled jobs do not run."),
    ),
    "up": (_("Supervisor (up)"), _("Processes that end are not restarted.")),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part as pages show it."""

    name: str
    title: Any
    is_down: bool
    since: datetime
    note: str
    consequence: Any
    command: str  # that helps
    log_command: str


def parts() -> list[Part]:
    """All parts, in the order of starting; [] if nobody watches them."""
    state = outage.state()
    return [_part(one, state.watcher) for one in state.parts]


def _part(seen: outage.Seen, watcher: str) -> Part:
    title, consequence = _WORDS.get(seen.name, (seen.name, ""))
    command, logs = f"./boathouse restart {seen.name}", f"./boathouse logs {seen.name}"
    if seen.name == "up":
        command, logs = "./boathouse down; ./boathouse up --background", "./boathouse logs"
    elif watcher == "worker":  # systemd's units
        command, logs = units.restart_line(seen.name), units.logs_line(seen.name)
    return Part(seen.name, title, seen.is_down, seen.since, seen.note, consequence, command, logs)


def with_lines(shown: list[Part]) -> list[tuple[Part, list[str]]]:
    """Each part and the newest lines of its log."""
    return [(one, log_lines.last(one.name, LINES)) for one in shown]


@dataclass(frozen=True, slots=True)
class Banner:
    """What the banner shows; no parts: nothing."""

    parts: list[Part]
    token: str


def banner() -> Banner:
    """That of now."""
    token = outage.token()
    return Banner([one for one in parts() if one.is_down] if token else [], token)


@require_role(Role.VIEWER)
def parts_banner(request: Request) -> HttpResponse:
    """The banner alone, for pages that are open."""
    return render(request, "components/_outage.html", {"is_alone": True})


def tell_outage(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: an open page learns of an outage from what it asks for anyway."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "HTTP_HX_REQUEST" in request.META and (token := outage.token()):
            response.headers[HEADER] = token
        return response

    return answer
