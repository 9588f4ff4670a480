"""A clock that jumps pauses what goes for its age. Only time is a fake here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from registryui import clock, doctor, tasks
from registryui.deletion import restore
from registryui.doctor import checks
from registryui.gc import collector
from registryui.models import AuditEvent, RetentionPolicy, Run, TagTombstone
from registryui.refused import Refused
from registryui.retention import runs as retention_runs

HOUR, DAY = 3600.0, 86400.0


class Machine:
    """Its clock, and how long it has been on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown, self.counted, self.boot = datetime.now(UTC).timestamp(), 1000.0, "first"
        monkeypatch.setattr(clock, "_counted", lambda: self.counted)
        monkeypatch.setattr(clock, "_boot", lambda: self.boot)
        monkeypatch.setattr("registryui.clock.time.time", lambda: self.shown)

    def runs(self, seconds: float) -> clock.Clock:
        """So much time passes, and the worker notes it."""
        self.shown += seconds
        self.counted += seconds
        return clock.note()

    def is_set(self, seconds: float) -> clock.Clock:
        """Somebody sets the clock, by so much."""
        self.shown += seconds
        return clock.note()

    def restarts(self, seconds: float) -> clock.Clock:
        """By its clock it was off for so long."""
        self.shown += seconds
        self.counted, self.boot = 5.0, f"{self.boot}+"
        return clock.note()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any) -> Machine:
    settings.RUN_DIR = tmp_path
    return Machine(monkeypatch)


def test_what_is_a_jump_and_what_ends_it(machine: Machine, subtests: pytest.Subtests) -> None:
    steps: list[tuple[str, float, bool]] = [
        ("runs", 10, False),
        ("runs", 30 * DAY, False),  # the worker was away, the machine was not
        ("is_set", HOUR, False),
        ("is_set", 8 * DAY, True),
        ("runs", 30 * DAY, True),  # nobody said anything
        ("restarts", 60, True),
        ("is_set", -8 * DAY, False),
        ("is_set", -3 * HOUR, True),
        ("is_set", 3 * HOUR, False),
        ("restarts", 20 * HOUR, False),
        ("restarts", 8 * DAY, True),  # off for so long, or set ahead: nobody counted
        ("runs", 23 * HOUR, True),
        ("restarts", 60, True),  # the day begins anew
        ("runs", 23 * HOUR, True),
        ("runs", 2 * HOUR, False),
        ("restarts", -3 * HOUR, True),
        ("restarts", 3 * HOUR + 60, False),
        ("restarts", 8 * DAY, True),
        ("is_set", -8 * DAY, False),  # it had been set ahead
    ]
    for number, (what, seconds, expected) in enumerate(steps):
        with subtests.test(f"{number}: {what} {seconds:.0f}"):
            assert getattr(machine, what)(seconds).has_jumped is expected
            assert clock.known().has_jumped is expected


def test_without_a_note_and_with_a_damaged_one_nothing_is_known(machine: Machine) -> None:
    assert not clock.known().has_jumped
    clock.note()
    clock._file().write_text("{")
    machine.shown += 8 * DAY
    assert not clock.known().has_jumped


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_jump_pauses_what_goes_for_its_age_until_somebody_trusts_the_clock(
    machine: Machine, settings: Any
) -> None:
    now = timezone.now()
    row = TagTombstone.objects.create(
        repository="team/app",
        tag="1",
        digest="sha256:" + "0" * 64,
        how=TagTombstone.How.DELETED,
        at=now,
        keep_until=now - timedelta(seconds=1) + timedelta(days=-1),
    )
    assert checks.check_clock() is None
    assert restore.restorable().count() == 0  # its restore period has ended
    machine.runs(10)
    machine.is_set(8 * DAY)
    TagTombstone.objects.update(keep_until=now + timedelta(days=7))
    with pytest.raises(Refused, match="trust-clock"):
        collector.run_gc(by="test")
    with pytest.raises(CommandError, match="trust-clock"):
        call_command("gc", "--purge-now", "--yes", stdout=StringIO())
    policy = RetentionPolicy.objects.create(
        name="all", repositories="*", keep_newest=1, is_active=True
    )
    with pytest.raises(Refused, match="trust-clock"):
        retention_runs.begin(policy, by="test", is_dry=False)
    assert (
        restore.restorable().get() == row
    )  # though the clock says that its restore period has ended
    settings.GC_SCHEDULE = "* * * * *"
    tasks.gc_by_schedule.call_local()
    assert not Run.objects.filter(kind=Run.Kind.GC).exists()
    finding = checks.check_clock()
    assert finding is not None
    words = doctor.texts(finding)
    assert "--trust-clock" in words.advice
    assert "%(" not in str(words)

    out = StringIO()
    call_command("gc", "--trust-clock", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"trusted": True}
    assert checks.check_clock() is None
    if settings.IS_POSTGRESQL:  # whose clock is another one, and right
        with pytest.raises(Refused, match="database"):
            clock.check()
    else:
        clock.check()
    assert AuditEvent.objects.filter(act="clock.trust").count() == 1
    call_command("gc", "--trust-clock", stdout=out)
    assert AuditEvent.objects.filter(act="clock.trust").count() == 1
