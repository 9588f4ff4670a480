"""Adds a tag to an image, in its repository or in another one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from registryui.deletion.restore import Taken
from registryui.imports.promote import add_tag
from registryui.models import Manifest, Role
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.catalogue.repository import missing
from registryui.views.form import Words, one_of, read_or_default


@require_role(Role.MAINTAINER, methods=("GET", "POST"))
def tag_add(request: Request, repository: str, digest: str) -> HttpResponse:
    """The form; a POST does it."""
    if not Manifest.objects.filter(repository__name=repository, digest=digest).exists():
        return missing(request, repository, reference=digest)
    if request.method != "POST":
        return _page(request, repository, digest, {"repository": repository})
    sent = read_or_default(
        request.POST, repository=Words(), tag=Words(max_length=128), replace=one_of(["1"])
    )
    try:
        add_tag(
            *(repository, digest, sent["repository"], sent["tag"]),
            by=request.user.actor,
            replace=bool(sent["replace"]),
        )
    except Taken as error:
        return _page(request, repository, digest, sent, error=str(error), taken=error.digest)
    except Refused as error:
        return _page(request, repository, digest, sent, error=str(error))
    name = f"{sent['repository']}:{sent['tag']}"
    messages.success(request, _("Tagged %(name)s") % {"name": name})
    return redirect("tag", sent["repository"], sent["tag"])


def _page(
    request: Request,
    repository: str,
    digest: str,
    sent: dict[str, Any],
    *,
    error: str = "",
    taken: str = "",
) -> HttpResponse:
    context = {
        "repository": repository,
        "digest": digest,
        "sent": sent,
        "error": error,
        "taken": taken,
    }
    return render(request, "catalogue/tag/add.html", context, status=409 if error else 200)
