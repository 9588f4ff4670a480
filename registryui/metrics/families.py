"""The numbers of this instance. One query a function at most, each by an index or over few rows.

GROUPS is the list: a function for each topic. One that fails does not affect the others.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count, Max, Min, Sum
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

import portal
from registryui import doctor, sockets, tls
from registryui.backup import backups
from registryui.doctor import Finding
from registryui.gc import collector
from registryui.gc.result import Result
from registryui.index import counts, sizes
from registryui.models import Denial, Quota, RegistryEvent, Run, StoreDay
from registryui.setup import health

from . import requests

log = logging.getLogger(__name__)

NEWEST = 20  # newest runs; older ones do not matter
ASK_SECONDS = 2.0  # for the answers of all parts, or all disks
STATES = {"ok": 0, "warn": 1, "bad": 2}

T = TypeVar("T")
Metrics = Iterable[Metric]
Row = tuple[tuple[str, ...], float]  # values of the labels, and the number


def all_of_them() -> list[Metric]:
    """Every metric of this instance that can be read."""
    found: list[Metric] = []
    failed: set[str] = set()
    for name, group in GROUPS.items():
        if name in OF_TABLES and OF_TABLES & failed:
            continue  # each would wait again for a database that is down
        try:
            found += group()
        except Exception as error:
            log.warning("metrics of %s: %s", name, " ".join(str(error).split()))
            failed.add(name)
            if isinstance(error, DatabaseError):
                connection.close()
    help_ = "1 if the metrics of that topic could not be read."
    return [*found, _gauge("scrape_failed", help_, *_rows(dict.fromkeys(failed, 1)), label="topic")]


# -- the instance ----------------------------------------------------------------------------------
def of_instance() -> Metrics:
    yield _gauge("info", "The version of Boathouse.", ((portal.__version__,), 1), label="version")


def of_disks() -> Metrics:
    places = {"data": settings.DATA}
    if settings.STORAGE.startswith("/"):
        places["store"] = settings.STORE_DIR
    found = _at_once({name: _usage(place) for name, place in places.items()})
    for name, text in {"free": "Free bytes", "total": "Bytes"}.items():
        yield _gauge(
            f"disk_{name}_bytes",
            f"{text} on the disk of the data folder, or of a store elsewhere.",
            *_rows({disk: getattr(one, name) for disk, one in found.items()}),
            label="disk",
        )


def _usage(place: Path) -> Callable[[], Any]:
    return lambda: shutil.disk_usage(place)


def of_certificates() -> Metrics:
    found = {"server": tls.read_certificate(tls.server_certificate()).not_after}
    if authority := tls.ca_certificate():
        found["ca"] = tls.read_certificate(authority).not_after
    yield _gauge(
        "certificate_expiry_timestamp_seconds",
        "When the certificate expires.",
        *_rows({name: until.timestamp() for name, until in found.items()}),
        label="certificate",
    )


def of_requests() -> Metrics:
    yield _counter(
        "requests",
        "Requests that nginx answered, by API and status.",
        *requests.counted().items(),
        labels=("api", "code"),
    )


def of_parts() -> Metrics:
    """nginx and web answer this very request; the worker is one of the doctor's checks."""
    asked = {
        **{name: _registry_asker(name) for name in sockets.registries(settings.REGISTRY_PORT)},
        "passwords": health.passwords_trouble,
        "mirror": health.mirror_trouble,
    }
    troubles = _at_once(asked)
    up = {"nginx": True, "web": True, **{name: troubles.get(name) == "" for name in asked}}
    yield _gauge("part_up", "1 if the part responds.", *_rows(up), label="part")


def _registry_asker(name: str) -> Callable[[], str]:
    return lambda: health.registry_trouble(name, settings.REGISTRY_PORT)


def _at_once(asked: dict[str, Callable[[], T]]) -> dict[str, T]:
    """Their answers within ASK_SECONDS: what hangs must not add up, and is left out."""
    answers: dict[str, T] = {}

    def ask(name: str, one: Callable[[], T]) -> None:
        answers[name] = one()

    threads = [
        threading.Thread(target=ask, args=one, name="metrics", daemon=True) for one in asked.items()
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + ASK_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(answers)


# -- tables ----------------------------------------------------------------------------------------
def of_doctor() -> Metrics:
    run = doctor.latest()
    findings = doctor.current(run)
    yield _gauge(
        "check_state",
        "What the doctor found: 0 healthy, 1 warning, 2 critical.",
        *(((_label(one),), STATES[one.state]) for one in findings),
        label="check",
    )
    yield _gauge(
        "checked_timestamp_seconds",
        "When the worker last ran the doctor's checks; it does so every minute.",
        *_times({(): run.finished_at if run else None}),
    )


def _label(finding: Finding) -> str:
    return finding.name.replace(" ", "_")


def of_store() -> Metrics:
    found = counts.of_store()
    yield _gauge("repositories", "Repositories.", ((), found.repositories))
    yield _gauge("tags", "Tags, without those of signatures and the like.", ((), found.tags))
    yield _gauge("manifests", "Manifests, in each repository that has them.", ((), found.manifests))


def of_sizes() -> Metrics:
    measured = sizes.newest()
    if measured is None:
        return
    yield _gauge(
        "blobs",
        "Layers and configs, each once. Manifests are blobs of the store, too.",
        ((), measured.blobs),
    )
    yield _gauge("blobs_size_bytes", "Bytes of layers and configs, each once.", ((), measured.size))


def of_quotas() -> Metrics:
    rows = Quota.objects.all()
    yield _gauge(
        "quota_used_ratio",
        "Of a namespace's quota, how much is used; 1: pushes are refused.",
        *_rows({row.namespace: row.share for row in rows}),
        label="namespace",
    )


def of_activity() -> Metrics:
    total = StoreDay.objects.aggregate(pulls=Sum("pulls"), pushes=Sum("pushes"))
    yield _counter("pulls", "Pulls of manifests.", ((), total["pulls"] or 0))
    yield _counter("pushes", "Pushes of manifests.", ((), total["pushes"] or 0))


def of_denials() -> Metrics:
    """Of today, which has few rows, so it begins anew each midnight (UTC): rate() and increase()
    take that for a restart."""
    rows = Denial.objects.filter(day=datetime.now(UTC).date()).order_by()
    found = rows.values_list("reason", "action").annotate(times=Sum("count"))
    yield _counter(
        "denials",
        "Requests of clients that were refused, since midnight UTC.",
        *(((reason, action), times) for reason, action, times in found),
        labels=("reason", "action"),
    )


def of_events() -> Metrics:
    found = RegistryEvent.objects.filter(applied_at=None).aggregate(
        count=Count("pk"), oldest=Min("received_at")
    )
    yield _gauge("events_waiting", "Events that are not in the index yet.", ((), found["count"]))
    yield _gauge(
        "events_oldest_timestamp_seconds",
        "When the oldest of them arrived; missing if none waits.",
        *_times({(): found["oldest"]}),
    )


def of_gc() -> Metrics:
    ended = [run for run in collector.newest_runs(NEWEST) if run.state != Run.State.RUNNING]
    results = [Result.of(run) for run in ended]
    held = next((one for one in results if one.in_quarantine is not None), Result())
    freed = next((one for one in results if not one.dry_run), Result())
    yield _gauge("gc_quarantine_bytes", "Bytes in quarantine.", ((), held.in_quarantine_bytes))
    yield _gauge(
        "gc_freed_bytes", "Bytes that the last garbage collection freed.", ((), freed.freed_bytes)
    )


def of_backups() -> Metrics:
    done = backups.last_done(backups.newest_runs(NEWEST))
    yield _gauge(
        "backup_timestamp_seconds",
        "When the newest completed backup began; missing without one.",
        *_times({(): done.started_at if done else None}),
    )


def of_jobs() -> Metrics:
    """Of each kind the newest hundred runs are kept."""
    rows = (
        Run.objects.exclude(state=Run.State.RUNNING)
        .values_list("kind", "state")
        .annotate(began=Max("started_at"), ended=Max("finished_at"))
    )
    newest: dict[str, tuple[datetime, str]] = {}
    done: dict[tuple[str, ...], datetime | None] = {}
    for kind, state, began, ended in rows:
        newest[kind] = max(newest.get(kind, (began, state)), (began, state))
        if state == Run.State.DONE:
            done[kind,] = ended
    failed = {kind: state == Run.State.FAILED for kind, (_began, state) in newest.items()}
    yield _gauge(
        "job_failed", "1 if the newest job of that kind failed.", *_rows(failed), label="kind"
    )
    yield _gauge(
        "job_done_timestamp_seconds",
        "When a job of that kind last completed.",
        *_times(done),
        label="kind",
    )


OF_TABLES = {
    "checks",
    "store",
    "sizes",
    "quotas",
    "activity",
    "denials",
    "events",
    "gc",
    "backups",
    "jobs",
}
GROUPS: dict[str, Callable[[], Metrics]] = {
    "instance": of_instance,
    "disks": of_disks,
    "certificates": of_certificates,
    "requests": of_requests,
    "parts": of_parts,
    "checks": of_doctor,
    "store": of_store,
    "sizes": of_sizes,
    "quotas": of_quotas,
    "activity": of_activity,
    "denials": of_denials,
    "events": of_events,
    "gc": of_gc,
    "backups": of_backups,
    "jobs": of_jobs,
}


# -- making them -----------------------------------------------------------------------------------
def _gauge(name: str, text: str, *rows: Row, label: str = "") -> Metric:
    made = GaugeMetricFamily(f"boathouse_{name}", text, labels=[label] if label else [])
    for labels, value in rows:
        made.add_metric(labels, value)
    return made


def _counter(name: str, text: str, *rows: Row, labels: tuple[str, ...] = ()) -> Metric:
    made = CounterMetricFamily(f"boathouse_{name}", text, labels=labels)
    for values, value in rows:
        made.add_metric(values, value)
    return made


def _rows(values: Mapping[str, float]) -> Iterator[Row]:
    for name, value in values.items():
        yield (name,), value


def _times(times: dict[tuple[str, ...], datetime | None]) -> Iterator[Row]:
    """Those that are known, in seconds of the epoch."""
    for labels, at in times.items():
        if at is not None:
            yield labels, at.timestamp()
