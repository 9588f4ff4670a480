"""Beginnings that are folded into their end: a person reads one row for each act.

The log keeps both, so that an act which was cut off is known; exports have both, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import OuterRef, QuerySet, Subquery

from registryui.models import AuditEvent

DELETE, IMPORT = "delete.begin", "import.begin"
_DELETED = ("tag.delete", "manifest.delete", "manifest.delete_for_good")
_IMPORTED = "import.end"


def folded(rows: Sequence[AuditEvent]) -> list[AuditEvent]:
    """The rows without beginnings whose end is in the log, be it in these rows or not. A query for
    each kind of beginning."""
    ended = _ended_deletes([row for row in rows if row.act == DELETE])
    ended |= _ended_imports([row.pk for row in rows if row.act == IMPORT])
    return [row for row in rows if row.pk not in ended]


def _ended_deletes(begins: Sequence[AuditEvent]) -> set[int]:
    """The ids of those that came at least as far as the first that they named."""
    if not begins:
        return set()
    wanted = {(_first(row), row.details.get("act")): row.pk for row in begins}
    ends = AuditEvent.objects.filter(
        act__in=_DELETED,
        target__in={target for target, _act in wanted},
        id__gt=min(wanted.values()),
    )
    found = ends.values_list("target", "details__act")
    return {wanted[one] for one in found if one in wanted}


def _first(begin: AuditEvent) -> str:
    """The target of the row that is written for what it deletes first."""
    repository = begin.target.partition("@")[0].partition(":")[0]
    if repository != begin.target:  # one tag or manifest
        return begin.target
    name = next(iter(begin.details.get("names", ())), "")
    return f"{repository}{'@' if ':' in name else ':'}{name}"


def _ended_imports(begins: Sequence[int]) -> set[int]:
    """The ids of those that an end follows before another one begins: they run one at a time."""
    if not begins:
        return set()
    rows = AuditEvent.objects.filter(pk__in=begins)
    found = rows.values_list("pk", _next(_IMPORTED), _next(IMPORT))
    return {pk for pk, end, begin in found if end and (begin is None or end < begin)}


def _next(act: str) -> Subquery:
    later: QuerySet[AuditEvent] = AuditEvent.objects.filter(act=act, id__gt=OuterRef("pk"))
    return Subquery(later.order_by("id").values("pk")[:1])
