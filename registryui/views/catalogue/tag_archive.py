"""A tag as an OCI archive: for Docker and skopeo on a machine that cannot reach this registry."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect

from registryui.exports import downloads
from registryui.models import Role
from registryui.refused import Refused
from registryui.views.access import Request, require_role


@require_role(Role.VIEWER, methods=("POST",))
def tag_archive(request: Request, repository: str, tag: str) -> HttpResponseBase:
    """The archive, as it is made. A form asks for it: it takes a thread, and is in the audit
    log."""
    try:
        found = downloads.tag(repository, tag, by=request.user.actor)
    except Refused as error:
        messages.error(request, str(error))
        return redirect("tag", repository, tag)
    name = f"{repository.replace('/', '-')}-{tag}.tar"
    return StreamingHttpResponse(
        found,
        content_type="application/x-tar",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(found.size),
            "X-Accel-Buffering": "no",  # nginx would write it to the disk
        },
    )
