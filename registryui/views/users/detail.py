"""One registry user: what it may do and did, its secret, its end. The rules are in accounts/."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from registryui.accounts import grants, hash_cost, htpasswd
from registryui.accounts import users as accounts
from registryui.models import Denial, RegistryEvent, RegistryUser, Role
from registryui.refused import Refused
from registryui.views import denials
from registryui.views.access import Request, require_role, sent_from
from registryui.views.form import choice, read, text

from . import forms, setup_commands
from .created import hand_over
from .words import ends_word, hash_mark, hash_words, may_words, say

EVENTS = 20
_DID = {
    "push": ("upload", gettext_lazy("pushed")),
    "pull": ("download", gettext_lazy("pulled")),
    "delete": ("trash-2", gettext_lazy("deleted")),
    "mount": ("copy-plus", gettext_lazy("mounted a layer")),
}


@sensitive_post_parameters("password")
@require_role(Role.MAINTAINER, methods=("GET", "POST"))
def user(request: Request, pk: int) -> HttpResponse:
    """The page, and what its buttons do. Somebody else's user is not found."""
    visible = RegistryUser.objects.visible_to(request.user)
    row = get_object_or_404(
        visible.select_related("owner").prefetch_related("rights").with_pending(), pk=pk
    )
    if request.method == "GET" or request.method == "HEAD":
        return _page(request, row)
    try:
        return _act(request, row)
    except Refused as error:
        if request.POST.get("act") == "rights":  # what was typed must not be lost
            return _page(request, row, error=str(error), status=422)
        messages.error(request, str(error))
        return redirect("user", pk=pk)


@sensitive_variables("password")
def _act(request: Request, row: RegistryUser) -> HttpResponse:
    """Does what the pressed button names. Raises Refused, also for an act that is none."""
    post, by, name = request.POST, request.user.actor, {"name": row.name}
    match post.get("act"):
        case "rights":
            done = accounts.set_rights(row, forms.scopes_from(post), by=by)
            say(request, _("Changed the rights of %(name)s.") % name, done.proof)
        case "secret":
            done = accounts.rotate(row, by=by, overlap=forms.overlap_from(post))
            return hand_over(request, done, is_new=False)
        case "password":
            password = read(post, password=text(strip=False))["password"]
            done = accounts.set_password(row, password, by=by, cost=_cost(request))
            say(request, _("Changed the password of %(name)s.") % name, done.proof)
        case "off":
            done = accounts.set_active([row], is_active=False, by=by)
            say(request, _("Disabled %(name)s.") % name, done.proof)
        case "on":
            done = accounts.set_active([row], is_active=True, by=by)
            say(request, _("Enabled %(name)s.") % name, done.proof)
        case "end":
            done = accounts.expire([row], forms.end_from(post), by=by)
            say(request, _("Changed the expiry date of %(name)s.") % name, done.proof)
        case "describe":
            owner = forms.owner_from(request, row)
            accounts.describe(row, note=read(post, note=text())["note"], owner=owner, by=by)
            messages.success(request, _("Changed the note and owner of %(name)s.") % name)
        case "remove":
            say(request, _("Removed %(name)s.") % name, accounts.remove([row], by=by))
            return redirect("users")
        case _:
            raise Refused(_("This action is not supported."))
    return redirect("user", pk=row.pk)


@sensitive_post_parameters("password")
@require_role(Role.MAINTAINER, methods=("POST",))
def users_measure(request: Request) -> HttpResponse:
    """What bcrypt of that cost takes, measured now; a fragment or a message."""
    try:
        words = measured_words(hash_cost.measure(_cost(request)))
    except Refused as error:
        words = str(error)
    if request.htmx:
        return HttpResponse(words, content_type="text/plain; charset=utf-8")
    messages.info(request, words)
    return redirect(sent_from(request) or "users")


def measured_words(found: hash_cost.HashCost) -> str:
    """A measurement, in words."""
    return _(
        "Measured on this machine: cost %(cost)d takes %(ms)s ms of CPU time for the first "
        "login in ten minutes (a generated secret: %(quick)s ms). One processor can check at "
        "most %(rate)s such logins per second."
    ) % {
        "cost": found.cost,
        "ms": _number(found.seconds * 1000),
        "quick": _number(found.quick_seconds * 1000),
        "rate": _number(found.logins_per_second),
    }


def _number(value: float) -> str:
    """Two digits that count: 0.0021, 1.4, 13, 254."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _cost(request: Request) -> int:
    wrong = _("The bcrypt cost must be %(least)d to %(most)d.") % {
        "least": accounts.COSTS[0],
        "most": accounts.COSTS[-1],
    }
    return int(read(request.POST, cost=choice(accounts.COSTS, wrong, int))["cost"])


# -- the page ------------------------------------------------------------------------------------
def _page(
    request: Request, row: RegistryUser, *, error: str = "", status: int = 200
) -> HttpResponse:
    may, giver = accounts.rights_of(row), grants.of(request.user)
    events = RegistryEvent.objects.filter(actor=row.name).order_by("-at")[: EVENTS + 1]
    context: dict[str, Any] = {
        "row": row,
        "state": row.state,
        "ends_word": ends_word(row),
        "mark": hash_mark(row),
        "hash_words": hash_words(row),
        "is_own_password": htpasswd.kind(row.secret_hash).is_slow,
        "may_words": may_words(may, most=None),
        "actions": forms.actions(request, may, is_typed=bool(error)),
        "error": error,
        "events": [(event, *_did(event)) for event in events[:EVENTS]],
        "has_more_events": len(events) > EVENTS,
        **denials.lines(request, Denial.objects.filter(actor=row.name)),
        "old_until": row.old_until if row.old_hash and row.old_until > timezone.now() else None,
        "overlaps": forms.overlaps(),
        "ends": forms.ends(giver),
        "given": forms.given_words(giver),
        "costs": accounts.COSTS,
        "cost": accounts.COST,
        "least": accounts.LEAST_PASSWORD_BYTES,
        "owners": forms.owners() if request.user.has_role(Role.ADMIN) else [],
        "clients": setup_commands.clients(row, may),
        "behind": "remove" in request.GET and status == 200,
    }
    return render(request, "users/user.html", context, status=status)


def _did(event: RegistryEvent) -> tuple[str, Any]:
    """Icon and word for what an event tells of."""
    return _DID.get(event.action, ("circle-dot", event.action))
