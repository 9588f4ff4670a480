"""The form for the description and the README of a repository, with a preview."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from registryui import descriptions
from registryui.models import Repository, Role
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import read, text

from .readme import readme_html
from .repository import last_part, missing


@require_role(Role.MAINTAINER, methods=("GET", "POST"))
def describe(request: Request, repository: str) -> HttpResponse:
    """The form; a POST saves it, or with act=preview shows the README."""
    row = Repository.objects.filter(name=repository).first()
    if row is None:
        return missing(request, repository)
    now = descriptions.of(repository)
    seen = descriptions.fingerprint(now)
    if request.method != "POST":
        sent = {"text": now.text, "readme": now.readme, "seen": seen}
        return _page(request, row, sent)
    fields = {"text": text(), "readme": text(strip=False), "seen": text(), "act": text()}
    try:
        sent = read(request.POST, **fields)
    except Refused as error:
        return _page(request, row, request.POST.dict(), error=str(error))
    if sent["act"] == "preview":
        return _page(request, row, sent, preview=readme_html(sent["readme"]))
    try:
        descriptions.describe(
            repository,
            text=sent["text"],
            readme=sent["readme"],
            seen=sent["seen"],
            by=request.user.actor,
        )
    except Refused as error:
        return _page(request, row, {**sent, "seen": seen}, error=str(error))
    messages.success(request, _("Saved the description of %(name)s") % {"name": repository})
    return redirect(f"{reverse('repository', args=[repository])}?show=readme")


def _page(
    request: Request,
    row: Repository,
    sent: dict[str, Any],
    *,
    error: str = "",
    preview: SafeString | None = None,
) -> HttpResponse:
    context = {
        "repository": row,
        "last_part": last_part(row),
        "sent": sent,
        "error": error,
        "preview": preview,
        "text_limit": descriptions.TEXT_LIMIT,
        "readme_limit": descriptions.README_LIMIT,
    }
    status = 422 if error else 200
    return render(request, "catalogue/repository/describe.html", context, status=status)
