"""All registry users an operator may see: search, filter, order, make one, change several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.forms import ModelMultipleChoiceField
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from registryui.accounts import grants
from registryui.accounts import users as accounts
from registryui.models import RegistryUser, Role
from registryui.models.paging import page
from registryui.models.registry_user import RegistryUserQuerySet, State
from registryui.refused import Refused
from registryui.views.access import Request, back_to, require_role, sent_from
from registryui.views.form import Words, both_ways, one_of, read, read_or_default, text
from registryui.views.live import wants_fragment
from registryui.views.plain_text import named

from . import forms
from .created import hand_over
from .htpasswd_history import shown_drift
from .words import SOON_DAYS, row_of, say

SORTS = both_ways(name="name", used="used_at", ends="expires_at", made="made_at")
SORT = "name"
UNUSED_DAYS = 90
NAMES_SHOWN = 12  # before several are removed


@sensitive_post_parameters("password")
@require_role(Role.MAINTAINER, methods=("GET", "POST"))
def users(request: Request) -> HttpResponse:
    """The list, and what its form makes."""
    if request.method == "POST":
        try:
            return hand_over(request, _made(request), is_new=True)
        except Refused as error:
            return _list(request, form=request.POST.dict(), error=str(error), status=422)
    return _list(request)


@sensitive_variables("asked")
def _made(request: Request) -> accounts.Done:
    """A new user as the form says. Raises Refused."""
    post = request.POST
    asked = read(post, name=text(), note=text(), secret=text(), password=text(strip=False))
    is_own = asked["secret"] == "own"  # noqa: S105  (a choice of the form, no secret)
    if is_own and not asked["password"]:
        raise Refused(_("Enter a password, or generate a secret."))
    return accounts.create(
        asked["name"],
        by=request.user.actor,
        may=forms.rights_from(post),
        note=asked["note"],
        expires_at=forms.end_from(post),
        owner=forms.owner_from(request),
        password=asked["password"] if is_own else "",
    )


@require_role(Role.MAINTAINER, methods=("POST",))
def users_change(request: Request) -> HttpResponse:
    """Does to the chosen users what the pressed button names; asks before it removes."""
    try:
        rows = _chosen(request)
        if request.POST.get("act") == "remove" and "sure" not in request.POST:
            return _list(request, doomed=rows)
        _act(request, rows)
    except Refused as error:
        messages.error(request, str(error))
    return back_to(request, "users")


def _chosen(request: Request) -> list[RegistryUser]:
    """The users whose boxes were ticked. Raises Refused if one of them is not theirs to change."""
    none = _("Choose at least one registry user.")
    gone = _("A registry user has been removed in the meantime: check the list again.")
    field = ModelMultipleChoiceField(
        RegistryUser.objects.visible_to(request.user),
        error_messages={"required": none, "invalid_pk_value": none, "invalid_choice": gone},
    )
    return list(read(request.POST, user=field)["user"])


def _act(request: Request, rows: list[RegistryUser]) -> None:
    by, name = request.user.actor, {"name": named([row.name for row in rows])}
    match request.POST.get("act"):
        case "off":
            proof = accounts.set_active(rows, is_active=False, by=by).proof
            sentence = _("Disabled %(name)s.")
        case "on":
            proof = accounts.set_active(rows, is_active=True, by=by).proof
            sentence = _("Enabled %(name)s.")
        case "end":
            proof = accounts.expire(rows, forms.end_from(request.POST), by=by).proof
            sentence = _("Changed the expiry date of %(name)s.")
        case "remove":
            proof = accounts.remove(rows, by=by)
            sentence = _("Removed %(name)s.")
        case _:
            raise Refused(_("This action is not supported."))
    say(request, sentence % name, proof)


# -- the list ------------------------------------------------------------------------------------
def _list(
    request: Request,
    *,
    form: Mapping[str, Any] | None = None,
    error: str = "",
    doomed: list[RegistryUser] | None = None,
    status: int = 200,
) -> HttpResponse:
    mine = RegistryUser.objects.visible_to(request.user)
    states = _states(mine)
    fields = {"q": Words(), "sort": one_of(SORTS, SORT), "state": one_of(states)}
    query, sort, state = read_or_default(request.GET, **fields).values()
    found = states[state].matching(query) if query else states[state]
    shown = page(
        found.prefetch_related("rights").with_pending(),
        [SORTS[sort]],
        after=request.GET.get("after", ""),
    )
    giver = grants.of(request.user)
    context: dict[str, Any] = {
        "page": shown,
        "rows": [row_of(row, accounts.rights_of(row)) for row in shown.rows],
        "query": query,
        "sort": sort,
        "state": state,
        "filters": _filters(mine, states),
        "found": found.count() if query else None,
        "ends": forms.ends(giver),
    }
    if wants_fragment(request):
        return render(request, "users/_fragment.html", context)
    is_admin = request.user.has_role(Role.ADMIN)
    context |= {
        "form": forms.empty(giver) if form is None else form,
        "error": error,
        "given": forms.given_words(giver),
        "owners": forms.owners() if is_admin else [],
        "drift": shown_drift() if is_admin else None,
        "doomed": (doomed or [])[:NAMES_SHOWN],
        "doomed_pks": [row.pk for row in doomed or []],
        "doomed_left": max(len(doomed or []) - NAMES_SHOWN, 0),
        "behind": bool(doomed),
        "back": sent_from(request) or reverse("users"),
        "least": accounts.LEAST_PASSWORD_BYTES,
    }
    return render(request, "users/page.html", context, status=status)


def _states(mine: RegistryUserQuerySet) -> dict[str, RegistryUserQuerySet]:
    """What the state filter can ask for."""
    return {
        "": mine,
        "active": mine.in_state(State.ACTIVE),
        "ending": mine.ending(days=SOON_DAYS),
        "unused": mine.unused(days=UNUSED_DAYS),
        "off": mine.in_state(State.OFF),
        "expired": mine.in_state(State.EXPIRED),
    }


def _filters(
    mine: RegistryUserQuerySet, states: Mapping[str, RegistryUserQuerySet]
) -> list[tuple[str, str, int]]:
    """Key, words and number of users of each state. One query for all of them."""
    counts = mine.aggregate(
        **{
            f"n_{key}": Count("pk", filter=Q(pk__in=rows.order_by().values("pk")))
            for key, rows in states.items()
        }
    )
    words = {
        "": _("All"),
        "active": _("Active"),
        "ending": _("Expires soon"),
        "unused": _("Unused for %(days)d days") % {"days": UNUSED_DAYS},
        "off": _("Disabled"),
        "expired": _("Expired"),
    }
    return [(key, word, counts[f"n_{key}"]) for key, word in words.items()]
