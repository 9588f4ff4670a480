"""Several hosts over one database and one store: which ones, and which one acts for all.

    a host     its own data folder, proxy, registry, web processes and worker
    shared     PostgreSQL, the store, and the secrets that docs/install.md names

Each worker signals every other second that its host is alive. Jobs for all hosts (the schedule) run
on the one with the lease, which another takes over when it is silent. All times here are the
database's, because clocks of hosts differ. SQLite has one host: no queries.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from registryui import files
from registryui.models import Host, Lease, Published, here
from registryui.refused import Refused

_ALONE = 0x626F6174  # the number of our advisory lock
SILENT = timedelta(seconds=10)  # without a signal for so long: the host or its worker is down
_SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Seen:
    """A host, and how long ago its worker last signalled."""

    id: str
    name: str
    ago: timedelta

    @property
    def is_silent(self) -> bool:
        """True if it, or its worker, is down."""
        return self.ago > SILENT


def name_here() -> str:
    """The name of this host."""
    return f"{socket.gethostname()}:{settings.PORT}"[:255]


def join() -> None:
    """Registers this host, at its start. Does nothing with SQLite.

    Raises Refused if a host of another name has our id and is alive: a copied data folder. Two with
    the same id would not publish each other's changes.
    """
    if not settings.IS_POSTGRESQL:
        return
    if not here():
        files.write(settings.HOST_FILE, secrets.token_hex(8) + "\n", mode=0o644)
    twin = Host.objects.filter(id=here()).exclude(name=name_here())
    if twin.filter(seen_at__gt=Now() - SILENT).exists():
        raise Refused(
            f"The running host {twin.get().name} has the same host-id: remove "
            f"{settings.HOST_FILE}, which was copied from there, and try again."
        )
    Host.objects.update_or_create(id=here(), defaults={"name": name_here()})


@contextmanager
def alone() -> Iterator[None]:
    """Excludes other hosts: two that start at once must not both create the tables."""
    if not settings.IS_POSTGRESQL:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '30min'")  # another one's migration of a huge index
        cursor.execute("SELECT pg_advisory_lock(%s)", [_ALONE])
        cursor.execute("RESET lock_timeout")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ALONE])


def beat() -> None:
    """Signals that this host is alive, and renews its lease if it has it."""
    Host.objects.filter(id=here()).update(seen_at=Now())
    leads()


def leads() -> bool:
    """True if this host runs the jobs for all hosts. With SQLite always.

    The remaining hole: in the minute in which the lease moves, a scheduled job may run twice or not
    at all. Each may run twice, and each is scheduled again.
    """
    me = here()
    if not me:
        return True
    mine = Lease.objects.filter(Q(host=me) | Q(until__lt=Now()), name=_SCHEDULE)
    if mine.update(host=me, until=Now() + SILENT):
        return True
    Lease.objects.bulk_create([Lease(name=_SCHEDULE)], ignore_conflicts=True)  # the very first
    return bool(mine.update(host=me, until=Now() + SILENT))


def all_hosts() -> list[Seen]:
    """All hosts that were not forgotten, by name."""
    ago = ExpressionWrapper(Now() - F("seen_at"), DurationField())
    rows = Host.objects.annotate(ago=ago).order_by("name").values_list("id", "name", "ago")
    return [Seen(*row) for row in rows]


def forget(name: str) -> None:
    """Forgets a removed host. Raises Refused for one that is unknown, or alive."""
    found = Host.objects.filter(name=name)
    if not found.exists():
        raise Refused(f"There is no host {name}; ./boathouse manage hosts lists them.")
    if found.filter(seen_at__gt=Now() - SILENT).exists():
        raise Refused(f"{name} lives: end it there first (./boathouse down).")
    Published.objects.filter(host__in=found.values("id")).delete()
    found.delete()
