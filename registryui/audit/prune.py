"""The pruning of old audit rows.

First a row `audit.prune` is written with the rows to delete and the hash of the last of them; then
they are deleted. The database allows that only if such a later row exists and the row is older than
the floor: every deletion leaves a row about it. If it is killed in between, the next pruning
continues.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from registryui.models import AuditEvent

from . import record
from .chain import FLOOR

log = logging.getLogger(__name__)

PIECE = 5000  # rows of one transaction: others write in between


def prune() -> int:
    """Deletes rows that are older than AUDIT_DAYS (0: none); returns how many."""
    if not settings.AUDIT_DAYS:
        return 0
    before = timezone.now() - max(timedelta(days=settings.AUDIT_DAYS), FLOOR)
    through = _last_before(before)
    if through is not None:
        rows = AuditEvent.objects.filter(id__lte=through.pk).count()
        record(
            "audit.prune",
            "",
            by="schedule",
            details={
                "through": through.pk,
                "hash": through.hash,
                "before": before.isoformat(timespec="seconds"),
                "rows": rows,
                "days": settings.AUDIT_DAYS,
            },
        )
    return _take_away()


def _last_before(before: object) -> AuditEvent | None:
    """The last of the rows at the beginning that are all older than that."""
    rows = AuditEvent.objects.order_by("id")
    first_kept = rows.filter(at__gte=before).values_list("id", flat=True).first()
    old = rows if first_kept is None else rows.filter(id__lt=first_kept)
    return old.last()


def _take_away() -> int:
    """Deletes what the prunings so far allow; also what a killed one has left."""
    last = AuditEvent.objects.filter(act="audit.prune").order_by("-id").first()
    through = last.details.get("through") if last else None
    if not isinstance(through, int):
        return 0
    gone = 0
    while True:
        with transaction.atomic():
            ids = AuditEvent.objects.filter(id__lte=through).order_by("id")
            piece = list(ids.values_list("id", flat=True)[:PIECE])
            if not piece:
                break
            gone += AuditEvent.objects.filter(id__lte=piece[-1]).delete()[0]
    if gone:
        log.info("audit log: %d rows pruned", gone)
    return gone
