"""Who did what: the only writer of audit rows.

    __init__.py  writes a row
    chain.py     the hash chain of the rows, and its verification
    newest.py    a record of the newest row outside the table, to detect a truncated log
    prune.py     the pruning of old rows, the only way to delete them
    pushes.py    what clients pushed: rows for pages and exports, not in the log

Each row's hash covers its fields and the hash of the row before, so a changed, removed or inserted
row is detected. Rows are written one after the other, also by several processes: the lock is held
until the caller's transaction ends, so an action and its row are atomic. Write a row last in the
transaction, to avoid deadlocks with other row locks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from registryui.models import AuditEvent

from . import newest
from .chain import NOTHING, hash_of

__all__ = [
    "NOTHING",
    "Entry",
    "address",
    "asked_from",
    "hash_of",
    "record",
    "record_each",
    "record_entries",
]

LOCK = 0x626F6174  # any unused number

# The client address of the action; "": none, or unknown.
address: ContextVar[str] = ContextVar("address", default="")


@contextmanager
def asked_from(machine: str) -> Iterator[None]:
    """The client address for rows in this block: set by the middleware, and in jobs that a page has
    started (which get it as an argument)."""
    token = address.set(machine)
    try:
        yield
    finally:
        address.reset(token)


def record(
    act: str,
    target: str,
    *,
    by: str,
    result: str = AuditEvent.Result.DONE,
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Writes one row. `act`: object and verb, "tag.delete". `by`: Operator.actor, "command line",
    "schedule" or "policy NAME"; "": unknown. `details` must not contain secrets."""
    return record_each(act, [target], by=by, result=result, details=details)[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to write, as for `record`. `address`: the client's, if it was no page."""

    act: str
    target: str
    by: str
    result: str = AuditEvent.Result.DONE
    details: dict[str, Any] = field(default_factory=dict)
    address: str = ""


def record_each(
    act: str,
    targets: Sequence[str],
    *,
    by: str,
    result: str = AuditEvent.Result.DONE,
    details: dict[str, Any] | None = None,
) -> list[AuditEvent]:
    """One row for each target, as `record`; three queries for all of them."""
    return record_entries([Entry(act, one, by, result, details or {}) for one in targets])


@transaction.atomic
def record_entries(entries: Sequence[Entry]) -> list[AuditEvent]:
    """A row for each of these, in their order; three queries for all of them."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    last = AuditEvent.objects.order_by("-id").values_list("hash", flat=True).first()
    rows = []
    for entry in entries:
        row = AuditEvent(
            at=timezone.now(),
            actor=_plain(entry.by)[:255],
            address=_plain(entry.address or address.get())[:64],
            act=_plain(entry.act)[:64],
            target=_plain(entry.target)[:512],
            result=entry.result,
            details=_plain(entry.details),
            previous=last or NOTHING,
        )
        row.hash = last = hash_of(row)
        rows.append(row)
    AuditEvent.objects.bulk_create(rows, batch_size=500)
    if rows:
        first, row = rows[0], rows[-1]
        transaction.on_commit(lambda: newest.note(row, first.previous), robust=True)
    return rows


def _plain(value: Any) -> Any:
    """The value as both databases return it, or the hash would differ: no NUL or lone surrogates in
    a text, no number that one of them writes in another way."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return (
            int(value)
            if value.is_integer()
            else round(value, 6)
            if abs(value) < 1e9
            else str(value)
        )
    if isinstance(value, dict):
        return {_plain(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return _plain(str(value))
