"""What every page's template gets: who is looking, the navigation, the theme."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from registryui.deletion import restore
from registryui.index import counts
from registryui.models import Operator, Protection

from .access import may_open
from .parts import banner

THEME_COOKIE = "__Host-boathouse_theme"
STEPS_COOKIE = "__Host-boathouse_first_steps"  # there: dismissed (first_hour.py)
THEMES = ("light", "dark")  # no cookie: as the system says

# Group, then the pages in it: URL name, icon, label, other pages below it. A name that
# portal/urls.py lacks is left out.
_NAVIGATION: tuple[tuple[Any, tuple[tuple[str, str, Any, tuple[str, ...]], ...]], ...] = (
    (
        "",
        (
            ("dashboard", "layout-dashboard", _("Overview"), ()),
            (
                "repositories",
                "boxes",
                _("Repositories"),
                (
                    *("repository", "tag", "manifest", "compare", "layer"),
                    *("delete", "delete_run", "purge_manifest"),
                ),
            ),
            ("mirrors", "cloud-download", _("Mirrors"), ("mirror", "mirror_tags")),
            ("search", "search", _("Search"), ()),
            ("activity", "history", _("Activity"), ()),
        ),
    ),
    (
        _("Access"),
        (
            (
                *("users", "key-round", _("Registry users")),
                ("user", "user_setup", "htpasswd_history", "htpasswd_file"),
            ),
            ("operators", "user-cog", _("Operators"), ("operator",)),
            ("trust", "shield-check", _("Trust this registry"), ()),
        ),
    ),
    (
        _("Maintenance"),
        (
            (
                *("retention", "recycle", _("Retention and GC")),
                (
                    *("retention_run", "gc", "gc_run", "gc_purge"),
                    *("integrity_run", "recently_deleted", "restore", "protected"),
                ),
            ),
            ("imports", "download", _("Imports"), ("import_run",)),
            ("backups", "archive", _("Backups"), ()),
            ("storage", "hard-drive", _("Storage"), ()),
            ("doctor", "heart-pulse", _("Health"), ()),
            ("notifications", "bell", _("Notifications"), ("receiver",)),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Link:
    """One line of the navigation."""

    name: str
    url: str
    icon: str
    label: Any
    is_current: bool


@dataclass(frozen=True, slots=True)
class May:
    """`{% if may.doctor %}`: may this person open the page of that URL name?"""

    user: Operator | AnonymousUser

    def __getitem__(self, name: str) -> bool:
        return may_open(self.user, name)


class Totals:
    """What pages say of everything. Each is counted when it is first asked for; a view that has
    counted already says so: `totals(request).repositories = 12`."""

    @cached_property
    def repositories(self) -> int:
        return counts.of_store().repositories

    @cached_property
    def deleted(self) -> int:
        """Tags that can be restored."""
        return restore.restorable().count()

    @cached_property
    def protected(self) -> int:
        """Patterns of protected tags."""
        return Protection.objects.count()


def totals(request: HttpRequest) -> Totals:
    """Those of this request, for its view and its templates."""
    found: Totals = request.__dict__.setdefault("totals", Totals())
    return found


def page(request: HttpRequest) -> dict[str, Any]:
    """What no view may name otherwise: Django puts it over what the view gives."""
    user = getattr(request, "user", None) or AnonymousUser()
    match = getattr(request, "resolver_match", None)
    here = match.url_name if match else ""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "operator": user if isinstance(user, Operator) else None,
        "may": May(user),
        "nav": cache(lambda: _navigation(user, here)),
        "here": here,
        "theme": theme if theme in THEMES else "",
        "registry_name": settings.REGISTRY_NAME,
        "public_url": settings.PUBLIC_URL,
        "totals": totals(request),
        "outage": cache(banner),
    }


def _navigation(user: Operator | AnonymousUser, here: str | None) -> list[tuple[Any, list[Link]]]:
    groups = [
        (
            group,
            [
                Link(name, reverse(name), icon, label, here == name or here in below)
                for name, icon, label, below in links
                if may_open(user, name)
            ],
        )
        for group, links in _NAVIGATION
    ]
    return [(group, links) for group, links in groups if links]
