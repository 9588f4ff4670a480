"""Watches the parts and notes for the pages which of them do not respond (registryui/outage.py).

`up` does so while it runs; with systemd's units there is no `up`, and the worker does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from registryui import outage

from . import health
from .health import Part

SECONDS = 4.0  # between two rounds
ROUNDS = 2  # without an answer, until a part is called down: a restart takes one


class Watch:
    """What the rounds of this process have found."""

    def __init__(self, watcher: str) -> None:
        self._watcher = watcher
        self._parts: dict[str, outage.Seen] = {}
        self._failed: dict[str, tuple[int, datetime]] = {}  # rounds in a row, and the first

    def note(self, seen: Mapping[str, Part]) -> None:
        """Writes what a round has found, if it is news, and else only that there was one."""
        parts = follow(self._parts, self._failed, seen, now=timezone.now())
        if parts != self._parts or not outage.file().exists():
            outage.write(outage.State(tuple(parts.values()), self._watcher))
            self._parts = parts
        else:
            os.utime(outage.file())


def follow(
    before: Mapping[str, outage.Seen],
    failed: dict[str, tuple[int, datetime]],
    seen: Mapping[str, Part],
    *,
    now: datetime,
) -> dict[str, outage.Seen]:
    """The state of each part after this round. `failed` is updated: rounds in a row without an
    answer, and when they began. One is not enough: a machine may be busy, a part be restarted."""
    after = {}
    for name, part in seen.items():
        known = before.get(name) or outage.Seen(name, False, now, "")
        if part.health == "ok":
            failed.pop(name, None)
            after[name] = outage.Seen(name, False, now, "") if known.is_down else known
            continue
        count, first = failed.get(name, (0, now))
        failed[name] = (count + 1, first)
        if known.is_down:
            after[name] = outage.Seen(name, True, known.since, part.note)
        elif count + 1 >= ROUNDS:
            after[name] = outage.Seen(name, True, first, part.note)
        else:
            after[name] = known
    return after


_of_worker = Watch("worker")


def watch_from_worker() -> None:
    """A round of the worker, unless an `up` watches."""
    if health.is_claimed():
        return
    instance = health.this_instance({"registry": settings.REGISTRY_PORT})
    seen = health.examine(instance)
    _of_worker.note(seen | {"worker": Part("ok", os.getpid(), "")})


def forget() -> None:
    """Nothing runs any more."""
    with suppress(OSError):
        outage.file().unlink(missing_ok=True)
