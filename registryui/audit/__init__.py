"""Who did what: the only writer of audit rows.

    __init__.py  writes a row
    chain.py     the hash that joins each row to the one before; is the chain whole?
    newest.py    a note of the newest row outside the table, so that a cut-off end shows
    prune.py     the rule by which old rows go, and the only way that they can
    pushes.py    what clients pushed: rows for pages and exports that are not in the log

Each row's hash covers its fields and the hash of the row before, so a row that was changed, taken
out or put in shows. Rows are written one after the other, also by several processes: the lock is
held until the caller's transaction ends, so an act and its row stand or fall together. Whoever
writes a row does so last in the transaction: a row lock waited for behind ours could be held by
one that waits for ours.
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

LOCK = 0x626F6174  # any number that nothing else locks

# The address of the machine from which the act was asked for; "": none, or nobody says.
address: ContextVar[str] = ContextVar("address", default="")


@contextmanager
def asked_from(machine: str) -> Iterator[None]:
    """What is recorded in this block was asked for from there: a page's middleware says it, and a
    job that a page has given to the worker (which gets the address as an argument)."""
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
    "schedule" or "policy NAME"; "": nobody who is known. `details` hold no secret."""
    return record_each(act, [target], by=by, result=result, details=details)[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to be, as `record` wants it. `address`: of who did it, where no page asked for it."""

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
    """The value as both databases give it back, or the hash would be of something else: no NUL and
    no half characters in a text, no number that one of them writes in another way."""
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
