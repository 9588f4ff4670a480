"""Search over the names of repositories and tags, and the beginnings of digests."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from registryui.index import search as index
from registryui.models import Manifest, Role
from registryui.models.paging import page

from .access import Request, needs
from .live import wants_fragment
from .plain_text import line
from .tag_rows import kind_words

SIZE = 25  # tags a page
FEW = 6  # repositories and digests: the head of their list
COUNTED = 1000  # more hits are "more than 1,000": nobody reads them, and counting takes time


@needs(Role.VIEWER)
def search(request: Request) -> HttpResponse:
    query = index.read(request.GET.get("q", ""))
    after = request.GET.get("after", "")
    context: dict[str, object] = {"query": query, "counted": COUNTED}
    if query.text:
        tags = index.tags(query)
        repositories = index.repositories(query)
        context |= {
            "page": page(tags, ["-moved_at"], after=after, size=SIZE),
            "tag_hits": tags[: COUNTED + 1].count(),
            "repositories": repositories.order_by("-pushed_at", "-id")[:FEW],
            "repository_hits": repositories[: COUNTED + 1].count(),
            "manifests": [(one, _words(one)) for one in index.manifests(query)[: FEW + 1]],
            "few": FEW,
            "is_first": not after,
        }
    template = "_fragment" if wants_fragment(request) else "page"
    return render(request, f"search/{template}.html", context)


def _words(manifest: Manifest) -> str:
    """The platform of an image, else what it is."""
    if manifest.kind == Manifest.Kind.IMAGE_INDEX:
        return _("Image index")
    return line(manifest.platform, 60) or kind_words(manifest)
