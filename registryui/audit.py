"""Who did what: the only writer of audit rows.

Each row's hash covers its fields and the hash of the row before, so a row that was changed, taken
out or put in shows. Rows are written one after the other, also by several processes: the lock is
held until the caller's transaction ends, so an act and its row stand or fall together.
"""

from __future__ import annotations

import hashlib
import json
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from registryui.models import AuditEvent

NOTHING = "0" * 64  # the hash before the first row
LOCK = 0x626F6174  # any number that nothing else locks

# The address of the machine from which the act was asked for; a page's middleware sets it.
address: ContextVar[str] = ContextVar("address", default="")


@transaction.atomic
def record(
    act: str,
    target: str,
    *,
    by: str,
    result: str = AuditEvent.Result.DONE,
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Writes one row. `act`: object and verb, "tag.delete". `by`: Operator.actor, "command line",
    "schedule" or "rule NAME". `details` must be JSON and hold no secret."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    last = AuditEvent.objects.order_by("-id").values_list("hash", flat=True).first()
    row = AuditEvent(
        at=timezone.now(),
        actor=by[:255],
        address=address.get()[:64],
        act=act[:64],
        target=target[:512],
        result=result,
        details=details or {},
        previous=last or NOTHING,
    )
    row.hash = hash_of(row)
    row.save(force_insert=True)
    return row


def hash_of(row: AuditEvent) -> str:
    """What `row.hash` must be: of all its fields in a fixed form."""
    at: datetime = row.at
    fields = [
        row.previous,
        at.timestamp(),
        row.actor,
        row.address,
        row.act,
        row.target,
        row.result,
        row.details,
    ]
    text = json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
