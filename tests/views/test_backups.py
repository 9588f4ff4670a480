"""The page of backups reads the runs and asks the worker."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from registryui.backup import process
from registryui.models import Role, Run
from tests.support.pages import HOSTILE, client_of, text

pytestmark = pytest.mark.django_db

PAGE = "/maintenance/backups"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who has asked the worker for a backup."""
    calls: list[str] = []
    monkeypatch.setattr(process, "run", lambda *, by: calls.append(by))
    return calls


@pytest.fixture
def nightly(settings: Any) -> None:
    settings.BACKUP_TO = "/mnt/backups"


def make_run(state: str = "done", **result: Any) -> Run:
    now = timezone.now()
    return Run.objects.create(
        kind=Run.Kind.BACKUP, state=state, heartbeat_at=now, by="schedule", result=result
    )


def test_without_backups_the_page_teaches_them() -> None:
    said = text(client_of(Role.ADMIN).get(PAGE))
    assert "./boathouse backup /mnt/backups/boathouse" in said
    assert "--rehearse" in said
    assert "BOATHOUSE_BACKUP_TO=" in said


@pytest.mark.usefixtures("nightly")
def test_the_last_one_and_the_next() -> None:
    make_run(tags=40, bytes=2_000_000_000, added_bytes=3_000_000, target="/mnt/backups")
    said = text(client_of(Role.ADMIN).get(PAGE))
    assert "2.0 GB" in said
    assert "01:30" in said
    assert "secrets/backup-password" in said


@pytest.mark.usefixtures("nightly")
def test_why_it_failed_is_said_and_is_text() -> None:
    make_run("failed", problem=HOSTILE)
    answer = client_of(Role.ADMIN).get(PAGE)
    assert HOSTILE in text(answer)
    assert HOSTILE.encode() not in answer.content


@pytest.mark.usefixtures("nightly")
def test_why_an_older_one_failed_is_in_its_row() -> None:
    make_run("failed", problem="The disk is full.")
    make_run()
    assert "The disk is full." in text(client_of(Role.ADMIN).get(PAGE))


@pytest.mark.usefixtures("nightly")
def test_run_now_asks_the_worker_once(asked: list[str]) -> None:
    admin = client_of(Role.ADMIN)
    assert admin.post(f"{PAGE}/start").status_code == 302
    assert len(asked) == 1
    make_run("running")
    assert "already in progress" in text(admin.post(f"{PAGE}/start", follow=True))
    assert len(asked) == 1


def test_nothing_is_asked_without_a_place(asked: list[str]) -> None:
    assert "BOATHOUSE_BACKUP_TO" in text(client_of(Role.ADMIN).post(f"{PAGE}/start", follow=True))
    assert asked == []


def test_stop_asks_the_run() -> None:
    run = make_run("running")
    client_of(Role.ADMIN).post(f"{PAGE}/stop")
    run.refresh_from_db()
    assert run.stop_asked_by


def test_a_fragment_that_shows_the_same_is_not_sent_again() -> None:
    make_run()
    admin = client_of(Role.ADMIN)
    token = admin.get(PAGE).context["token"]
    answer = admin.get(f"{PAGE}?seen={token}", headers={"HX-Request": "true"})
    assert answer.status_code == 204
