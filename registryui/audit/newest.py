"""A note of the newest audit row, in a file of the data folder: without it, rows cut off from the
end of the table would leave a chain that is whole.

Each host has a note of what it wrote itself. Usually it is one line, number and hash of a row. If
that row is no longer in the table when the next one is written, its line stays as evidence.
A note may be late (it is written after the commit), never early. A power cut may take the last
rows from SQLite and leave the note: verify says so then, because it cannot know why they are gone.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from django.conf import settings

from registryui import locks
from registryui.models import AuditEvent

log = logging.getLogger(__name__)

KEPT = 20  # lines; more evidence of the same says nothing new
Line = tuple[int, str]  # number and hash of a row


def read() -> list[Line]:
    """The noted rows, the newest last; [] if there is no note yet, or none that can be read."""
    try:
        return _parsed(_file().read_text(errors="replace"))
    except FileNotFoundError:
        return []
    except OSError as error:
        log.error("the newest audit row cannot be looked up: %s", error)
        return []


def note(row: AuditEvent, previous: str) -> None:
    """Notes a row that is committed, with others from the one that follows `previous`. A disk that
    is full is no reason to fail an act that is done: it is said in the log."""
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
    """What the note says from now on."""
    if not lines:
        return [(row.pk, row.hash)]
    *evidence, last = lines
    # Another hash: another process wrote in between, or the end was cut off.
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
