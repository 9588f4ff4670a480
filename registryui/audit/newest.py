"""A record of the newest audit row, in a file of the data folder: without it, a truncated table
would have a valid chain.

Each host records what it wrote itself. Usually that is one line, number and hash of a row. If that
row is no longer in the table when the next one is written, its line is kept as evidence. A record
may be late (it is written after the commit), never early. After a power failure SQLite may have
lost the last rows; verify reports them, because it cannot know the reason.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from django.conf import settings

from registryui import locks
from registryui.models import AuditEvent

log = logging.getLogger(__name__)

KEPT = 20  # lines; more evidence is not needed
Line = tuple[int, str]  # number and hash of a row


def read() -> list[Line]:
    """The recorded rows, the newest last; [] if there is no readable record."""
    try:
        return _parsed(_file().read_text(errors="replace"))
    except FileNotFoundError:
        return []
    except OSError as error:
        log.error("the newest audit row cannot be looked up: %s", error)
        return []


def note(row: AuditEvent, previous: str) -> None:
    """Records a committed row, with others from the one that follows `previous`. A full disk is
    only logged, because the action is done."""
    log.info("audit row %d %s: %s %r by %r", row.pk, row.hash, row.act, row.target, row.actor)
    try:
        handle = os.open(_file(), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        log.error("the newest audit row is not noted: %s", error)
        return
    try:
        locks.take(handle)
        lines = _after(_parsed(os.read(handle, 10_000).decode(errors="replace")), row, previous)
        text = "".join(f"{number} {digest}\n" for number, digest in lines).encode()
        os.pwrite(handle, text, 0)
        os.ftruncate(handle, len(text))
    except OSError as error:
        log.error("the newest audit row is not noted: %s", error)
    finally:
        os.close(handle)


def _after(lines: list[Line], row: AuditEvent, previous: str) -> list[Line]:
    """The new content of the record."""
    if not lines:
        return [(row.pk, row.hash)]
    *evidence, last = lines
    # Another hash: another process wrote in between, or the table was truncated.
    if last[1] != previous:
        if not AuditEvent.objects.filter(pk=last[0], hash=last[1]).exists():
            log.error("audit row %d is noted and no longer in the table as it was", last[0])
            evidence.append(last)
        elif last[0] >= row.pk:
            return lines
    return [*evidence[: KEPT - 1], (row.pk, row.hash)]


def _parsed(text: str) -> list[Line]:
    found = []
    for line in text.splitlines():
        number, _space, digest = line.partition(" ")
        if number.isdecimal() and len(number) < 19:
            found.append((int(number), digest))
    return found


def _file() -> Path:
    return Path(settings.AUDIT_NOTE_FILE)
