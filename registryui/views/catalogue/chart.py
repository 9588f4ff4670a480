"""A Helm chart: its facts, and what its layer says, read by a request of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render

from registryui import descriptions, helm
from registryui.models import Manifest, Role
from registryui.oci import media_types
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.plain_text import Shown, line, shown

from .readme import readme_html


def is_chart(row: Manifest | None) -> bool:
    """Whether it is a Helm chart."""
    return row is not None and row.artifact_type == media_types.HELM_CONFIG


@dataclass(frozen=True, slots=True)
class Facts:
    """A chart's facts as a page shows them."""

    name: str
    version: str
    app_version: str
    description: str
    kube_version: str
    links: tuple[descriptions.Link, ...]
    is_deprecated: bool


def facts(row: Manifest) -> Facts:
    """What the chart's config says."""
    found = helm.chart(row.config)
    links = filter(None, map(descriptions.link, dict.fromkeys((found.home, *found.sources))))
    return Facts(
        name=line(found.name),
        version=line(found.version),
        app_version=line(found.app_version),
        description=line(found.description, 2000),
        kube_version=line(found.kube_version),
        links=tuple(links),
        is_deprecated=found.is_deprecated,
    )


@require_role(Role.VIEWER)
def chart(request: Request, repository: str, digest: str) -> HttpResponse:
    """README and values: for htmx the fragment, else a page of them alone."""
    row = (
        Manifest.objects.select_related("repository")
        .filter(repository__name=repository, digest=digest)
        .first()
    )
    if row is None or not is_chart(row):
        raise Http404
    context: dict[str, Any] = {"repository": row.repository, "shown": row}
    try:
        found = helm.files(repository, bytes(row.raw), row.media_type)
    except Refused as error:
        context["error"] = str(error)
    else:
        context |= {
            "readme": found.readme,
            "is_markdown": found.readme is not None and found.readme.name.lower().endswith(".md"),
            "readme_html": readme_html(found.readme.text) if found.readme else "",
            "readme_text": _shown(found.readme),
            "values": _shown(found.values),
        }
    template = "catalogue/tag/_chart_files.html" if request.htmx else "catalogue/tag/chart.html"
    return render(request, template, context)


def _shown(file: helm.File | None) -> Shown | None:
    if file is None:
        return None
    text = shown(file.text, helm.TEXT_LIMIT)
    return Shown(text.text, file.is_cut)
