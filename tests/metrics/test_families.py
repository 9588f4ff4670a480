"""The metrics are right, and cheap: a few queries, none of a table that grows with the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from registryui import doctor, metrics, tls
from registryui.metrics import families
from registryui.models import Denial, RegistryEvent, Repository, Run, StoreDay

pytestmark = pytest.mark.django_db

GROWING = ("registryui_tag", "registryui_manifest", "registryui_blob", "registryui_repository")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, settings: Settings) -> Path:
    for name in ("run", "log", "tls"):
        (tmp_path / name).mkdir()
    settings.DATA, settings.TLS_DIR = tmp_path, tmp_path / "tls"
    settings.RUN_DIR, settings.LOG_DIR = tmp_path / "run", tmp_path / "log"
    settings.SOCKETS_DIR = tmp_path / "run"
    tls.ensure(settings.TLS_DIR, names=["localhost"])
    return tmp_path


def scraped() -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and label values of each sample to its number, as Prometheus reads them."""
    text = metrics.text(families.all_of_them()).decode()
    return {
        (sample.name.removeprefix("boathouse_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_run(kind: str, state: str, hours: float, **result: Any) -> Run:
    run = Run.objects.create(kind=kind, state=state, result=result)
    at = timezone.now() - timedelta(hours=hours)
    Run.objects.filter(pk=run.pk).update(started_at=at, heartbeat_at=at, finished_at=at)
    run.refresh_from_db()
    return run


def test_an_empty_instance_has_metrics(folders: Path) -> None:
    found = scraped()
    assert found["repositories", ()] == found["pulls_total", ()] == 0
    assert found["part_up", ("registry",)] == found["part_up", ("passwords",)] == 0
    assert found["part_up", ("web",)] == 1
    assert found["check_state", ("worker",)] == 2
    assert 0 < found["disk_free_bytes", ("data",)] <= found["disk_total_bytes", ("data",)]
    leaf = tls.read_certificate(tls.server_certificate())
    until = found["certificate_expiry_timestamp_seconds", ("server",)]
    assert until == leaf.not_after.timestamp()
    assert ("certificate_expiry_timestamp_seconds", ("ca",)) in found
    assert not [key for key in found if key[0] == "scrape_failed"]
    assert ("backup_timestamp_seconds", ()) not in found


def test_each_number_is_that_of_the_tables() -> None:
    Repository.objects.create(name="team/a", namespace="team", tag_count=7, manifest_count=9)
    now = timezone.now()
    StoreDay.objects.create(day=now.date(), pulls=3, measured_at=now, blobs=4, size=10**12)
    StoreDay.objects.create(day=now.date() - timedelta(days=1), pulls=2, pushes=1)
    RegistryEvent.objects.create(event_id="a", action="push", repository="team/a", at=now)
    RegistryEvent.objects.create(
        event_id="b", action="push", repository="team/a", at=now, applied_at=now
    )
    make_run("gc", "done", 2, freed_bytes=5, in_quarantine=1, in_quarantine_bytes=6)
    make_run("gc", "done", 1, dry_run=True, in_quarantine=1, in_quarantine_bytes=8)
    saved = make_run("backup", "done", 30)
    make_run("backup", "failed", 6)
    make_run("sync", "failed", 2)
    synced = make_run("sync", "done", 1)
    make_run("sync", "running", 0)
    doctor.record([doctor.Finding("audit log", "bad", "audit-log-changed", {})])
    for days, address in [(0, "10.0.0.1"), (0, "10.0.0.2"), (1, "10.0.0.1")]:
        Denial.objects.create(
            **dict.fromkeys(("first_at", "at"), now),
            day=datetime.now(UTC).date() - timedelta(days=days),
            reason="no-right",
            action="push",
            address=address,
            count=3,
        )
    found = scraped()
    wanted = {
        "repositories": 1,
        "tags": 7,
        "manifests": 9,
        "blobs": 4,
        "blobs_size_bytes": 10**12,
        "pulls_total": 5,
        "pushes_total": 1,
        "events_waiting": 1,
        "gc_freed_bytes": 5,
        "gc_quarantine_bytes": 8,
        "backup_timestamp_seconds": saved.started_at.timestamp(),
    }
    assert {name: found[name, ()] for name in wanted} == wanted
    assert found["denials_total", ("push", "no-right")] == 6
    assert found["job_failed", ("backup",)] == 1
    assert found["job_failed", ("sync",)] == 0
    assert found["job_done_timestamp_seconds", ("sync",)] == synced.finished_at.timestamp()
    assert found["check_state", ("audit_log",)] == 2
    assert found["check_state", ("worker",)] == 0
    assert found["checked_timestamp_seconds", ()] == pytest.approx(now.timestamp(), abs=60)


def test_a_scrape_takes_few_queries_and_none_of_a_growing_table(
    django_assert_num_queries: Any,
) -> None:
    Repository.objects.create(name="team/a", namespace="team", tag_count=7)
    for kind in ("sync", "gc", "backup"):
        for hours in range(30):
            make_run(kind, "done", hours)
    doctor.record([])
    queries: CaptureQueriesContext
    with django_assert_num_queries(10) as queries:
        scraped()
    for query in queries:
        assert not [name for name in GROWING if f'"{name}"' in query["sql"]], query["sql"]


def test_what_cannot_be_read_is_named_and_the_rest_is_there(
    monkeypatch: pytest.MonkeyPatch, folders: Path
) -> None:
    def broken() -> families.Metrics:
        raise OSError("unreadable")

    monkeypatch.setitem(families.GROUPS, "certificates", broken)
    found = scraped()
    assert found["scrape_failed", ("certificates",)] == 1
    assert ("repositories", ()) in found


def test_a_database_that_is_down_is_asked_once_and_the_parts_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def down(name: str) -> families.Metrics:
        asked.append(name)
        raise DatabaseError("connection refused")

    for name in families.OF_TABLES:
        monkeypatch.setitem(families.GROUPS, name, lambda name=name: down(name))
    # The connection of the tests is kept.
    monkeypatch.setattr(families.connection, "close", lambda: None)
    found = scraped()
    assert len(asked) == 1
    assert found["scrape_failed", (asked[0],)] == 1
    assert ("part_up", ("registry",)) in found


def test_every_group_of_tables_is_one() -> None:
    assert families.GROUPS.keys() > families.OF_TABLES
