"""The doctor on garbage collection: from the runs, also of runs that died."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui import doctor
from registryui.doctor import gc
from registryui.models import Run, StoreDay, Tag
from tests.support.factories import make_repository, make_tag

pytestmark = pytest.mark.django_db

GB = 10**9


@pytest.fixture(autouse=True)
def weekly(settings: Any) -> None:
    """Sundays at 02:00."""
    settings.GC_SCHEDULE = "0 2 * * 0"


def make_run(state: str = "done", *, days: float = 0, log: str = "", **result: Any) -> Run:
    """A run that ended so many days ago."""
    at = timezone.now() - timedelta(days=days)
    whole = {
        "dry_run": False,
        "stage": "done",
        "in_quarantine": 0,
        "in_quarantine_bytes": 0,
        "due_at": "",
    }
    run = Run.objects.create(
        kind=Run.Kind.GC,
        state=state,
        heartbeat_at=at,
        finished_at=None if state == "running" else at,
        log=log,
        result={**whole, **result},
    )
    Run.objects.filter(pk=run.pk).update(started_at=at)
    return run


def said(finding: doctor.Finding) -> str:
    words = doctor.texts(finding)
    assert words.value != finding.code, "no words for this code"
    assert "%(" not in f"{words}"
    assert bool(words.advice) == (finding.state != "ok")
    return " | ".join((words.title, words.value, words.note, words.advice)).replace("\xa0", " ")


def test_a_new_store_without_a_gc_run_is_healthy() -> None:
    StoreDay.objects.create(day=timezone.now().date(), measured_at=timezone.now())
    finding = gc.check_gc()
    assert (finding.state, finding.code) == ("ok", "gc-none")
    assert "next: Sun" in said(finding)


def test_an_old_store_that_never_had_one_needs_care(settings: Any) -> None:
    at = timezone.now() - timedelta(days=30)
    StoreDay.objects.create(day=at.date(), measured_at=at)
    make_run(dry_run=True)  # an estimate frees nothing
    finding = gc.check_gc()
    assert (finding.state, finding.code) == ("warn", "gc-never")
    assert "No run in 30 days" in said(finding)
    settings.GC_SCHEDULE = ""
    assert "manual only" in said(gc.check_gc())


def test_the_last_one_is_told_with_what_it_freed() -> None:
    make_run(days=3, freed_bytes=5 * GB, in_quarantine=4, in_quarantine_bytes=2 * GB)
    finding = gc.check_gc()
    assert finding.state == "ok"
    assert "Last run 3 days ago | 5.0 GB freed, 2.0 GB in quarantine" in said(finding)


def test_a_running_one_is_well_and_one_that_died_is_not() -> None:
    run = make_run("running", stage="mark")
    assert gc.check_gc().code == "gc-running"
    said(gc.check_gc())
    Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    finding = gc.check_gc()
    assert (finding.state, finding.code) == ("warn", "gc-failed")
    said(finding)


def test_a_failed_one_is_told_until_one_is_well_again() -> None:
    make_run("failed", stage="mark", log="a\nthe disk does not answer")
    make_run(dry_run=True)
    finding = gc.check_gc()
    assert (finding.state, finding.params["error"]) == ("warn", "the disk does not answer")
    said(finding)
    make_run()
    assert gc.check_gc().state == "ok"


def test_a_run_that_skipped_a_repository_needs_care() -> None:
    make_run(skipped_repositories=[["team/app", "tag 1: its link cannot be read"], ["b", "no"]])
    finding = gc.check_gc()
    assert (finding.state, finding.code) == ("warn", "gc-skipped")
    assert "2 repositories | team/app: tag 1" in said(finding)
    make_run(skipped_repositories=[1])
    assert gc.check_gc().code == "gc-ok"


def test_a_run_that_was_not_reviewed_needs_care_until_one_was() -> None:
    make_run("failed", reviewed=False)
    make_run("failed", reviewed=None, stage="canary")
    finding = gc.check_gc()
    assert (finding.state, finding.code) == ("warn", "gc-unreviewed")
    assert "Check whether the worker is running" in said(finding)
    make_run(reviewed=True, is_review=True)
    assert gc.check_gc().code == "gc-ok"


def test_a_registry_that_remembers_blobs_is_an_alarm() -> None:
    make_run("failed", stage="canary", problem="the registry still has it")
    finding = gc.check_gc()
    assert (finding.state, finding.code) == ("bad", "gc-canary")
    assert "the registry still has it" in said(finding)
    assert "blobdescriptor" in said(finding)


@pytest.mark.parametrize(
    ("schedule", "due_days", "is_late"),
    [
        ("0 2 * * *", 1, True),
        ("0 2 * * 0", 0.2, False),
        ("0 2 * * 0", 0.3, True),  # whatever the schedule says, what is due goes at once
        ("", 9, False),
        ("", 31, True),
    ],
)
def test_what_waits_much_longer_than_it_should_is_told(
    settings: Any, schedule: str, due_days: float, is_late: bool
) -> None:
    settings.GC_SCHEDULE = schedule
    due_at = timezone.now() - timedelta(days=due_days)
    make_run(
        days=due_days + 1, in_quarantine=3, in_quarantine_bytes=2 * GB, due_at=due_at.isoformat()
    )
    finding = gc.check_gc()
    assert (finding.code == "gc-overdue") == is_late
    if is_late:
        assert finding.state == "warn"
        assert "2.0 GB in quarantine are overdue | due" in said(finding)


@pytest.mark.parametrize("due_at", ["", "soon", "2026-11-01T00:00:00", None, 7])
def test_an_odd_time_is_no_error(due_at: object) -> None:
    make_run(days=300, in_quarantine=3, due_at=due_at)
    assert gc.check_gc().code == "gc-ok"


def test_broken_tags_are_an_alarm_while_they_are_broken() -> None:
    assert gc.check_integrity() is None
    tag = make_tag(make_repository("team/api"), "1")
    Tag.objects.filter(pk=tag.pk).update(problem=Tag.Problem.BROKEN)
    Run.objects.create(kind=Run.Kind.INTEGRITY, state="done", result={"broken": 1})
    finding = gc.check_integrity()
    assert finding is not None
    assert (finding.state, finding.code) == ("bad", "integrity-broken")
    assert "1 incomplete tag" in said(finding)
    Tag.objects.update(problem="")
    assert gc.check_integrity() is None


def test_a_full_disk_is_told_what_would_come_free() -> None:
    disk = doctor.Finding("disk", "warn", "disk-low", {"free": 1, "total": 9, "path": "/d"})
    assert "./boathouse gc --dry-run" in said(gc.with_gc_estimate(disk))
    make_run(in_quarantine=3, in_quarantine_bytes=2 * GB, candidate_bytes=7 * GB)
    words = said(gc.with_gc_estimate(disk))
    assert "2.0 GB in quarantine: “Purge now”" in words
    assert "more" not in words
    make_run(dry_run=True, in_quarantine=3, in_quarantine_bytes=2 * GB, candidate_bytes=7 * GB)
    assert "Garbage collection would free another 7.0 GB" in said(gc.with_gc_estimate(disk))
    make_run(dry_run=True)
    assert "collecting" not in said(gc.with_gc_estimate(disk)).lower()


def test_a_disk_with_room_is_not_looked_into(django_assert_num_queries: Any) -> None:
    disk = doctor.Finding("disk", "ok", "disk-ok", {"free": 8, "total": 9, "path": "/d"})
    with django_assert_num_queries(0):
        assert gc.with_gc_estimate(disk) is disk


def test_the_next_one_is_said_in_the_zone_of_the_instance(settings: Any) -> None:
    settings.GC_SCHEDULE = "0 2 * * *"
    at = datetime.fromisoformat("2026-11-24T10:00:00+00:00")
    finding = gc.check_gc(now=at)
    assert finding.params["next"] == "2026-11-25T02:00:00+00:00"
