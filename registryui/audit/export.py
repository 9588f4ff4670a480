"""The log for programs: JSON lines, which can be verified, and CSV, for spreadsheets.

JSON lines have all hashed fields, as they are hashed (chain.py). In CSV a cell that a spreadsheet
would read as a formula begins with an apostrophe, so it cannot be verified.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any

from django.db.models import QuerySet

from registryui.models import AuditEvent, RegistryEvent

from . import pushes

COLUMNS = (
    *("id", "at", "actor", "address", "act", "target", "result", "details", "previous", "hash"),
)
# Characters that begin a formula, also after a space or in their wide form, and that would end the
# cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|")


def json_lines(
    rows: QuerySet[AuditEvent], pushed: QuerySet[RegistryEvent] | None = None
) -> Iterator[str]:
    """One object a line, in ASCII."""
    for row in _facts(rows, pushed):
        yield json.dumps(row, separators=(",", ":")) + "\n"


def csv_lines(
    rows: QuerySet[AuditEvent], pushed: QuerySet[RegistryEvent] | None = None
) -> Iterator[str]:
    """A head, then one line a row, as RFC 4180 says."""
    writer = csv.writer(_Echo(), lineterminator="\r\n")
    yield writer.writerow(COLUMNS)
    for row in _facts(rows, pushed):
        details = json.dumps(row["details"], ensure_ascii=False, separators=(",", ":"))
        cells = [*(row[name] for name in COLUMNS[:7]), details, row["previous"], row["hash"]]
        yield writer.writerow([cells[0], *(_harmless(str(cell)) for cell in cells[1:])])


def _facts(
    rows: QuerySet[AuditEvent], pushed: QuerySet[RegistryEvent] | None
) -> Iterator[dict[str, Any]]:
    """Each row by its columns, without all of them in memory. A push has no id and no hash."""
    log = (
        dict(zip(COLUMNS, values, strict=True))
        for values in rows.values_list(*COLUMNS).iterator(chunk_size=2000)
    )
    events = () if pushed is None else map(pushes.as_row, pushed.iterator(chunk_size=2000))
    beside = ({name: getattr(one, name) for name in COLUMNS} | {"id": None} for one in events)
    for row in heapq.merge(log, beside, key=lambda one: one["at"]):
        row["at"] = row["at"].astimezone(UTC).isoformat(timespec="microseconds")
        yield row


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


class _Echo:
    """A file that returns what is written into it."""

    def write(self, text: str) -> str:
        return text


def lines(
    rows: QuerySet[AuditEvent], pushed: QuerySet[RegistryEvent] | None = None, *, form: str
) -> Iterable[str]:
    """In that form: "jsonl" or "csv". `pushed`: what clients pushed, by time, in between."""
    return csv_lines(rows, pushed) if form == "csv" else json_lines(rows, pushed)
