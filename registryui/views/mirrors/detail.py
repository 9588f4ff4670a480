"""One mirror: its state, how clients use it, what stays in it; changed by administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.db.models import BigIntegerField, F, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_post_parameters

from registryui import formats, tasks
from registryui.mirrors import client_lines, mirrors, state, upstream
from registryui.models import Manifest, Mirror, NamespaceSize, Role
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import read, text
from registryui.views.live import minute, not_changed, wants_fragment
from registryui.views.plain_text import line

from . import forms
from .words import keep_words, limit_words, shown


@require_role(Role.VIEWER)
def mirror(request: Request, pk: int) -> HttpResponse:
    """The page; `edit` opens the form, `remove` asks. As a fragment: its state alone, 204 while it
    is as ?seen= says."""
    row = get_object_or_404(Mirror, pk=pk)
    token = _token(row)
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    if wants_fragment(request):
        return render(request, "mirrors/_state.html", _state(row, token))
    may_write = request.user.has_role(Role.ADMIN)
    form = forms.filled(row) if may_write and "edit" in request.GET else None
    return _page(request, row, form=form, behind=may_write and "remove" in request.GET)


@sensitive_post_parameters("password")
@require_role(Role.ADMIN, methods=("POST",))
def mirror_change(request: Request, pk: int) -> HttpResponse:
    """Does to the mirror what the pressed button names."""
    row = get_object_or_404(Mirror, pk=pk)
    try:
        return _act(request, row)
    except Refused as error:
        if request.POST.get("act") == "change":  # what was typed must not be lost
            return _page(request, row, form=request.POST.dict(), error=str(error), status=422)
        messages.error(request, str(error))
        return redirect("mirror", pk)


@require_role(Role.MAINTAINER, methods=("POST",))
def mirror_check(request: Request, pk: int) -> HttpResponse:
    """Contacts the upstream now, and says what came of it."""
    row = get_object_or_404(Mirror, pk=pk)
    found = upstream.check(row)
    if found.error:
        messages.error(request, line(found.error, 300))
    else:
        messages.success(request, _check_words(row, found))
    return redirect("mirror", pk)


def _check_words(row: Mirror, found: upstream.Checked) -> str:
    words = [
        _("The upstream answers in %(ms)d ms.") % {"ms": round(found.seconds * 1000)},
        *([_("It accepts the user and password.")] if found.has_login else []),
        *([f"{limit_words(found.limit)}."] if found.limit else []),
    ]
    return " ".join(words)


# -- acts ----------------------------------------------------------------------------------------
def _act(request: Request, row: Mirror) -> HttpResponse:
    """Raises Refused, also for an act that is none."""
    post, by, name = request.POST, request.user.actor, {"name": row.name}
    match post.get("act"):
        case "change":
            mirrors.change(row, forms.wanted(post, row), by=by)
            messages.success(request, _("Changed the mirror %(name)s.") % name)
        case "on":
            mirrors.set_active(row, is_active=True, by=by)
            messages.success(request, _("Enabled the mirror %(name)s.") % name)
        case "off":
            mirrors.set_active(row, is_active=False, by=by)
            messages.success(request, _("Disabled the mirror %(name)s.") % name)
        case "pin":
            what = read(post, pin=text())["pin"]
            mirrors.pin(row, what, by=by)
            messages.success(request, _("Pinned %(what)s.") % {"what": what})
        case "unpin":
            what = read(post, pin=text())["pin"]
            mirrors.unpin(row, what, by=by)
            messages.success(request, _("Unpinned %(what)s.") % {"what": what})
        case "remove":
            return _removed(request, row)
        case _:
            raise Refused(_("This action is not supported."))
    return redirect("mirror", row.pk)


def _removed(request: Request, row: Mirror) -> HttpResponse:
    content = read(request.POST, content=text())["content"]
    if content == mirrors.DELETE and (count := mirrors.tag_count(row)):
        mirrors.set_active(row, is_active=False, by=request.user.actor)
        tasks.remove_mirror(row.pk, request.user.actor, request.LANGUAGE_CODE)
        said = ngettext(
            "Removing the mirror %(name)s: %(count)d tag is being deleted.",
            "Removing the mirror %(name)s: %(count)d tags are being deleted.",
            count,
        )
        messages.success(request, said % {"name": row.name, "count": count})
    else:
        mirrors.remove(row, by=request.user.actor, content=content)
        messages.success(request, _("Removed the mirror %(name)s.") % {"name": row.name})
    return redirect("mirrors")


# -- the page ------------------------------------------------------------------------------------
def _page(
    request: Request,
    row: Mirror,
    *,
    form: Mapping[str, Any] | None,
    error: str = "",
    behind: bool = False,
    status: int = 200,
) -> HttpResponse:
    context = {
        **_state(row, _token(row)),
        "row": row,
        "keep": keep_words(row, formats.size(row.keep_bytes)),
        "pins": mirrors.pins(row),
        "clients": client_lines.clients(row),
        "form": form,
        "error": error,
        "behind": behind,
    }
    return render(request, "mirrors/mirror.html", context, status=status)


def _state(row: Mirror, token: str) -> dict[str, Any]:
    """What changes by itself. Three queries."""
    found = shown(row)
    size = NamespaceSize.objects.filter(namespace=row.name).first()
    repositories = mirrors.repositories(row)
    pulled = Manifest.objects.filter(repository__in=repositories).aggregate(
        size=Sum(F("pull_count") * F("size"), output_field=BigIntegerField())
    )["size"]
    here = repositories.order_by().aggregate(tags=Sum("tag_count"), pulls=Sum("pull_count"))
    return {
        "mirror": found,
        "token": token,
        "size": size.size if size else 0,
        "tags": here["tags"] or 0,
        "pulls": here["pulls"] or 0,
        "saved": max(0, (pulled or 0) - found.state.upstream_bytes),
    }


def _token(row: Mirror) -> str:
    return f"{state.stamp(row.name)}-{int(row.changed_at.timestamp())}-{minute()}"
