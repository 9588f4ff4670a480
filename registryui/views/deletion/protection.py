"""The protections: which tags nobody can delete or move, and how many; made and lifted here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.forms import ModelChoiceField
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from registryui.deletion import protection
from registryui.models import Protection, Role
from registryui.models.paging import page
from registryui.oci import patterns
from registryui.refused import Refused
from registryui.views.access import Request, back_to, require_role
from registryui.views.activity.words import actor
from registryui.views.form import Words, read, read_or_default, text

COUNTING_SECONDS = 1.0  # in a large index a pattern may have to be compared with every tag
FIELDS = ("repositories", "tags", "note", "immutable")


@dataclass(frozen=True, slots=True)
class Line:
    """One protection. `count` None: there was no time to count."""

    row: Protection
    repositories: tuple[str, ...]
    tags: tuple[str, ...]
    by: str
    count: int | None


@require_role(Role.VIEWER)
def protected(request: Request) -> HttpResponse:
    """The list, or one `rule` by its number. `repositories` and `tags` in the address fill the form
    in."""
    fields = {name: Words(max_length=patterns.LIMIT) for name in FIELDS}
    return _list(request, form=read_or_default(request.GET, **fields))


@require_role(Role.ADMIN, methods=("POST",))
def protection_add(request: Request) -> HttpResponse:
    try:
        asked = read(request.POST, **{name: text() for name in FIELDS})
        is_immutable = asked.pop("immutable") == "1"
        row = protection.add(**asked, by=request.user.actor, is_immutable=is_immutable)
    except Refused as error:
        return _list(request, form=request.POST.dict(), error=str(error), status=422)
    words = _("Immutable: %(what)s")
    if not row.is_immutable:
        words = _("Protected %(what)s")
    messages.success(request, words % {"what": row})
    return back_to(request, "protected", without=FIELDS)


@require_role(Role.ADMIN, methods=("POST",))
def protection_lift(request: Request) -> HttpResponse:
    field = ModelChoiceField(Protection.objects.all())
    row = read_or_default(request.POST, protection=field)["protection"]
    try:
        if row is None:
            raise Refused(_("This protection has already been removed."))
        protection.lift(row, by=request.user.actor)
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Removed the protection of %(what)s") % {"what": row})
    return back_to(request, "protected")


def _list(
    request: Request, *, form: Mapping[str, str], error: str = "", status: int = 200
) -> HttpResponse:
    rules = Protection.objects.all()
    one = read_or_default(request.GET, rule=ModelChoiceField(rules))["rule"]
    rules = rules.filter(pk=one.pk) if one else rules
    shown = page(rules, ["-id"], after=request.GET.get("after", ""))
    end = time.monotonic() + COUNTING_SECONDS
    rows = [_line(row, may_count=time.monotonic() < end) for row in shown.rows]
    context: dict[str, Any] = {
        "page": shown,
        "is_one": one is not None,
        "rows": rows,
        "is_counted": all(row.count is not None for row in rows),
        "form": form,
        "error": error,
        "longest": patterns.LIMIT,
    }
    return render(request, "deletion/protection/page.html", context, status=status)


def _line(row: Protection, *, may_count: bool) -> Line:
    return Line(
        row,
        patterns.parse(row.repositories),
        patterns.parse(row.tags),
        actor(row.by),
        protection.count(row) if may_count else None,
    )
