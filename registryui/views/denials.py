"""Denials as the pages of a registry user and of a repository show them: what helps, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from registryui.denials.found import Denied, denied
from registryui.models import Denial, RegistryUser
from registryui.views.access import Request, may_open
from registryui.views.activity.actors import actor_words

SHOWN = 20
_Action, _Reason = Denial.Action, Denial.Reason
ICONS: Mapping[str, str] = {
    _Action.LOGIN: "log-in",
    _Action.PULL: "download",
    _Action.PUSH: "upload",
    _Action.DELETE: "trash-2",
}
_GIVE: Mapping[str, Any] = {
    _Action.PULL: _("Give %(user)s the right to pull from %(repository)s, if this is intended."),
    _Action.PUSH: _("Give %(user)s the right to push to %(repository)s, if this is intended."),
    _Action.DELETE: _("Give %(user)s the right to delete in %(repository)s, if this is intended."),
}
_ADVICE: Mapping[str, Any] = {
    _Reason.WRONG_PASSWORD: _(
        "Log in again with the current secret, or create a new one for the client."
    ),
    _Reason.UNKNOWN_USER: _("Check the user name that the client logs in with."),
    _Reason.DISABLED: _("Enable %(user)s to let it in."),
    _Reason.EXPIRED: _("Set a later expiry date for %(user)s to let it in."),
    _Reason.NO_RIGHT: _("Log in as a registry user who has the right."),
    _Reason.PROTECTED: _("Push another tag, or remove the protection."),
    _Reason.QUOTA: _("Delete tags there, or raise the quota."),
    _Reason.FROZEN: _("Try again after the write freeze."),
    _Reason.RATE_LIMITED: _("Look for a client at that address that logs in with a wrong secret."),
    _Reason.DISK_FULL: _("Free disk space: run garbage collection."),
    _Reason.MIRROR: _("Use a repository outside of the mirror."),
}


# Only where nobody logs in is somebody refused for a missing right without a name.
_NOBODY: Mapping[str, Any] = {_Reason.NO_RIGHT: _("anonymous")}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the list."""

    denied: Denied
    icon: str
    user: str  # as people read it
    url: str  # of the user's page; "" if there is none for this operator
    action: Any
    reason: Any
    advice: str


def lines(request: Request, rows: QuerySet[Denial]) -> dict[str, Any]:
    """The latest for templates/components/_denials.html. Three queries, two without names."""
    found = denied(rows, most=SHOWN + 1)
    pages = _pages(request, {one.actor for one in found} - {""})
    return {
        "denials": [_line(one, pages.get(one.actor, "")) for one in found[:SHOWN]],
        "has_more_denials": len(found) > SHOWN,
    }


def advice(one: Denied) -> str:
    """What to do about it, as a sentence."""
    is_right = one.reason == _Reason.NO_RIGHT and one.actor and one.repository
    words = _GIVE.get(one.action) if is_right else None
    if one.is_others:
        return str(_("These were too many to be told apart."))
    names = {"user": actor_words(one.actor), "repository": one.repository}
    return str(words or _ADVICE.get(one.reason, "")) % names


def _pages(request: Request, names: set[str]) -> dict[str, str]:
    if not names or not may_open(request.user, "user"):
        return {}
    users = RegistryUser.objects.visible_to(request.user).filter(name__in=names)
    return {name: reverse("user", args=[pk]) for pk, name in users.values_list("pk", "name")}


def _line(one: Denied, url: str) -> Line:
    action = _Action(one.action).label if one.action in _Action.values else ""
    return Line(
        one,
        ICONS.get(one.action, "ban"),
        actor_words(one.actor) or str(_NOBODY.get(one.reason, _("unknown user"))),
        url,
        action,
        _Reason(one.reason).label,
        advice(one),
    )
