"""The people who log in here: list, add, change. The rules are in registryui/operators.py."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.forms import TypedChoiceField
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_variables

from registryui import offboarding
from registryui import operators as accounts
from registryui.accounts import grants
from registryui.models import Operator, Role
from registryui.models.paging import page
from registryui.refused import Refused
from registryui.views.access import Request, back_to, require_role
from registryui.views.form import Words, choice, one_of, read, read_or_default, text
from registryui.views.users import forms
from registryui.views.users.words import may_words, proof_words

from .roles import role_words

NAMES_SHOWN = 12
# The generated password waits here for the page after the redirect, which takes it out: in the
# session's row in clear for that moment, and in no address, cookie or log.
_SECRET = "operator_secret"  # noqa: S105  (the key in the session, not a secret)


@require_role(Role.ADMIN)
def operators(request: Request) -> HttpResponse:
    shown = page(Operator.objects.all(), ["username"], after=request.GET.get("after", ""))
    context = {
        "page": shown,
        "rows": shown.rows,
        "roles": _roles(),
        "name": read_or_default(request.GET, name=Words(max_length=150))["name"],
    }
    return render(request, "operators/page.html", context)


@require_role(Role.ADMIN)
@sensitive_variables("secret")
def operator(request: Request, pk: int) -> HttpResponse:
    """One operator; the new password, if one was just made, for this once."""
    row = get_object_or_404(Operator, pk=pk)
    secret = request.session.get(_SECRET)
    if secret and secret.get("pk") == pk:
        del request.session[_SECRET]
    else:
        secret = None
    return _page(request, row, secret=secret["password"] if secret else "")


@sensitive_variables("secret")
def _page(
    request: Request, row: Operator, *, secret: str = "", error: str = "", status: int = 200
) -> HttpResponse:
    working = offboarding.working(row)
    others = offboarding.made_for_others(row)
    giver = grants.of(row)
    ask = _ask(request, row)
    context: dict[str, Any] = {
        "row": row,
        "roles": _roles(),
        "is_self": row.pk == request.user.pk,
        "secret": secret,
        "ask": ask,
        "behind": bool(ask),
        "error": error,
        "is_maintainer": row.role == Role.MAINTAINER,
        "may_words": may_words(giver.may, most=None),
        "actions": forms.actions(request, giver.may, is_typed=bool(error)),
        "longest": request.POST.get("longest", "") if error else str(row.longest_days or "never"),
        "longests": forms.longests(row.longest_days),
        "working": working[:NAMES_SHOWN],
        "working_count": (count := working.count()),
        "working_left": max(count - NAMES_SHOWN, 0),
        "others": others[:NAMES_SHOWN],
        "others_left": max(others.count() - NAMES_SHOWN, 0),
        "takers": [one for one in forms.owners() if one.pk != row.pk],
    }
    return render(request, "operators/operator.html", context, status=status)


def _ask(request: Request, row: Operator) -> str:
    """Which act the dialog is about: off, remove, viewer; "" for no dialog."""
    asked = read_or_default(request.GET, ask=one_of(("off", "remove", "viewer")))["ask"]
    if "remove" in request.GET:
        asked = "remove"
    return asked if row.pk != request.user.pk else ""


@require_role(Role.ADMIN, methods=("POST",))
@sensitive_variables("password")
def operator_add(request: Request) -> HttpResponse:
    try:
        asked = read(request.POST, name=text(), role=_role())
        row, password = accounts.add(asked["name"], role=asked["role"], by=request.user.actor)
    except Refused as error:
        messages.error(request, str(error))
        return back_to(request, "operators")
    request.session[_SECRET] = {"pk": row.pk, "password": password}
    return redirect("operator", pk=row.pk)


@require_role(Role.ADMIN, methods=("POST",))
def operator_change(request: Request, pk: int) -> HttpResponse:
    """Does what the pressed button names."""
    row = get_object_or_404(Operator, pk=pk)
    try:
        said = _act(request, row)
    except offboarding.Ask:
        ask = {"role": "viewer"}.get(act := request.POST.get("act", ""), act)
        return redirect(f"{reverse('operator', args=[pk])}?ask={ask}")
    except Refused as error:
        if request.POST.get("act") == "grant":  # what was typed must not be lost
            return _page(request, row, error=str(error), status=422)
        messages.error(request, str(error))
        return redirect("operator", pk=pk)
    if said:
        messages.success(request, said)
    return redirect("operators") if row.pk is None else redirect("operator", pk=pk)


def _act(request: Request, row: Operator) -> str:
    """Does it and returns what to say. Raises Refused, also for an act that is none."""
    post, by, name = request.POST, request.user.actor, {"name": row.username}
    match post.get("act"):
        case "role":
            role = read(post, role=_role())["role"]
            handover = offboarding.set_role(row, role, by=by, answer=_answer(request))
            said = _("Changed the role of %(name)s to %(role)s.") % {**name, "role": role.label}
            return _with(said, handover)
        case "grant":
            may, days = forms.scopes_from(post), forms.longest_from(post)
            accounts.set_grant(row, may, longest_days=days, by=by)
            return _("Changed what %(name)s may grant.") % name
        case "password":
            password = accounts.set_password(row, by=by)
            request.session[_SECRET] = {"pk": row.pk, "password": password}
            return ""
        case "off":
            handover = offboarding.disable(row, by=by, answer=_answer(request))
            return _with(_("Disabled %(name)s and ended all sessions.") % name, handover)
        case "on":
            accounts.set_active(row, is_active=True, by=by)
            return _("Enabled %(name)s.") % name
        case "users":
            if (answer := _answer(request)) is None:
                raise Refused(_("Choose what happens to the registry users."))
            return _with("", offboarding.hand_over(row, answer, by=by))
        case "remove":
            handover = offboarding.remove(row, by=by, answer=_answer(request))
            row.pk = None  # tells that the page is gone
            return _with(_("Removed %(name)s.") % name, handover)
        case _:
            raise Refused(_("This action is not supported."))


def _answer(request: Request) -> offboarding.Answer | None:
    """What is to become of the registry users; None if the form did not ask."""
    post = request.POST
    match read(post, users=text())["users"]:
        case "disable":
            return offboarding.Answer("disable")
        case "keep":
            return offboarding.Answer("keep")
        case "hand over":
            wrong = _("Choose another active maintainer or administrator as the new owner.")
            to = forms.chosen_operator(post, "to", forms.owners(), wrong)
            return offboarding.Answer("hand over", to)
        case _:
            return None


def _with(said: str, handover: offboarding.Handover) -> str:
    """The sentence, and what became of the registry users."""
    if handover.answer is None:
        return said
    count, to = {"count": len(handover.users)}, handover.answer.to
    match handover.answer.what:
        case "disable":
            more = ngettext(
                "Disabled %(count)d registry user.",
                "Disabled %(count)d registry users.",
                len(handover.users),
            )
        case "hand over":
            more = ngettext(
                "Transferred %(count)d registry user to %(to)s: create a new secret.",
                "Transferred %(count)d registry users to %(to)s: create new secrets.",
                len(handover.users),
            )
        case _:
            more = ngettext(
                "%(count)d registry user remains active.",
                "%(count)d registry users remain active.",
                len(handover.users),
            )
    parts = [*([said] if said else []), more % {**count, "to": to.username if to else ""}]
    return " ".join([*parts, *([proof_words(handover.proof)] if handover.proof else [])])


def _role() -> TypedChoiceField:
    return choice(Role.values, _("Choose a role."), Role)


def _roles() -> list[tuple[Role, str]]:
    """Each role with what it may do, weakest first."""
    return [(role, role_words(role)) for role in Role]
