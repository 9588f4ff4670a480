"""All receivers: what each is sent, and how its last message fared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from registryui.models import Receiver, Role
from registryui.notify import receivers
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import read, text

from . import forms
from .detail import hand_over
from .words import lines


@require_role(Role.ADMIN)
def notifications(request: Request) -> HttpResponse:
    """The list; `new` opens the form."""
    return _page(request, form=None)


@sensitive_post_parameters("address")
@sensitive_variables("secret")
@require_role(Role.ADMIN, methods=("POST",))
def receiver_add(request: Request) -> HttpResponse:
    try:
        asked = read(request.POST, name=text(), kind=text())
        wanted = forms.wanted(request.POST, asked["kind"])
        row, secret = receivers.add(asked["name"], wanted, by=request.user.actor)
    except Refused as error:  # what was typed must not be lost
        return _page(request, form=request.POST.dict(), error=str(error), status=422)
    messages.success(request, _("Added the receiver %(name)s.") % {"name": row.name})
    hand_over(request, row, secret)
    return redirect("receiver", row.pk)


def _page(
    request: Request, *, form: Mapping[str, Any] | None, error: str = "", status: int = 200
) -> HttpResponse:
    rows = lines(Receiver.objects.all())
    if form is None and (not rows or "new" in request.GET):
        form = forms.blank(request.LANGUAGE_CODE)
    context = {
        "rows": rows,
        "form": form,
        "error": error,
        "has_mail": bool(settings.SMTP_HOST),
        "languages": settings.LANGUAGES,
    }
    return render(request, "notifications/page.html", context, status=status)
