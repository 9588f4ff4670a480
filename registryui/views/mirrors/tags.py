"""What an upstream would have of one repository, asked when somebody opens the page."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from registryui.mirrors import presets, upstream
from registryui.models import Mirror, Role, Tag
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import LONGEST, Words, read_or_default


@require_role(Role.VIEWER)
def mirror_tags(request: Request, pk: int) -> HttpResponse:
    """The tags of ?repository= at the upstream, and which of them are here."""
    row = get_object_or_404(Mirror, pk=pk)
    asked = read_or_default(request.GET, repository=Words())["repository"]
    repository = asked.removeprefix(f"{row.name}/")
    found, error = None, ""
    if repository:
        try:
            found = upstream.tags(row, repository)
        except Refused as refused:
            error = str(refused)
    name = f"{row.name}/{repository}"
    here = Tag.objects.filter(repository__name=name) if found else Tag.objects.none()
    context = {
        "row": row,
        "host": presets.host_of(row.url),
        "repository": repository,
        "name": name,
        "found": found,
        "stored": frozenset(here.values_list("name", flat=True)),
        "error": error,
        "pull": f"docker pull {settings.REGISTRY_NAME}/{name}",
        "longest": LONGEST,
    }
    return render(request, "mirrors/tags.html", context, status=422 if error else 200)
