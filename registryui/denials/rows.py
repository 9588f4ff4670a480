"""Denials in the form of audit rows, for the page of activity. They are not rows of the log, and no
hash covers them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from registryui.models import AuditEvent, Denial

GROUP = "denial"
_FIRST_ID = -(2**60)  # no other row that is in no table has such an id


def asked(
    *,
    actor: str = "",
    act: str = "",
    target: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[Denial]:
    """Denials that match all arguments, as `AuditEvent.objects.asked`; in any order. Of a row the
    last refusal counts."""
    rows = Denial.objects.all()
    if action := act.partition(".")[2]:
        rows = rows.filter(action=action if action in Denial.Action.values else "")
    if actor:
        rows = rows.filter(actor=actor)
    if target:
        rows = rows.filter(repository__icontains=target)
    if since:
        rows = rows.filter(at__gte=since)
    return rows.filter(at__lt=until) if until else rows


def only(act: str) -> bool:
    """Whether only denials can match."""
    return act.partition(".")[0] == GROUP


def fit(*, act: str, result: str) -> bool:
    """Whether denials are asked for. Unasked, a flood of them would fill the pages of acts."""
    refused = AuditEvent.Result.REFUSED
    return result in ("", refused) if only(act) else not act and result == refused


def as_row(denial: Denial) -> AuditEvent:
    """A row that is in no table."""
    details = {
        "reason": denial.reason,
        "times": denial.count,
        "first": denial.first_at.isoformat(timespec="seconds"),
        "client": denial.client,
    }
    return AuditEvent(
        id=_FIRST_ID - denial.pk,
        at=denial.at,
        actor=denial.actor,
        address=denial.address,
        act=f"{GROUP}.{denial.action or 'others'}",
        target=denial.repository,
        result=AuditEvent.Result.REFUSED,
        details={name: value for name, value in details.items() if value},
    )
