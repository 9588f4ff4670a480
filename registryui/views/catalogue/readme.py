"""The README of a repository, on its page."""

from __future__ import annotations

from typing import Any

from django.utils.safestring import SafeString, mark_safe

from registryui import descriptions, markdown
from registryui.models import Repository
from registryui.views.access import Request
from registryui.views.plain_text import visible


def shown(_request: Request, row: Repository) -> dict[str, Any]:
    """What the list of the page shows. One query."""
    written = descriptions.of(row.name)
    return {
        "list": "catalogue/repository/_readme.html",
        "row": written,
        "readme": readme_html(written.readme),
    }


def readme_html(readme: str) -> SafeString:
    """A README as pages show it; characters that nobody sees are spelled."""
    return mark_safe(markdown.html(visible(readme[: markdown.LIMIT])))  # noqa: S308 (nh3 cleaned it)
