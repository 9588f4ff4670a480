"""The pieces that pages are made of, on one page: for those who write templates."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import render

from registryui.models import Repository, Role
from registryui.models.paging import Page

from .access import Request, require_role


@require_role(Role.VIEWER)
def components(request: Request) -> HttpResponse:
    """Each macro of components/macros.html, in English; 404 where nobody develops."""
    if not settings.DEVELOPER_PAGES:
        raise Http404
    page: Page[Repository] = Page(rows=[], previous="before", next="after")
    shown = {"page": page, "sort": "-size", "behind": "dialog" in request.GET}
    return render(request, "components/page.html", shown)
