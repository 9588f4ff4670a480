"""The htpasswd file itself: what was changed by hand, and its versions before each change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from registryui.accounts import drift, htpasswd, publish
from registryui.accounts.drift import Difference, What
from registryui.models import RegistryUser, Role
from registryui.models.registry_user import State
from registryui.refused import Refused
from registryui.views.access import Request, back_to, require_role
from registryui.views.plain_text import named

from .words import say

LINES_SHOWN = 20
_CHANGED = gettext_noop("The file has changed since this page was loaded: check it again.")


# -- what was changed by hand --------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Line:
    """A difference as the page shows it: the name as it can be read, never the hash."""

    name: str
    what: Any
    value: What
    kind: str  # of its hash; "" if the line is gone
    token: str  # stands for exactly this difference


@dataclass(frozen=True, slots=True)
class Drift:
    """All differences; `lines` are the first of them."""

    count: int
    lines: Sequence[Line]
    token: str

    @property
    def left(self) -> int:
        return self.count - len(self.lines)


def shown_drift() -> Drift | None:
    """What the banner says; None: the file is as it was written."""
    found = drift.find()
    if not found:
        return None
    lines = [
        Line(_readable(one.name), one.what.label, one.what, _kind(one), _token([one]))
        for one in found[:LINES_SHOWN]
    ]
    return Drift(len(found), lines, _token(found))


@require_role(Role.ADMIN, methods=("POST",))
def users_drift(request: Request) -> HttpResponse:
    """Accepts, reverts or ignores the edit of the line that was shown, or all of them."""
    try:
        _act(request, _shown(request.POST.get("line", "")))
    except Refused as error:
        messages.error(request, str(error))
    return back_to(request, "users")


def _shown(token: str) -> list[Difference]:
    """The differences that a token of the page stands for. Raises Refused if they are gone."""
    found = drift.find()
    choices = [found, *([one] for one in found)]
    for choice in choices:
        if choice and constant_time_compare(_token(choice), token):
            return choice
    raise Refused(_(_CHANGED))


def _act(request: Request, chosen: Sequence[Difference]) -> None:
    name = {"name": named([_readable(one.name) for one in chosen])}
    match request.POST.get("act"):
        case "take":
            proof = drift.take_over(chosen, by=request.user.actor)
            say(request, _("Accepted the manual edit of %(name)s.") % name, proof)
        case "back":
            proof = drift.restore_lines(chosen, by=request.user.actor)
            say(request, _("Reverted the manual edit of %(name)s.") % name, proof)
        case "leave":
            drift.leave_alone(chosen, by=request.user.actor)
            words = _("Ignored the manual edit of %(name)s until the line changes again.")
            messages.success(request, words % name)
        case _:
            raise Refused(_("This action is not supported."))


def _token(differences: Sequence[Difference]) -> str:
    """Stands for these differences and no others; keyed, because hashes are in it."""
    said = repr([(one.name, one.what.value, one.line_hash) for one in differences])
    return salted_hmac("htpasswd differences", said, algorithm="sha256").hexdigest()


def _readable(name: str) -> str:
    """A name by hand may hold anything; what cannot be printed is shown as its code."""
    return name if name.isprintable() and name.strip() == name else repr(name)[1:-1]


def _kind(one: Difference) -> str:
    if not one.line_hash:
        return ""
    return htpasswd.kind(one.line_hash).value or _("not supported by nginx")


# -- versions ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Version:
    """What the file was before one of its changes."""

    number: int
    at: datetime  # when it was replaced
    count: int  # of users in it
    added: int  # users who would come, change, go if it were restored now
    changed: int
    removed: int

    @property
    def is_as_now(self) -> bool:
        return not (self.added or self.changed or self.removed)


@require_role(Role.ADMIN)
def htpasswd_history(request: Request) -> HttpResponse:
    versions = [found for path in publish.versions() if (found := _version(path)) is not None]
    context = {"versions": versions, "kept": publish.VERSIONS}
    return render(request, "users/htpasswd_history.html", context)


@require_role(Role.ADMIN, methods=("GET", "POST"))
def htpasswd_file(request: Request, version: int) -> HttpResponse:
    """What putting that version back would do; then does it, if that is still the same."""
    path = next((one for one in publish.versions() if one.name == f"{version:020}"), None)
    found = _version(path) if path is not None else None
    if path is None or found is None:
        raise Http404
    plan = drift.compare(path)
    if request.method == "POST":
        try:
            if not constant_time_compare(_token(plan), request.POST.get("plan", "")):
                raise Refused(_(_CHANGED))
            proof = drift.restore(path, by=request.user.actor)
        except Refused as error:
            messages.error(request, str(error))
            return redirect("htpasswd_file", version=version)
        at = timezone.localtime(found.at).strftime("%Y-%m-%d %H:%M:%S")
        say(request, _("Restored the htpasswd file of %(time)s.") % {"time": at}, proof)
        return redirect("users")
    context = {"version": found, "plan": _plan(plan), "token": _token(plan), "what": What}
    return render(request, "users/htpasswd_file.html", context)


def _version(path: Path) -> Version | None:
    """None if it went away while we looked: only the last ones are kept."""
    try:
        users = htpasswd.parse(path.read_bytes())
        users.pop(htpasswd.CANARY, None)
        did = [one.what for one in drift.compare(path)]
        return Version(
            *(int(path.name), publish.version_time(path), len(users)),
            *(did.count(what) for what in (What.ADDED, What.CHANGED, What.REMOVED)),
        )
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Consequence:
    """What the restore of a version does to one name."""

    name: str
    what: What
    words: str


def _plan(differences: Sequence[Difference]) -> list[Consequence]:
    """Each name and what it gains or loses, those who lose first. One query."""
    rows = {
        row.name: row
        for row in RegistryUser.objects.filter(name__in=[one.name for one in differences])
    }
    order = (What.REMOVED, What.ADDED, What.CHANGED)
    return [
        Consequence(_readable(one.name), one.what, _consequence(one, rows.get(one.name)))
        for one in sorted(differences, key=lambda one: (order.index(one.what), one.name))
    ]


def _consequence(one: Difference, row: RegistryUser | None) -> str:
    if one.what == What.REMOVED:
        return _("can no longer log in")
    if row is not None and row.state == State.EXPIRED:
        return _("remains expired; its secret is the one from then")
    if one.what == What.CHANGED:
        return _("logs in with the secret from then, not the current one")
    if row is None:
        return _("can log in again, as a new user without rights")
    return _("can log in again, with the secret from then")
