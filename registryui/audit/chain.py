"""The hash chain: how a row's hash is computed, and whether all rows are unchanged.

    hash = sha256 of the JSON list [previous, at, actor, address, act, target, result, details],
           keys sorted, no spaces, all but ASCII escaped; `at` in UTC with microseconds

Anybody can compute it, also from an export. So whoever can write the table can recompute all later
hashes; then the newest one differs from that of newest.py, and from those in the service's log and
in every export. The remaining hole: somebody who can write both the database and the data folder,
for rows that are in no export and no other log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from registryui.models import AuditEvent

from . import newest

NOTHING = "0" * 64  # the hash before the first row
SHOWN = 100  # flaws that are listed; all are counted
FLOOR = timedelta(days=30)  # newer rows are never pruned; the database enforces it, too
_FIELDS = ("previous", "at", "actor", "address", "act", "target", "result", "details")


class What:
    """How the log was changed."""

    CHANGED = "changed"  # the row does not match its hash
    BROKEN = "broken"  # rows before it were removed or inserted, or it was moved
    BEGINNING = "beginning"  # rows before the first one are missing, without a pruning
    END = "end"  # the row was the newest one, and is missing or different
    PRUNED = "pruned"  # a pruning that is not allowed
    UNGUARDED = "unguarded"  # the database no longer rejects changes of the log


@dataclass(frozen=True, slots=True)
class Flaw:
    id: int  # of the row; 0: of none
    what: str


@dataclass(slots=True)
class Verdict:
    """The result of a verification."""

    rows: int = 0
    newest: str = ""  # hash of the last row
    count: int = 0  # of flaws
    flaws: list[Flaw] = field(default_factory=list)  # the first SHOWN

    @property
    def is_complete(self) -> bool:
        return not self.count

    def add(self, what: str, row: int = 0) -> None:
        self.count += 1
        if len(self.flaws) < SHOWN:
            self.flaws.append(Flaw(row, what))


def hash_of(row: AuditEvent) -> str:
    """The expected `row.hash`."""
    return _hash([getattr(row, name) for name in _FIELDS])


def _hash(values: list[Any]) -> str:
    """Of the fields in the order of _FIELDS."""
    at: datetime = values[1]
    values[1] = at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def verify() -> Verdict:
    """Verifies all rows, oldest first, in constant memory; 100,000 take about a second.

    One statement, so that concurrent writes and prunings do not matter.
    """
    noted: dict[int, set[str]] = {}
    for number, digest in newest.read():  # first: recorded rows are in the table by now
        noted.setdefault(number, set()).add(digest)
    verdict = Verdict()
    beginning: tuple[int, str] | None = (
        None  # the first row and what it follows, if it is not the start
    )
    pruned_to = 0
    for number, values, stored in _rows():
        verdict.rows += 1
        previous = values[0]
        if verdict.rows == 1 and previous != NOTHING:
            beginning = (number, previous)
        elif verdict.rows > 1 and previous != verdict.newest:
            verdict.add(What.BROKEN, number)
        at, act = values[1], values[4]
        details = values[7] if isinstance(values[7], dict) else {}
        if _hash(values) != stored:
            verdict.add(What.CHANGED, number)
        elif act == "audit.prune":
            pruned_to = max(pruned_to, _pruned_to(details))
            if not _is_allowed(at, details):
                verdict.add(What.PRUNED, number)
            if beginning and _explains(details, *beginning):
                beginning = None
        verdict.newest = stored
        if noted.pop(number, {stored}) != {stored}:
            verdict.add(What.END, number)
    if beginning:
        verdict.add(What.BEGINNING, beginning[0])
    for number in sorted(noted):
        if number > pruned_to:
            verdict.add(What.END, number)
    if not is_guarded():
        verdict.add(What.UNGUARDED)
    return verdict


def _rows() -> Iterator[tuple[int, list[Any], str]]:
    """Number, fields and stored hash of each row."""
    rows = AuditEvent.objects.order_by("id").values_list("id", *_FIELDS, "hash")
    for number, *values, stored in rows.iterator(chunk_size=2000):
        yield number, values, stored


def _explains(details: dict[str, Any], first: int, previous: str) -> bool:
    """Whether that pruning explains the missing rows before `first`. An interrupted one has left
    rows that it could have deleted."""
    through = _pruned_to(details)
    return through >= first or details.get("hash") == previous


def _is_allowed(at: datetime, details: dict[str, Any]) -> bool:
    try:
        return at - datetime.fromisoformat(str(details.get("before"))) >= FLOOR
    except (ValueError, TypeError):
        return False


def _pruned_to(details: dict[str, Any]) -> int:
    through = details.get("through")
    return through if isinstance(through, int) else 0


# From migration 0011: allows a delete only if a later row says that it was pruned.
_TRIGGERS = {
    "sqlite": (
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name IN"
        " ('registryui_audit_no_update', 'registryui_audit_no_delete')",
        2,
    ),
    "postgresql": (
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'registryui_auditevent'::regclass"
        " AND tgname IN ('registryui_audit_rows', 'registryui_audit_all') AND tgenabled <> 'D'",
        2,
    ),
}


def is_guarded() -> bool:
    """Whether the database rejects UPDATE and DELETE in the log."""
    sql, wanted = _TRIGGERS[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return bool(cursor.fetchone()[0] == wanted)
