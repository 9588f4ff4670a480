"""All repositories: namespaces as a path, a filter, an order by any column, pages by keyset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Count, F, Value
from django.db.models.functions import StrIndex, Substr
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from registryui.index import counts
from registryui.index.counts import Counted
from registryui.mirrors import presets
from registryui.models import DailyActivity, Mirror, Quota, Repository, Role
from registryui.models.paging import page
from registryui.models.repository import RepositoryQuerySet
from registryui.views.access import Request, require_role
from registryui.views.charts import spark_line
from registryui.views.context import totals
from registryui.views.first_hour import first_steps, is_trust_opened
from registryui.views.form import Words, both_ways, one_of, read_or_default
from registryui.views.kept import keep
from registryui.views.live import index_token, not_changed, wants_fragment
from registryui.views.quotas import lines

SORTS = both_ways(
    name="name", tags="tag_count", size="size", pulls="pull_count", pushed="pushed_at"
)
SORT = "-size"
SPARK_DAYS = 30
NAMESPACE_CHIPS = 24  # chips that help; more of them are a wall


@dataclass(frozen=True, slots=True)
class Namespace:
    """A chip: the whole path (`team/apps`), its last part, and how many repositories are below."""

    path: str
    label: str
    count: int


@require_role(Role.VIEWER)
@keep(also=is_trust_opened)
def repositories(request: Request) -> HttpResponse:
    counted = counts.by_namespace()
    total = sum(one.repositories for one in counted.values())
    steps = None if total else first_steps(request, total)
    token = index_token(total, steps)
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    fields = {"q": Words(), "namespace": Words(), "sort": one_of(SORTS, SORT)}
    query, namespace, sort = read_or_default(request.GET, **fields).values()
    namespace = namespace.strip("/ ")
    below = namespaces(namespace, counted)
    found = _filtered(query, namespace)
    shown = page(found.described(), [SORTS[sort]], after=request.GET.get("after", ""))
    sparks = _sparks(shown.rows)
    biggest = Repository.objects.order_by("-size").values_list("size", flat=True).first()
    totals(request).repositories = total
    context: dict[str, Any] = {
        "page": shown,
        "rows": [
            (row, round(100 * row.size / (biggest or 1), 1), sparks.get(row.pk, ""))
            for row in shown.rows
        ],
        "query": query,
        "namespace": namespace,
        "trail": _trail(namespace),
        "namespaces": below[:NAMESPACE_CHIPS],
        "namespaces_left": len(below) - NAMESPACE_CHIPS,
        "namespace_count": len(below),
        "found": found.count() if query or namespace else total,
        "sort": sort,
        "token": token,
        "steps": steps,
        "upstreams": {
            name: presets.host_of(url) for name, url in Mirror.objects.values_list("name", "url")
        },
    }
    template = "page"
    if wants_fragment(request):
        template = "_fragment"
    elif namespace:
        context["quotas"] = lines(Quota.objects.covering(namespace))
    return render(request, f"catalogue/repositories/{template}.html", context)


def namespaces(parent: str, counted: Mapping[str, Counted]) -> list[Namespace]:
    """Namespaces one step below `parent` ("": the first parts, as counted), those of most
    repositories first. One query, or none for the first parts."""
    if parent:
        found = _below(parent)
    else:
        found = [Namespace(name, name, one.repositories) for name, one in counted.items() if name]
    return sorted(found, key=lambda one: (-one.count, one.path))


def _below(parent: str) -> list[Namespace]:
    # What follows `parent/`, up to its next slash, is the next part of the path.
    found = (
        Repository.objects.within(parent)
        .order_by()
        .annotate(rest=Substr("name", len(parent) + 2))
        .annotate(slash=StrIndex("rest", Value("/")))
        .filter(slash__gt=0)
        .values_list(Substr("rest", 1, F("slash") - 1))
        .annotate(Count("pk"))
    )
    return [Namespace(f"{parent}/{part}", part, count) for part, count in found]


def _filtered(query: str, namespace: str) -> RepositoryQuerySet:
    found = Repository.objects.all()
    if namespace:
        found = found.within(namespace)
    return found.filter(name__icontains=query) if query else found


def _trail(namespace: str) -> list[tuple[str, str]]:
    """The steps down to a namespace: ("team", "team"), ("team/apps", "apps")."""
    parts = namespace.split("/") if namespace else []
    return [("/".join(parts[: end + 1]), part) for end, part in enumerate(parts)]


def _sparks(rows: Sequence[Repository]) -> dict[int, str]:
    """Repository id -> line of its pulls a day; one query for the page. None without a pull."""
    today = timezone.now().date()
    first = today - timedelta(days=SPARK_DAYS - 1)
    known = DailyActivity.objects.filter(
        repository__in=[row.pk for row in rows], day__gte=first, pulls__gt=0
    ).values_list("repository_id", "day", "pulls")
    by_repository: dict[int, dict[date, int]] = {}
    for repository, day, pulls in known:
        by_repository.setdefault(repository, {})[day] = pulls
    days = [first + timedelta(days=step) for step in range(SPARK_DAYS)]
    return {
        repository: spark_line([pulls.get(day, 0) for day in days])
        for repository, pulls in by_repository.items()
    }
