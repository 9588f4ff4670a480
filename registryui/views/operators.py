"""The people who log in here: list, add, change. The rules are in registryui/operators.py."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui import operators as rules
from registryui.models import Operator, Role
from registryui.models.paging import page
from registryui.refused import Refused

from .access import Request, needs

# The generated password waits here for the page after the redirect, which takes it out: in the
# session's row in clear for that moment, and in no address, cookie or log.
_SECRET = "operator_secret"  # noqa: S105  (the key in the session, not a secret)


@needs(Role.ADMIN)
def operators(request: Request) -> HttpResponse:
    shown = page(Operator.objects.all(), ["username"], after=request.GET.get("after", ""))
    context = {
        "page": shown,
        "rows": shown.rows,
        "roles": _roles(),
        "name": request.GET.get("name", "")[:150],
    }
    return render(request, "operators/page.html", context)


@needs(Role.ADMIN)
@sensitive_variables("secret")
def operator(request: Request, pk: int) -> HttpResponse:
    """One operator; the new password, if one was just made, for this once."""
    row = get_object_or_404(Operator, pk=pk)
    secret = request.session.get(_SECRET)
    if secret and secret.get("pk") == pk:
        del request.session[_SECRET]
    else:
        secret = None
    context: dict[str, Any] = {
        "row": row,
        "roles": _roles(),
        "is_self": row.pk == request.user.pk,
        "secret": secret["password"] if secret else "",
        "behind": "remove" in request.GET and row.pk != request.user.pk,
    }
    return render(request, "operators/operator.html", context)


@needs(Role.ADMIN, methods=("POST",))
@sensitive_variables("password")
def operator_add(request: Request) -> HttpResponse:
    try:
        row, password = rules.add(
            request.POST.get("name", ""),
            role=_role(request.POST.get("role", "")),
            by=request.user.actor,
        )
    except Refused as error:
        messages.error(request, str(error))
        return redirect("operators")
    request.session[_SECRET] = {"pk": row.pk, "password": password}
    return redirect("operator", pk=row.pk)


@needs(Role.ADMIN, methods=("POST",))
def operator_change(request: Request, pk: int) -> HttpResponse:
    """Does what the pressed button names: role, password, off, on, remove."""
    row = get_object_or_404(Operator, pk=pk)
    try:
        said = _act(request, row)
    except Refused as error:
        messages.error(request, str(error))
        return redirect("operator", pk=pk)
    if said:
        messages.success(request, said)
    return redirect("operators") if row.pk is None else redirect("operator", pk=pk)


def _act(request: Request, row: Operator) -> str:
    """Does it and returns what to say. Raises Refused, also for an act that is none."""
    by, name = request.user.actor, {"name": row.username}
    match request.POST.get("act"):
        case "role":
            rules.set_role(row, role := _role(request.POST.get("role", "")), by=by)
            return _("%(name)s now has the role: %(role)s.") % {**name, "role": role.label}
        case "password":
            password = rules.set_password(row, by=by)
            request.session[_SECRET] = {"pk": row.pk, "password": password}
            return ""
        case "off":
            rules.set_active(row, is_active=False, by=by)
            return _("%(name)s is switched off; open sessions have ended.") % name
        case "on":
            rules.set_active(row, is_active=True, by=by)
            return _("%(name)s is switched on again.") % name
        case "remove":
            rules.remove(row, by=by)
            row.pk = None  # tells that the page is gone
            return _("%(name)s is removed.") % name
        case _:
            raise Refused(_("This page does not know that act."))


def _role(text: str) -> Role:
    if text not in Role.values:
        raise Refused(_("Choose a role."))
    return Role(text)


def _roles() -> list[tuple[Role, str]]:
    """Each role with what it may do, weakest first."""
    return [
        (Role.VIEWER, _("sees everything, changes nothing")),
        (Role.MAINTAINER, _("also changes what is stored")),
        (Role.ADMIN, _("also decides who may log in, and sees the health of the parts")),
    ]
