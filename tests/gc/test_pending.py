"""Where space is held and until when: the page and the command say the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui.gc import access
from registryui.models import Role, StoreDay
from tests.support.commands import Command
from tests.support.factories import make_tombstone
from tests.support.pages import client_of, text
from tests.support.run_rows import make_run

pytestmark = pytest.mark.django_db
gc = Command("gc")


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "obstacle", str)


@pytest.fixture
def stages(settings: Any) -> None:
    """Something in each of the four, with settings that are not the default."""
    settings.UNDO_DAYS, settings.GC_GRACE = 14, timedelta(hours=36)
    settings.QUARANTINE_TIME = timedelta(hours=48)
    now = timezone.now()
    StoreDay.objects.create(day=now.date(), measured_at=now, undo_size=8_400_000)
    make_tombstone("team/app", "1", keep_until=now + timedelta(days=2))
    make_tombstone("team/app", "2", keep_until=now + timedelta(days=5))
    make_tombstone("team/app", "3", keep_until=now + timedelta(days=9), restored_at=now)
    make_run(minutes=60, in_quarantine_bytes=2_000_000, freed_bytes=3_000_000)
    due = (now + timedelta(days=1)).isoformat()
    make_run(
        dry_run=True,
        grace_bytes=1_200_000,
        candidate_bytes=700_000,
        in_quarantine_bytes=2_500_000,
        due_at=due,
        minutes=5,
    )


def test_the_page_shows_the_stages_with_bytes_settings_and_times(stages: None) -> None:
    answer = client_of(Role.VIEWER).get("/maintenance/gc")
    said = text(answer)
    last = timezone.localtime(timezone.now() + timedelta(days=5))
    for words in (
        f"Undo: 14 days 8.4 MB held for undo until {last.day} {last:%B} Show list",
        "Minimum age: 36 hours 1.2 MB unreachable; 700 kB more is old enough for the next run",
        "Quarantine: 2 days 2.5 MB the first can be purged from",
        "Freed 3.0 MB by the last run",
    ):
        assert words in said, words
    assert 'href="/maintenance/recently-deleted"' in answer.content.decode()


def test_the_command_says_the_same(stages: None) -> None:
    found = gc.facts("--status")
    assert {name: value for name, value in found.items() if "size" in name} == {
        "undo_size": 8_400_000,
        "grace_size": 1_200_000,
        "candidate_size": 700_000,
        "quarantine_size": 2_500_000,
        "freed_size": 3_000_000,
    }
    assert (found["undo_days"], found["grace_seconds"]) == (14, 36 * 3600)
    assert found["undo_first"] < found["undo_last"]
    lines = gc.said("--status").splitlines()
    assert [line.split()[0] for line in lines] == ["undo", "minimum", "quarantine", "freed"]
    assert "14 d" in lines[0]
    assert "8.4 MB" in lines[0]


def test_nothing_is_made_up_before_anything_was_counted() -> None:
    said = text(client_of(Role.VIEWER).get("/maintenance/gc"))
    assert "Nothing is held for undo. not measured yet" in said
    assert "Run an estimate to count it." in said
    assert all("not known yet" in line for line in gc.said("--status").splitlines())
