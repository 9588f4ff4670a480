"""What pages and commands show of denials: who was refused what, and why, added up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Min, Q, QuerySet, Sum

from registryui.models import Denial

_SAME = ("actor", "repository", "action", "reason")


@dataclass(frozen=True, slots=True)
class Denied:
    """Denials of the last 30 days that differ in address and client only."""

    actor: str
    repository: str
    action: str
    reason: str
    count: int
    first_at: datetime
    at: datetime  # of the last one
    addresses: int
    address: str  # of the last one; "": too many to be told apart
    client: str  # of the last one

    @property
    def is_others(self) -> bool:
        """Whether these were too many to be told apart."""
        return not self.address


def denied(rows: QuerySet[Denial], *, most: int) -> list[Denied]:
    """At most so many, the latest first. Two queries."""
    sums = (
        rows.order_by()
        .values(*_SAME)
        .annotate(
            times=Sum("count"),
            first=Min("first_at"),
            last=Max("at"),
            addresses=Count("address", distinct=True, filter=~Q(address="")),
        )
        .order_by("-last", *_SAME)[:most]
    )
    groups = list(sums)
    newest: dict[tuple[str, ...], Denial] = {}
    for row in rows.filter(at__in={one["last"] for one in groups}).order_by("at", "address"):
        newest[tuple(getattr(row, name) for name in _SAME)] = row
    found = []
    for one in groups:
        last = newest.get(tuple(one[name] for name in _SAME))
        found.append(
            Denied(
                **{name: one[name] for name in (*_SAME, "addresses")},
                count=one["times"],
                first_at=one["first"],
                at=one["last"],
                address=last.address if last else "",
                client=last.client if last else "",
            )
        )
    return found
