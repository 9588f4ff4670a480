"""What clients pushed: the registry's events in the form of audit rows. They are not rows of the
log, and no hash covers them. What clients deleted is in the log itself.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Func, Q, QuerySet, TextField, Value

from registryui.models import AuditEvent, RegistryEvent
from registryui.models.activity import OWN_ACT, OWN_CLIENT

PUSH, UPDATE = "client.push", "client.move"  # a tag; a tag that was on another digest
_NAME = Func(
    F("repository"),
    Value(":"),
    F("tag"),
    template="(%(expressions)s)",
    arg_joiner=" || ",
    output_field=TextField(),
)


def asked(
    *,
    actor: str = "",
    act: str = "",
    target: str = "",
    result: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[RegistryEvent]:
    """Pushes of tags that match all arguments, as `AuditEvent.objects.asked`; in any order."""
    rows = RegistryEvent.objects.filter(action="push").exclude(tag="")
    rows = rows.exclude(event_id__startswith=OWN_ACT)
    rows = rows.exclude(actor="", client__startswith=OWN_CLIENT)
    if not fit(act=act, result=result):
        return rows.none()
    if act in (PUSH, UPDATE):
        rows = rows.filter(Q(replaced="") if act == PUSH else ~Q(replaced=""))
    if actor:
        rows = rows.filter(actor=actor)
    if target:
        rows = rows.annotate(name=_NAME).filter(name__icontains=target)
    if since:
        rows = rows.filter(at__gte=since)
    return rows.filter(at__lt=until) if until else rows


def walked(
    *, actor: str, since: datetime | None, until: datetime | None
) -> QuerySet[RegistryEvent]:
    """A superset of rows that an index alone finds."""
    events = RegistryEvent.objects.all()
    rows = events.filter(actor=actor) if actor else events.filter(action="push")
    if since:
        rows = rows.filter(at__gte=since)
    return rows.filter(at__lt=until) if until else rows


def fit(*, act: str, result: str) -> bool:
    """Whether any push can match."""
    return act in ("", "client", PUSH, UPDATE) and result in ("", AuditEvent.Result.DONE)


def only(act: str) -> bool:
    """Whether only pushes can match."""
    return act in (PUSH, UPDATE)


def as_row(event: RegistryEvent) -> AuditEvent:
    """A row that is in no table, with an id below zero."""
    details = {"digest": event.digest, "replaced": event.replaced, "client": event.client}
    return AuditEvent(
        id=-event.pk,
        at=event.at,
        actor=event.actor,
        address=event.address,
        act=UPDATE if event.replaced else PUSH,
        target=f"{event.repository}:{event.tag}",
        result=AuditEvent.Result.DONE,
        details={name: value for name, value in details.items() if value},
    )
