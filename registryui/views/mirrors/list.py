"""All mirrors: what each is a mirror of, whether its upstream answers, how much it saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from registryui.mirrors import mirrors as service
from registryui.mirrors import presets
from registryui.models import Mirror, Repository, Role
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import read, text

from . import forms
from .words import Shown, shown


@dataclass(frozen=True, slots=True)
class Line:
    """One mirror, and what the index has of it."""

    shown: Shown
    tags: int


@require_role(Role.VIEWER)
def mirrors(request: Request) -> HttpResponse:
    """The list; `new` opens the form, `preset` fills it in."""
    return _page(request, form=None)


@sensitive_post_parameters("password")
@require_role(Role.ADMIN, methods=("POST",))
def mirror_add(request: Request) -> HttpResponse:
    try:
        name = read(request.POST, name=text())["name"]
        row = service.add(name, forms.wanted(request.POST), by=request.user.actor)
    except Refused as error:
        return _page(request, form=request.POST.dict(), error=str(error), status=422)
    messages.success(request, _("Added the mirror %(name)s.") % {"name": row.name})
    return redirect("mirror", row.pk)


def _page(
    request: Request, *, form: Mapping[str, Any] | None, error: str = "", status: int = 200
) -> HttpResponse:
    rows = list(Mirror.objects.all())
    if form is None and request.user.has_role(Role.ADMIN) and (not rows or "new" in request.GET):
        form = forms.blank(request.GET.get("preset", ""))
    context = {
        "rows": _lines(rows),
        "presets": presets.PRESETS,
        "preset": request.GET.get("preset", ""),
        "form": form,
        "error": error,
    }
    return render(request, "mirrors/page.html", context, status=status)


def _lines(rows: list[Mirror]) -> list[Line]:
    """One query for all of them."""
    found = Repository.objects.filter(namespace__in=[row.name for row in rows])
    tags = dict(found.order_by().values_list("namespace").annotate(Sum("tag_count")))
    return [Line(shown(row), tags.get(row.name) or 0) for row in rows]
