"""Counts the refusals in the access log of this host; the only writer of Denial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from registryui.models import Denial, LogPosition, here

from .access_log import Position, unread
from .lines import Refusal, refusals
from .tally import Key, Sum, tally

DAYS = 30  # that they are kept


@dataclass(frozen=True, slots=True)
class _Progress:
    counted: Position  # as the table has it
    read: Position  # behind that there was nothing to count, up to here


_progress: dict[str, _Progress] = {}  # of this process, by host


def count(also: Callable[[bytes], None] = lambda _lines: None) -> int:
    """Counts what nginx has logged since the last time; how many refusals. OSError if the log
    cannot be read. Without refusals nothing is written: pages are kept until something is.
    `also` gets the same lines, some of them twice when another worker was faster."""
    host, found = here(), 0
    if host not in _progress:
        row = LogPosition.objects.filter(host=host).first()
        counted = Position(row.file, row.offset) if row else Position()
        _progress[host] = _Progress(counted, counted)
    for piece, behind in unread(_progress[host].read):
        counted = _progress[host].counted
        also(piece)
        oldest = datetime.now(UTC) - timedelta(days=DAYS)
        some = [one for one in refusals(piece) if one.at > oldest]
        if some:
            if not _write(host, some, counted, behind):
                del _progress[host]
                return found
            counted = behind
        _progress[host] = _Progress(counted, behind)
        found += sum(one.count for one in some)
    return found


def prune() -> None:
    """Removes what is older than 30 days."""
    Denial.objects.filter(day__lt=datetime.now(UTC).date() - timedelta(days=DAYS)).delete()


def _write(host: str, some: list[Refusal], since: Position, behind: Position) -> bool:
    """Counts these, which begin there; False if another worker, which is ending, has just done
    so."""
    days = {one.at.astimezone(UTC).date() for one in some}
    with transaction.atomic():
        row, _is_new = LogPosition.objects.select_for_update().get_or_create(host=host)
        if Position(row.file, row.offset) != since:
            return False
        known = Denial.objects.filter(day__in=days).values_list(*Key._fields)
        _add(tally(some, (Key(*one) for one in known)))
        row.file, row.offset = behind.file, behind.offset
        row.save()
    return True


def _add(sums: Mapping[Key, Sum]) -> None:
    """One statement for all rows, as several hosts may add to the same; in one order, so that none
    waits for another that waits for it."""
    names = (*Key._fields, *asdict(next(iter(sums.values()))))
    columns = {one.name: one for one in Denial._meta.fields}
    fields = [columns[name] for name in names]
    rows = [
        [
            field.get_db_prep_save(value, connection)
            for field, value in zip(fields, (*key, *asdict(sums[key]).values()), strict=True)
        ]
        for key in sorted(sums)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO registryui_denial ({', '.join(names)})"  # noqa: S608  (names of columns)
            f" VALUES ({', '.join(['%s'] * len(names))})"
            f" ON CONFLICT ({', '.join(Key._fields)}) DO UPDATE SET"
            " count = registryui_denial.count + excluded.count,"
            " first_at = CASE WHEN excluded.first_at < registryui_denial.first_at"
            " THEN excluded.first_at ELSE registryui_denial.first_at END,"
            " client = CASE WHEN excluded.at < registryui_denial.at"
            " THEN registryui_denial.client ELSE excluded.client END,"
            " at = CASE WHEN excluded.at < registryui_denial.at"
            " THEN registryui_denial.at ELSE excluded.at END",
            rows,
        )
