"""The verification of the log, daily or by an operator: its result is a row, too."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from registryui.models import AuditEvent

from . import record
from .chain import Verdict, verify

log = logging.getLogger(__name__)

NAMED = 10  # flaws in the row; all are counted


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of the newest check."""

    at: datetime
    rows: int
    count: int  # of flaws
    flaws: tuple[tuple[str, int], ...]  # chain.What and the row's id, the first NAMED


def check(*, by: str) -> Verdict:
    """Verifies all rows and records the result."""
    found = verify()
    if not found.is_complete:
        log.error("the audit log fails verification: %d flaws", found.count)
    record(
        "audit.verify",
        "",
        by=by,
        result=AuditEvent.Result.DONE if found.is_complete else AuditEvent.Result.FAILED,
        details={
            "rows": found.rows,
            "newest": found.newest,
            "count": found.count,
            "flaws": [[flaw.what, flaw.id] for flaw in found.flaws[:NAMED]],
        },
    )
    return found


def newest_check() -> Checked | None:
    """None: the log was never checked. If that row itself was changed, that is a flaw."""
    row = AuditEvent.objects.filter(act="audit.verify").order_by("-id").first()
    if row is None:
        return None
    try:
        rows, count = int(row.details["rows"]), int(row.details["count"])
        flaws = tuple((str(what), int(number)) for what, number in row.details["flaws"])
    except (TypeError, ValueError, KeyError):
        rows, count, flaws = 0, 1, ()
    return Checked(row.at, rows, count, flaws)
