"""Which images have a layer: all of the registry, however many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import render

from registryui.models import Blob, Manifest, ManifestBlob, Role
from registryui.models.paging import Page
from registryui.models.paging import page as keyset_page
from registryui.views.access import Request, require_role
from registryui.views.plain_text import line

from . import related
from .tag_rows import Group, kind_words


@dataclass(frozen=True, slots=True)
class UserRow:
    """A manifest with the layer at `position`, counted from 1 at the base; 0: it is its config."""

    manifest: Manifest
    position: int
    platform: str
    kind: str
    tags: Group | None


@require_role(Role.VIEWER)
def layer(request: Request, digest: str) -> HttpResponse:
    """Images by the height of the layer in them: those whose base it is come first."""
    blob = Blob.objects.filter(Q(digest=digest) | Q(names__digest=digest)).first()
    if blob is None:
        raise Http404
    page: Page[ManifestBlob] = keyset_page(
        ManifestBlob.objects.filter(blob=blob)
        .select_related("manifest__repository")
        .defer("manifest__raw", "manifest__config", "manifest__annotations"),
        ("position", "id"),
        after=request.GET.get("after", ""),
    )
    groups = related.tag_groups([edge.manifest_id for edge in page.rows])
    context: dict[str, Any] = {
        "blob": blob,
        "page": page,
        "rows": [
            UserRow(
                edge.manifest,
                edge.position + 1 if edge.role == ManifestBlob.Role.LAYER else 0,
                line(edge.manifest.platform, 60),
                kind_words(edge.manifest),
                groups.get(edge.manifest_id),
            )
            for edge in page.rows
        ],
    }
    return render(request, "catalogue/layer/page.html", context)
