"""What the store holds: totals, growth, and who takes how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from registryui.gc.collector import newest_runs
from registryui.index import sizes
from registryui.models import UNKNOWN, NamespaceSize, Quota, Repository, Role, StoreDay
from registryui.models.paging import page

from . import charts
from .access import Request, require_role
from .form import both_ways, one_of, read_or_default
from .gc.words import Report, counted, quarantine
from .quotas import fullest, lines

DAYS = 90
TOP = 15  # repositories
FULLEST = 5  # quotas
RUNS = 10  # newest ones of garbage collection, among which there is one that counted
SORTS = both_ways(
    name="namespace", repositories="repository_count", tags="tag_count", size="size", own="own_size"
)
SORT = "-size"


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes. All tags together name `named`; what lies on disk for them is `on_disk`."""

    on_disk: int
    shared: int  # of it, in more than one image
    blobs: int
    named: int
    measured_at: datetime

    @property
    def alone(self) -> int:
        return self.on_disk - self.shared

    @property
    def saved(self) -> int:
        return max(self.named - self.on_disk, 0)

    @property
    def shared_share(self) -> float:
        """0–1000: where the bar changes its colour is 1000 minus this."""
        return round(1000 * self.shared / self.on_disk, 1) if self.on_disk else 0

    @property
    def alone_share(self) -> float:
        return 1000 - self.shared_share


@dataclass(frozen=True, slots=True)
class Consumer:
    """A repository or a namespace; shares are per cent of the biggest one's size."""

    name: str
    size: int
    own_size: int
    share: float
    own_share: float
    tag_count: int = 0
    repository_count: int = 0

    @property
    def shared_size(self) -> int:
        return max(self.size - self.own_size, 0)


def measured() -> Storage | None:
    """The newest measurement of the worker; None before the first. One query."""
    row = sizes.newest()
    if row is None:
        return None
    return Storage(row.size, row.shared_size, row.blobs, row.named_size, row.measured_at)


@dataclass(frozen=True, slots=True)
class Freeable:
    """What garbage collection would free and what is in quarantine, as last counted."""

    estimate: Report | None  # None: none since the last garbage collection
    waiting: Report | None  # None: nothing waits


def freeable() -> Freeable:
    """By the newest runs. One query."""
    recent = newest_runs(RUNS)
    newest, waiting = counted(recent), quarantine(recent)
    return Freeable(
        newest if newest and newest.counts.dry_run and newest.counts.candidate_bytes else None,
        waiting if waiting and waiting.counts.in_quarantine_bytes else None,
    )


@require_role(Role.VIEWER)
def storage(request: Request) -> HttpResponse:
    fields = {"sort": one_of(SORTS, SORT), "top": one_of(["own"], "size")}
    sort, top = read_or_default(request.GET, **fields).values()
    after = request.GET.get("after", "")
    shown = page(NamespaceSize.objects.all(), [SORTS[sort]], after=after, size=25)
    days = _days()
    context: dict[str, Any] = {
        "storage": measured(),
        "freeable": freeable(),
        "quotas": lines(fullest(Quota.objects.all())[:FULLEST]),
        "page": shown,
        "sort": sort,
        "namespaces": _namespaces(shown.rows),
        "repositories": _top_repositories(top),
        "top": top,
        "days": days[::-1],
        "grown": days[-1][1] - days[0][1] if days else 0,
        "chart": charts.size_chart(days, width=720, height=200) if len(days) > 1 else None,
        "narrow": charts.size_chart(days, width=340, height=180) if len(days) > 1 else None,
    }
    return render(request, "storage/page.html", context)


def _days() -> list[tuple[date, int]]:
    """Bytes on disk on each day of the last DAYS since the first measured one, oldest first; a
    day on which nothing was measured is as the one before it. One query."""
    today = timezone.now().date()
    rows = StoreDay.objects.filter(measured_at__gt=UNKNOWN, day__lte=today).order_by("-day")
    known = dict(rows.values_list("day", "size")[:DAYS])
    if not known:
        return []
    first = max(min(known), today - timedelta(days=DAYS - 1))
    size = next((known[day] for day in sorted(known, reverse=True) if day <= first), 0)
    found = []
    for back in range((today - first).days, -1, -1):
        day = today - timedelta(days=back)
        size = known.get(day, size)
        found.append((day, size))
    return found


def _top_repositories(by: str) -> list[Consumer]:
    column = "own_size" if by == "own" else "size"
    rows = list(Repository.objects.order_by(f"-{column}", "-id")[:TOP])
    most = max((row.size for row in rows), default=0) or 1
    return [
        _consumer(row.name, row.size, row.own_size, most, tag_count=row.tag_count) for row in rows
    ]


def _namespaces(rows: list[NamespaceSize]) -> list[Consumer]:
    biggest = NamespaceSize.objects.order_by("-size").values_list("size", flat=True).first() or 1
    return [
        _consumer(
            row.namespace,
            row.size,
            row.own_size,
            biggest,
            tag_count=row.tag_count,
            repository_count=row.repository_count,
        )
        for row in rows
    ]


def _consumer(name: str, size: int, own: int, most: int, **counts: int) -> Consumer:
    # Size is of this moment, own size of the last measurement: never more than all of it.
    own = min(own, size)
    share = round(100 * size / most, 1)
    return Consumer(name, size, own, min(share, 100), round(100 * own / most, 1), **counts)
