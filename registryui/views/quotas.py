"""Quotas of namespaces: how full each is; set and removed here. Other pages show the same bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.forms import ModelChoiceField
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from registryui.models import Quota, Role
from registryui.quotas import quotas as service
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import Words, read, read_or_default, text

FIELDS = ("namespace", "bytes", "tags")


@dataclass(frozen=True, slots=True)
class Bar:
    """One limit of a quota. `kind`: "", warn or bad, as badges have it."""

    used: int
    limit: int
    kind: str

    @property
    def percent(self) -> int:
        """0–100."""
        return min(100, 100 * self.used // self.limit)


@dataclass(frozen=True, slots=True)
class Line:
    """A quota, as pages show it. A bar is None without that limit."""

    row: Quota
    bytes: Bar | None
    tags: Bar | None

    @property
    def is_near(self) -> bool:
        """Whether pages warn."""
        return self.row.share >= service.NEARLY_FULL


def lines(rows: Iterable[Quota]) -> list[Line]:
    """The same rows with their bars."""
    return [
        Line(row, _bar(row.used_bytes, row.limit_bytes), _bar(row.used_tags, row.limit_tags))
        for row in rows
    ]


def fullest(rows: Iterable[Quota]) -> list[Quota]:
    """The fullest first."""
    return sorted(rows, key=lambda row: (-row.share, row.namespace))


def _bar(used: int, limit: int | None) -> Bar | None:
    if limit is None:
        return None
    share = used / limit
    return Bar(used, limit, "bad" if share >= 1 else "warn" if share >= service.NEARLY_FULL else "")


@require_role(Role.VIEWER)
def quotas(request: Request) -> HttpResponse:
    """The list. `namespace`, `bytes` and `tags` in the address fill the form in."""
    return _page(request, form=read_or_default(request.GET, **{name: Words() for name in FIELDS}))


@require_role(Role.ADMIN, methods=("POST",))
def quota_set(request: Request) -> HttpResponse:
    try:
        asked = read(request.POST, **{name: text() for name in FIELDS})
        row = service.set_limits(
            asked["namespace"],
            limit_bytes=service.bytes_in(asked["bytes"]),
            limit_tags=service.tags_in(asked["tags"]),
            by=request.user.actor,
        )
    except Refused as error:
        return _page(request, form=request.POST.dict(), error=str(error), status=422)
    messages.success(request, _("Set the quota of %(namespace)s") % {"namespace": row})
    return redirect("quotas")


@require_role(Role.ADMIN, methods=("POST",))
def quota_remove(request: Request) -> HttpResponse:
    row = read_or_default(request.POST, quota=ModelChoiceField(Quota.objects.all()))["quota"]
    try:
        if row is None:
            raise Refused(_("This quota has already been removed."))
        service.remove(row, by=request.user.actor)
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Removed the quota of %(namespace)s") % {"namespace": row})
    return redirect("quotas")


def _page(
    request: Request, *, form: Mapping[str, Any], error: str = "", status: int = 200
) -> HttpResponse:
    context: dict[str, Any] = {
        "quotas": lines(fullest(Quota.objects.all())),
        "form": form,
        "error": error,
        "longest": service.LONGEST,
    }
    return render(request, "quotas/page.html", context, status=status)
