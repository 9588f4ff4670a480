"""Background jobs. Each may run twice or be killed: the state is in tables.

Each host has a queue and a worker. Scheduled jobs for all hosts are `once_for_all`.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone, translation
from huey import crontab
from huey.contrib.djhuey import HUEY, db_periodic_task, db_task

from portal.sessions import SessionStore
from registryui.accounts import publish, usage
from registryui.audit import check as audit_check
from registryui.audit import prune as audit_prune
from registryui.index import events, sizes
from registryui.index import sync as index_sync
from registryui.models import Mirror, RegistryEvent, Run, here
from registryui.refused import Refused
from registryui.registry.choose import open_source
from registryui.registry.errors import RegistryError
from registryui.setup import configuration, health, mirror_ports, rotation, watching

from . import audit, clock, doctor, hosts, operators, runs, space, tls, under_way, write_freeze
from .backup import backups
from .backup import process as backup_process
from .deletion import bulk, guard_files, recovery
from .deletion.execute import Selection
from .denials import count as denials
from .gc import collector, process, pushed
from .imports import asked, uploads
from .integrity import check as checking
from .mirrors import keeping, mirrors, refreshing
from .mirrors import publish as mirror_files
from .notify import conditions, deliveries, sending
from .notify import events as notify_events
from .quotas import marks
from .quotas import usage as quota_usage
from .retention import expiry
from .retention import runs as retention_runs

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25  # between two checks for changes by another host
FILL_SECONDS = 0.5  # until a mirrored repository is looked at again, the first time
FILL_LONGEST = 1800
WATCH_SECONDS = 1  # between two checks of freezes, dead work, disk space, logs
COUNT_SECONDS = 2  # between two looks for refusals in nginx's log …
COUNT_LONGEST = 16  # … while there are always some: after each write pages are rendered anew
NOTE_SECONDS = 10  # between two records of the time
BEAT_SECONDS = 2  # between two signs of this host, and checks for events without a job


def once_for_all(when: Callable[[datetime], bool]) -> Callable[[Callable[[], object]], Any]:
    """A job of the schedule that one host at a time does."""

    def decorate(work: Callable[[], object]) -> Any:
        @functools.wraps(work)
        def run() -> None:
            if hosts.leads():
                work()

        return db_periodic_task(when)(run)

    return decorate


@db_task()
def apply_events() -> None:
    """Applies new notifications; started by the hook."""
    pushed.restore_pending()
    with open_source() as source:
        events.apply_pending(source, then=_note_applied, later=_apply_again, absent=_fill_soon)
    measure_sizes()


def _note_applied(applied: Sequence[RegistryEvent]) -> None:
    _follow_quotas({one.repository for one in applied})  # first: nginx is to refuse the next push
    usage.note(applied)
    notify_events.queue_pushes(applied)


def _fill_soon(repository: str) -> None:
    fill_mirrored.schedule((repository,), delay=FILL_SECONDS)


@db_task()
def fill_mirrored(repository: str, seconds: float = FILL_SECONDS) -> None:
    """Looks again for what a mirrored repository had not pulled yet, and if that is not all, again
    after twice the time, up to an hour. Then syncs do so."""
    with open_source() as source, ThreadPoolExecutor(index_sync.AT_ONCE) as pool:
        is_absent = index_sync.fill(source, repository, pool)
    if is_absent and seconds < FILL_LONGEST:
        fill_mirrored.schedule((repository, 2 * seconds), delay=2 * seconds)


def _apply_again(seconds: float) -> None:
    """The registry did not respond: try again a second later, not only each minute."""
    apply_events.schedule(delay=seconds)


@once_for_all(crontab(minute="*"))
def apply_late_events() -> None:
    """Events that waited for the registry, or whose job died with its worker."""
    apply_events.call_local()


@db_task()
def measure_sizes() -> None:
    """Computes all sizes, if something changed; a moment later if that was done just now, so that
    the last push of many counts as well."""
    if wait := sizes.pause_left():
        if _measured_later.acquire(blocking=False):
            measure_sizes_later.schedule(delay=wait)
    elif sizes.is_due():
        sizes.measure(by="schedule")


@db_task()
def measure_sizes_later() -> None:
    """One of these waits at a time."""
    with suppress(RuntimeError):  # queued before this process started
        _measured_later.release()
    measure_sizes.call_local()


_measured_later = threading.Lock()


@once_for_all(crontab(minute="*"))
def measure_sizes_by_schedule() -> None:
    """After the pause, after a sync, and in the first minute of a day."""
    measure_sizes.call_local()


@db_task()
def publish_late_users() -> None:
    """Publishes expired users, and what a crash left unfinished."""
    publish.catch_up()


@db_periodic_task(crontab(minute="*"))
def publish_by_schedule() -> None:
    """Each minute, and at the exact second for access that expires within the next one."""
    publish.catch_up()
    publish.mark_states()  # of users that another host removed
    for when in publish.next_ends(timedelta(seconds=70)):
        publish_late_users.schedule(eta=when)


@db_periodic_task(crontab(minute="*"))
def write_guard_files() -> None:
    """What a crash left unfinished, also of quotas and mirrors."""
    guard_files.write()
    marks.write()
    mirror_files.write()


@once_for_all(crontab(minute="*"))
def forget_times_to_come() -> None:
    """Removes failed logins and sessions with a time in the future."""
    operators.forget_times_to_come()


@db_task()
def sync(by: str, full: bool = False) -> bool:
    """A complete sync, started by an operator; False if another one is running."""
    with open_source() as source:
        return index_sync.sync(source, by=by, full=full) is not None


@db_task()
def sync_at_start() -> None:
    """A complete sync, repeated later if another one is running.

    That one may belong to a worker that was killed, which is only known after a while.
    """
    if not sync.call_local("start"):
        sync_at_start.schedule(delay=runs.STALE)


@db_task()
def delete_bulk(run: int, selection: Selection, fingerprint: str, language: str) -> None:
    """A bulk delete, started by a page; reasons are in the operator's language."""
    with translation.override(language):
        bulk.delete(Run.objects.get(pk=run), selection, fingerprint=fingerprint)


@db_task()
def restore_bulk(run: int, language: str) -> None:
    """The undo of a bulk delete."""
    with translation.override(language):
        bulk.restore(Run.objects.get(pk=run))


def _every_sync_minutes(when: datetime) -> bool:
    return int(when.timestamp()) // 60 % settings.SYNC_MINUTES == 0


@once_for_all(_every_sync_minutes)
def sync_by_schedule() -> None:
    """A complete sync; events may be lost."""
    sync.call_local("schedule")


@db_task()
def examine() -> None:
    """The doctor's check; pages show its newest result.

    Waits for an `up` that is still starting: what it creates last, such as the first registry user,
    would be reported as missing for a minute.
    """
    while health.is_starting():
        time.sleep(0.1)
    was_full = _is_disk_full()
    found = doctor.examine()
    if doctor.record(found):
        conditions.note(found)
    if was_full and not _is_disk_full():
        integrity("schedule")  # a full disk leaves half-written files


def _is_disk_full() -> bool:
    """According to the newest check."""
    return any((one.name, one.state) == ("disk", "bad") for one in doctor.current())


@db_periodic_task(crontab(minute="*"))
def examine_by_schedule() -> None:
    """If this stops, pages say that the worker does not respond."""
    examine.call_local()


@db_task()
def retention(run: int) -> None:
    """A retention run, dry or real, started by an operator."""
    retention_runs.carry_out(Run.objects.get(pk=run))


@once_for_all(crontab(minute="*"))
def retention_by_schedule() -> None:
    """Retention policies that are due, each minute."""
    retention_runs.run_due()


@once_for_all(crontab(minute="*"))
def expire_tags() -> None:
    """Deletes tags that have expired, each minute."""
    expiry.run_due()


@once_for_all(crontab(hour="3", minute="17"))
def prune() -> None:
    """Once a day: removes old pulls and dry runs, expired tombstones and sessions, old denials
    and rows of the audit log; then verifies the log. Not while the clock is not trusted."""
    if clock.known().has_jumped:
        return
    events.prune()
    SessionStore.clear_expired()
    retention_runs.prune()
    recovery.recover(is_complete=True)
    recovery.prune()
    denials.prune()
    audit_prune.prune()
    audit_check.check(by="schedule")


@db_task()
def verify_log(by: str, address: str) -> None:
    """Verifies the audit log, started by an operator from that address."""
    with audit.asked_from(address):
        audit_check.check(by=by)


@once_for_all(crontab(minute="*"))
def recover_deletes() -> None:
    """Recovers deletes whose process was killed."""
    recovery.recover()


@db_periodic_task(crontab(hour="3", minute="17"))
def turn_logs_over() -> None:
    """Rotates the logs each night; large ones are also rotated by size."""
    for name in rotation.NAMES:
        rotation.turn_over(name)


@db_periodic_task(crontab(hour="*/6", minute="7"))
def renew_certificate() -> None:
    """Renews the server certificate before it expires; nginx reloads without dropping a
    connection."""
    if not settings.TLS_CERTIFICATE and tls.ensure(settings.TLS_DIR, names=tls.wanted_names()):
        configuration.reload()


@db_task()
def remove_mirror(pk: int, by: str, language: str) -> None:
    """Removes a mirror and the tags in it, started by a page; a refusal is in the audit log."""
    row = Mirror.objects.filter(pk=pk).first()
    if row is None:
        return
    with translation.override(language):
        try:
            mirrors.remove(row, by=by, content=mirrors.DELETE)
        except Refused as error:
            mirrors.record_failure(row, str(error), by=by)


@db_task()
def import_registry(run: int, secrets: str, language: str) -> None:
    """An import of another registry, begun by a page; the report is in the operator's language.
    `secrets` are encrypted."""
    with translation.override(language):
        asked.carry_out(Run.objects.get(pk=run), secrets)


@db_task()
def import_archive(run: int, language: str) -> None:
    """An import of an uploaded archive, begun by a page; the report is in the operator's
    language."""
    with translation.override(language):
        uploads.carry_out(Run.objects.get(pk=run))


@db_periodic_task(crontab(minute="37"))
def remove_abandoned_archives() -> None:
    """Uploads of archives that were not continued, and what killed imports have left, on this
    host."""
    uploads.remove_abandoned()


@db_task()
def run_gc(by: str, *, dry_run: bool = False, purge_now: bool = False) -> None:
    """A garbage collection, started by an operator or the schedule."""
    process.run_gc(by=by, dry_run=dry_run, purge_now=purge_now)


@db_task()
def restore_quarantined(by: str) -> None:
    """Restores the quarantine; then a dry run counts again."""
    try:
        collector.restore("all", by=by)
    except Refused as error:
        process.note_refusal(by, str(error), dry_run=False)
    else:
        run_gc.call_local(by, dry_run=True)


@once_for_all(crontab(minute="*"))
def gc_by_schedule() -> None:
    """When scheduled, when quarantined content is due, and when a run ended without a review."""
    now = timezone.now()
    if collector.wants_review(now):
        review_gc("schedule")
    elif clock.known().has_jumped:
        return
    elif settings.GC_SCHEDULE and (collector.is_scheduled(now) or collector.is_due(now)):
        run_gc("schedule")


@db_task()
def review_gc(by: str) -> None:
    """Reviews the quarantine of a run that ended without a review."""
    if collector.wants_review(timezone.now()):
        process.run_gc(by=by, review=True)


@db_task()
def take_up(name: str) -> None:
    """Continues work on this host whose process was killed."""
    kind, _, id = name.partition("-")
    if kind == "delete":
        recovery.recover_act(id)
    elif kind == "gc":
        runs.close_dead(int(id))
        review_gc.call_local("schedule")
    elif kind == "import":
        runs.close_dead(int(id))


@db_task()
def integrity(by: str, deep: bool = False, limit: int = 0) -> None:
    """An integrity check, started by an operator or the schedule; not if one is running."""
    checking.check(by=by, deep=deep, limit=limit)


@once_for_all(crontab(minute="*"))
def integrity_by_schedule() -> None:
    """When scheduled."""
    if checking.is_scheduled(timezone.now()):
        integrity("schedule")


@db_task()
def run_backup(by: str) -> None:
    """A backup to BOATHOUSE_BACKUP_TO, started by an operator or the schedule."""
    backup_process.run(by=by)


@once_for_all(crontab(minute="*"))
def backup_by_schedule() -> None:
    """When scheduled."""
    if backups.is_scheduled(timezone.now()):
        run_backup("schedule")


@once_for_all(crontab(minute="*/10"))
def evict_from_mirrors() -> None:
    """What mirrors need not keep."""
    try:
        if keeping.evict_all():
            measure_sizes()
    except (Refused, RegistryError) as error:
        log.warning("nothing is evicted from mirrors: %s", error)


@once_for_all(crontab(minute="*/10"))
def prune_deliveries() -> None:
    """The log of notifications."""
    deliveries.prune()


@once_for_all(crontab(minute="23"))
def refresh_pinned_tags() -> None:
    """Pinned tags of mirrors, each hour."""
    refreshing.refresh_all()


@once_for_all(crontab(minute="47"))
def check_damaged_tags() -> None:
    """Checks damaged tags again, so that repaired ones are not shown as damaged for days."""
    checking.recheck_damaged()


@HUEY.task(name="restore_many")
def _restore_bulk_of_before(run: int, act: str, repository: str, language: str) -> None:
    """Its run names the act."""
    restore_bulk.call_local(run, language)


# What 0.5 has put into the queue, by the names of then. Goes with the version after the next one.
for _name, _job in {
    "collect": run_gc,
    "put_back_collected": restore_quarantined,
    "review_collected": review_gc,
    "delete_many": delete_bulk,
    "collect_by_schedule": gc_by_schedule,
    "settle_deletes": recover_deletes,
    "look_at_damaged_tags": check_damaged_tags,
}.items():
    HUEY.task(name=_name)(_job.func)


_started = threading.Lock()


@HUEY.on_startup()
def at_start() -> None:
    """Events from while the worker was down may be lost: sync everything once.

    huey calls this in each of its threads.
    """
    if _started.acquire(blocking=False):
        if here():
            threading.Thread(target=_follow, name="follow", daemon=True).start()
        for name, watch in WATCHES.items():
            threading.Thread(target=_watch, args=(name, *watch), name=name, daemon=True).start()
        threading.Thread(target=_begin, name="begin", daemon=True).start()


def _follow() -> None:
    """With several hosts, in a loop: signals that this host is alive, and publishes changes of
    other hosts. A database that is down is logged once."""
    is_well, beaten_at = True, -float("inf")
    while True:
        try:
            close_old_connections()
            if time.monotonic() - beaten_at > BEAT_SECONDS:
                hosts.beat()
                beaten_at = time.monotonic()
                if events.were_missed():
                    apply_events()
            publish.catch_up()
            guard_files.catch_up()
            marks.catch_up()
            mirror_files.catch_up()
            is_well = True
        except Exception as error:
            if is_well:
                log.error("cannot follow the other hosts: %s", " ".join(str(error).split()))
            is_well = False
            connection.close()
        time.sleep(POLL_SECONDS)


def _begin() -> None:
    """The first jobs, retried until the queue accepts them: its disk may be full."""
    first: list[Callable[[], object]] = [sync_at_start, examine]
    if clock.has_restarted():  # a power failure may have left half-written files
        first.append(lambda: integrity("start"))
    for ask in first:
        while not _is_asked(ask):
            time.sleep(WATCH_SECONDS)


def _is_asked(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except Exception as error:
        log.error("cannot ask for the first jobs: %s", " ".join(str(error).split()))
        return False
    return True


def _take_up_dead() -> None:
    for name in under_way.dead():
        log.warning("%s was under way when its process ended", name)
        take_up(name)
        under_way.forget(name)


def _check_space() -> None:
    space.check(uploads=lambda: write_freeze.in_flight("writes"))


def _send_notifications() -> None:
    close_old_connections()
    sending.follow()


def _open_ports_of_mirrors() -> None:
    close_old_connections()
    mirror_ports.follow()


def _count_denials() -> None:
    global _count_pause
    close_old_connections()
    _count_pause = (
        min(2 * _count_pause, COUNT_LONGEST) if denials.count(usage.note_logins) else COUNT_SECONDS
    )
    time.sleep(_count_pause - COUNT_SECONDS)


_count_pause = COUNT_SECONDS


def _follow_quotas(repositories: Collection[str]) -> None:
    """Not to fail what calls it: the watch below tries again, and logs it."""
    with suppress(DatabaseError, OSError):
        for one in repositories:
            quota_usage.follow(one)


def _watch_quotas() -> None:
    close_old_connections()
    if hosts.leads():
        quota_usage.follow()


# Checks in a loop, with their seconds, each in its own thread, because a disk may hang. Of freezes:
# ends those whose process has ended, or whose time is over.
WATCHES: dict[str, tuple[float, Callable[[], object]]] = {
    "freeze": (WATCH_SECONDS, write_freeze.clear),
    "dead work": (WATCH_SECONDS, _take_up_dead),
    "space": (WATCH_SECONDS, _check_space),
    "logs": (WATCH_SECONDS, rotation.check),
    "notifications": (WATCH_SECONDS, _send_notifications),
    "ports of mirrors": (WATCH_SECONDS, _open_ports_of_mirrors),
    "denials": (COUNT_SECONDS, _count_denials),
    "quotas": (WATCH_SECONDS, _watch_quotas),
    "clock": (NOTE_SECONDS, clock.note),
    "parts": (watching.SECONDS, watching.watch_from_worker),
}


def _watch(name: str, seconds: float, work: Callable[[], object]) -> None:
    """Repeats that. A failure is logged once, until it works again."""
    said = ""
    while True:
        try:
            work()
            said = ""
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            if words != said:
                log.error("cannot look after %s: %s", name, words)
            said = words
        time.sleep(seconds)
