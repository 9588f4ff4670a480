"""The doctor on backups: from the runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from registryui.doctor.backup import check_backup
from registryui.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nightly(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BACKUP_TO, settings.BACKUP_SCHEDULE = "/mnt/backups", "30 1 * * *"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


def make_run(state: str = "done", *, hours: float = 0, **result: Any) -> None:
    at = timezone.now() - timedelta(hours=hours)
    run = Run.objects.create(
        kind=Run.Kind.BACKUP, state=state, heartbeat_at=at, finished_at=at, result=result
    )
    Run.objects.filter(pk=run.pk).update(started_at=at)


def code() -> tuple[str, str]:
    found = check_backup()
    assert found is not None
    return found.state, found.code


def test_nothing_is_said_without_backups(settings: Any) -> None:
    settings.BACKUP_TO = ""
    assert check_backup() is None


def test_none_yet() -> None:
    assert code() == ("warn", "backup-none")


def test_a_new_one_is_fine() -> None:
    make_run(hours=5, bytes=1000)
    assert code() == ("ok", "backup-ok")


def test_one_that_is_older_than_the_schedule_is_late() -> None:
    make_run(hours=50)
    assert code() == ("warn", "backup-late")


def test_without_a_schedule_a_week_is_fine(settings: Any) -> None:
    settings.BACKUP_TO = ""
    make_run(hours=24 * 7)
    assert code() == ("ok", "backup-ok")
    Run.objects.update(started_at=timezone.now() - timedelta(days=9))
    assert code() == ("warn", "backup-late")


def test_a_failed_one_is_bad_though_an_earlier_one_is_there() -> None:
    make_run(hours=5)
    make_run("failed", problem="The disk is full")
    assert code() == ("bad", "backup-failed")


def test_what_it_lacks() -> None:
    make_run(missing=["sha256:" + "0" * 64])
    assert code() == ("warn", "backup-missing")


def test_without_its_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert code() == ("bad", "backup-no-program")
