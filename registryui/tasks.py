"""Background jobs, a few lines each. Each may run twice or be killed: the state is in tables."""

import threading
import time
from datetime import datetime, timedelta

from django.conf import settings
from huey import crontab
from huey.contrib.djhuey import HUEY, db_periodic_task, db_task

from registryui import doctor, tls
from registryui.accounts import publish, usage
from registryui.index import events, runs, sizes
from registryui.index import sync as index_sync
from registryui.registry.client import RegistryClient
from registryui.setup import configuration, health


@db_task()
def apply_events() -> None:
    """What the registry just told us; the hook asks for it."""
    with RegistryClient(settings.REGISTRY_URL) as source:
        events.apply_pending(source, then=usage.note)
    measure_sizes()


@db_periodic_task(crontab(minute="*"))
def apply_late_events() -> None:
    """Events that waited for the registry, or whose job died with its worker."""
    apply_events.call_local()


@db_task()
def measure_sizes() -> None:
    """How big everything is, if something changed and the last time was not just now."""
    if sizes.is_due():
        sizes.measure(by="schedule")


@db_periodic_task(crontab(minute="*"))
def measure_sizes_by_schedule() -> None:
    """What came within the pause after the last time, a sync, and the first minute of a day."""
    measure_sizes.call_local()


@db_task()
def publish_late_users() -> None:
    """Registry users whose access ends now, and what a crash left half written."""
    publish.catch_up()


@db_periodic_task(crontab(minute="*"))
def publish_by_schedule() -> None:
    """Each minute, and at the very second for those whose access ends within the next one."""
    publish.catch_up()
    for when in publish.next_ends(timedelta(seconds=70)):
        publish_late_users.schedule(eta=when)


@db_task()
def sync(by: str, full: bool = False) -> bool:
    """A whole sync, asked for by an operator; False if another one is under way."""
    with RegistryClient(settings.REGISTRY_URL) as source:
        return index_sync.sync(source, by=by, full=full) is not None


@db_task()
def sync_at_start() -> None:
    """A whole sync, which comes again if another one is under way.

    That one may be of a worker that was ended in the middle, which only its silence shows.
    """
    if not sync.call_local("start"):
        sync_at_start.schedule(delay=runs.STALE)


def _every_sync_minutes(when: datetime) -> bool:
    return int(when.timestamp()) // 60 % settings.SYNC_MINUTES == 0


@db_periodic_task(_every_sync_minutes)
def sync_by_schedule() -> None:
    """Events are the fast path; this is the truth."""
    sync.call_local("schedule")


@db_task()
def examine() -> None:
    """The doctor's round; pages show its newest result.

    Waits for an `up` that is still starting: what it makes last, such as the first registry user,
    is not there yet and would be shown as missing for a minute.
    """
    while health.is_starting():
        time.sleep(0.1)
    doctor.record(doctor.examine())


@db_periodic_task(crontab(minute="*"))
def examine_by_schedule() -> None:
    """Pages say that the worker does not answer when this stops."""
    examine.call_local()


@db_periodic_task(crontab(hour="3", minute="17"))
def prune() -> None:
    """Old pulls, once a day."""
    events.prune()


@db_periodic_task(crontab(hour="*/6", minute="7"))
def renew_certificate() -> None:
    """A leaf that ends soon is made anew and nginx takes it without dropping a connection."""
    if not settings.TLS_CERTIFICATE and tls.ensure(settings.TLS_DIR, names=tls.wanted_names()):
        configuration.reload()


_started = threading.Lock()


@HUEY.on_startup()
def at_start() -> None:
    """Events that came while the worker was away may be lost: look at everything once.

    huey calls this in each of its threads.
    """
    if _started.acquire(blocking=False):
        sync_at_start()
        examine()
