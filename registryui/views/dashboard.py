"""The overview: is all well, what is there, what changed, what is big?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from registryui import doctor
from registryui.accounts import drift, publish
from registryui.index import counts
from registryui.models import (
    UNKNOWN,
    ImageIndexEntry,
    Manifest,
    Repository,
    Role,
    StoreDay,
    Tag,
)

from . import charts
from .access import Request, require_role
from .catalogue.media_words import media_words
from .context import totals
from .first_hour import first_steps, is_trust_opened
from .kept import keep
from .live import index_token, not_changed, wants_fragment
from .storage import measured

DAYS = 30
LATEST = 7  # the last two only where the page is very wide
BIGGEST = 14
BARS = 7  # of them on phones
# Lights that are always shown; the others only when they are not green.
STRIP = ("registry", "proxy", "index", "certificate", "disk")


@dataclass(frozen=True, slots=True)
class Light:
    state: str  # ok, warn, bad
    words: doctor.Words


@dataclass(frozen=True, slots=True)
class Push:
    tag: Tag
    note: str  # "3 platforms", "linux/amd64", "Helm chart"; "" if nothing is known


def _files() -> tuple[int, ...]:
    """What changes with an edit by hand, which the overview tells of, and with the first steps."""
    stamp = publish.stamp() if settings.HTPASSWD_FILE.exists() else ()
    return (is_trust_opened(), *stamp)


@require_role(Role.VIEWER)
@keep(also=_files)
def dashboard(request: Request) -> HttpResponse:
    counted = counts.of_store()
    steps = first_steps(request, counted.repositories)
    token = index_token(counted.repositories, steps)
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    context: dict[str, Any] = {"token": token, "drift_count": _drift_count(request), **_health()}
    context["steps"] = steps
    context["figures"] = counted
    totals(request).repositories = counted.repositories
    if counted.repositories:
        days = _days()
        biggest = list(
            Repository.objects.filter(size__gt=0)
            .order_by("-size", "-id")
            .values_list("name", "size")[:BIGGEST]
        )
        context |= {
            "days": days[::-1],
            "pulls": sum(day.pulls for day in days),
            "pushes": sum(day.pushes for day in days),
            "wide": charts.activity_chart(days, width=720, height=300),
            "narrow": charts.activity_chart(days, width=340, height=230),
            "storage": measured(),
            "latest": _latest(),
            "tiles": charts.tree_map(biggest),
            "bars": [
                (name, size, round(100 * size / biggest[0][1], 1)) for name, size in biggest[:BARS]
            ],
            "namespaces": _namespaces(biggest),
        }
    template = "_fragment" if wants_fragment(request) else "page"
    return render(request, f"dashboard/{template}.html", context)


def _drift_count(request: Request) -> int:
    """Lines of the htpasswd file that somebody changed by hand, for those who can do something."""
    return len(drift.find()) if request.user.has_role(Role.ADMIN) else 0


def _health() -> dict[str, Any]:
    """The lights, and the one sentence on top of the page."""
    findings = doctor.current()
    needing = [doctor.texts(one).title for one in findings if one.state != "ok"]
    lights = [
        Light(one.state, doctor.texts(one))
        for one in findings
        if one.name in STRIP or one.state != "ok"
    ]
    if not any(one.name in STRIP for one in findings):
        sentence = _("No health check has run yet. The worker runs one every minute.")
    elif not needing:
        sentence = _("All systems healthy")
    else:
        sentence = ngettext(
            "One system needs attention: %(names)s.",
            "%(count)d systems need attention: %(names)s.",
            len(needing),
        ) % {
            "count": len(needing),
            "names": pgettext("between names in a list", ", ").join(needing),
        }
    return {"lights": lights, "sentence": sentence}


def _days() -> list[charts.Day]:
    today = timezone.now().date()
    first = today - timedelta(days=DAYS - 1)
    known = StoreDay.objects.filter(day__gte=first).values_list("day", "pulls", "pushes")
    return charts.days_until(today, DAYS, (charts.Day(*row) for row in known))


def _latest() -> list[Push]:
    """The newest tags that an event told of; referrer tags are listed with their image."""
    tags = list(
        Tag.objects.filter(refers_to="", tagged_at__gt=UNKNOWN)
        .select_related("repository", "manifest")
        .only(
            *("name", "tagged_at", "tagged_by", "size", "repository__name", "manifest__kind"),
            *("manifest__os", "manifest__architecture", "manifest__variant"),
            *("manifest__media_type", "manifest__artifact_type"),
        )
        .order_by("-tagged_at", "-id")[:LATEST]
    )
    platforms = dict(
        # BuildKit's attestations are in an image index as platform unknown/unknown.
        ImageIndexEntry.objects.filter(image_index__in=[tag.manifest_id for tag in tags])
        .exclude(os__in=("", "unknown"))
        .order_by()
        .values_list("image_index")
        .annotate(Count("pk"))
    )
    return [Push(tag, _note(tag.manifest, platforms)) for tag in tags]


def _note(manifest: Manifest | None, platforms: dict[int, int]) -> str:
    if manifest is None:
        return ""
    if manifest.kind == Manifest.Kind.IMAGE_INDEX:
        count = platforms.get(manifest.pk, 0)
        return ngettext("%(count)d platform", "%(count)d platforms", count) % {"count": count}
    return manifest.platform or media_words(manifest.artifact_type or manifest.media_type)


def _namespaces(biggest: Sequence[tuple[str, int]]) -> list[str]:
    """The namespaces of the tree map, that of the biggest repository first."""
    return list(dict.fromkeys(name.split("/")[0] for name, _size in biggest if "/" in name))
