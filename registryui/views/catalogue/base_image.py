"""What an image is based on. Looked for when its layers are shown, in a request of its own, so that
the page of a tag does not wait for it."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from registryui.index import bases
from registryui.models import Manifest, Role
from registryui.oci.digest import short
from registryui.views.access import Request, require_role


@require_role(Role.VIEWER)
def base_image(request: Request, repository: str, digest: str) -> HttpResponse:
    """The line above the layers, for htmx; without it, the way to the base image."""
    row = (
        Manifest.objects.select_related("repository")
        .filter(repository__name=repository, digest=digest)
        .first()
    )
    if row is None:
        raise Http404
    found = bases.base_of(row)
    if request.htmx:
        context = {"base": found, "shown": row, "on_top": row.size - found.size if found else 0}
        return render(request, "catalogue/tag/_base.html", context)
    if found is None:
        words = _("%(name)s is not based on any tagged image of this registry.")
        messages.info(request, words % {"name": f"{repository}@{short(digest)}"})
        return redirect("manifest", repository=repository, digest=digest)
    return redirect("tag", repository=found.repository, tag=found.tag)
