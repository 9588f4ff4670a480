"""Pushes and deletes of repositories, for the receivers that want them.

Pushes come from the registry's notifications, once they are applied; deletes from the audit log,
whose rows are in order: each receiver knows up to which one they were queued.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from registryui.models import AuditEvent, Receiver, RegistryEvent
from registryui.oci import patterns

from . import deliveries, messages

ACTS = (
    *("tag.delete", "manifest.delete", "manifest.delete_for_good"),
    *("client.delete", "client.delete_manifest"),
)
BATCH = 1000  # rows of the audit log at once


def queue_pushes(events: Sequence[RegistryEvent]) -> None:
    """Queues those of these events that are pushes of a tag. No query without one."""
    pushes = [one for one in events if one.action == "push" and one.tag and not one.is_ours]
    if not pushes:
        return
    for receiver in Receiver.objects.filter(is_active=True, has_pushes=True):
        wanted = [one for one in pushes if is_wanted(receiver, one.repository)]
        deliveries.queue_events(receiver, [messages.pushed(one) for one in wanted])


def queue_deletes(receivers: Sequence[Receiver]) -> None:
    """Queues what the audit log has of deletes since the last call. One query if it is nothing."""
    wanting = [one for one in receivers if one.has_deletes]
    if not wanting:
        return
    since = min(one.audit_row for one in wanting)
    rows = list(AuditEvent.objects.filter(id__gt=since).order_by("id")[:BATCH])
    if not rows:
        return
    deletes = [row for row in rows if row.act in ACTS and row.result == AuditEvent.Result.DONE]
    with transaction.atomic():
        for receiver in wanting:
            wanted = [
                row
                for row in deletes
                if row.pk > receiver.audit_row and is_wanted(receiver, messages.target(row)[0])
            ]
            deliveries.queue_events(receiver, [messages.deleted(row) for row in wanted])
        pks = [one.pk for one in wanting]
        Receiver.objects.filter(pk__in=pks, audit_row__lt=rows[-1].pk).update(audit_row=rows[-1].pk)


def newest_row() -> int:
    """The id of the newest row of the audit log; 0 if it is empty."""
    return AuditEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0


def is_wanted(receiver: Receiver, repository: str) -> bool:
    """Whether the receiver wants to know of that repository."""
    return not receiver.repositories or patterns.matcher(receiver.repositories)(repository)
