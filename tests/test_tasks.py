"""Background jobs, called as the worker calls them."""

import threading
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
from huey.contrib.djhuey import HUEY
from pytest_django.fixtures import Settings

from registryui import doctor, runs, tasks
from registryui.models import Run
from registryui.setup import health

from .support.waiting import until

pytestmark = pytest.mark.both_databases


@pytest.fixture
def order(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order. The round itself is tests/test_doctor.py's."""
    settings.RUN_DIR = tmp_path
    happened: list[str] = []

    def examine() -> list[doctor.Finding]:
        happened.append("round")
        return []

    monkeypatch.setattr(doctor, "examine", examine)
    return happened


@pytest.mark.django_db
def test_a_round_of_the_doctor_waits_for_an_up_that_still_starts(order: list[str]) -> None:
    def ready() -> None:
        order.append("ready")
        health.record(health.this_instance({"registry": 5000, "web": 8000}))

    with health.claim() as is_ours:
        assert is_ours
        timer = threading.Timer(0.3, ready)
        timer.start()
        tasks.examine.call_local()
        timer.join()
    assert order == ["ready", "round"]
    assert doctor.latest() is not None


@pytest.mark.django_db
def test_a_round_of_the_doctor_needs_no_up(order: list[str]) -> None:
    """systemd starts the worker by itself."""
    tasks.examine.call_local()
    assert order == ["round"]


def test_all_is_looked_at_once_though_huey_has_several_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    # What goes on for ever would go on in the tests after this one.
    monkeypatch.setattr(tasks, "here", lambda: False)
    monkeypatch.setattr(tasks, "WATCHES", {})
    monkeypatch.setattr(tasks, "_started", threading.Lock())
    monkeypatch.setattr(tasks, "sync_at_start", lambda: asked.append("sync"))
    monkeypatch.setattr(tasks, "examine", lambda: asked.append("examine"))
    tasks.at_start()
    tasks.at_start()
    until(lambda: len(asked) == 2, "both are asked for")
    assert asked == ["sync", "examine"]


@pytest.mark.django_db
def test_a_sync_that_was_cut_off_does_not_stop_the_next_start_from_reading(
    registry: str, settings: Settings
) -> None:
    """Ctrl-C in the middle leaves a run behind that looks alive for a minute."""
    settings.REGISTRY_URL = registry
    HUEY.storage.flush_all()
    cut_off = runs.begin(Run.Kind.SYNC, by="start")
    assert cut_off is not None
    tasks.sync_at_start.call_local()
    (again,) = HUEY.scheduled()

    cut_off.heartbeat_at -= runs.STALE * 2
    cut_off.save()
    HUEY.storage.flush_all()
    again.eta = None
    HUEY.execute(again)

    assert HUEY.scheduled() == []
    newest = Run.objects.filter(kind=Run.Kind.SYNC).latest("pk")
    assert (newest.state, newest.by) == (Run.State.DONE, "start")


def test_deletes_that_died_are_recovered_each_minute() -> None:
    (recover,) = [one for one in HUEY._registry.periodic_tasks if one.name == "recover_deletes"]
    assert all(
        recover.validate_datetime(datetime(2026, 11, 29, 3, one, tzinfo=UTC)) for one in range(60)
    )


def test_a_mirrored_repository_is_probed_less_and_less_often_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What of an image was absent when its manifest was pulled."""
    answers = [True, True, False]
    monkeypatch.setattr(tasks, "open_source", lambda: nullcontext())
    monkeypatch.setattr(tasks.index_sync, "fill", lambda _source, _name, _pool: answers.pop(0))
    HUEY.storage.flush_all()
    tasks._fill_soon("hub/app")
    arguments = []
    while HUEY.scheduled():
        (job,) = HUEY.scheduled()
        HUEY.storage.flush_all()
        arguments.append(job.args)
        job.eta = None
        HUEY.execute(job)
    assert arguments == [("hub/app",), ("hub/app", 1.0), ("hub/app", 2.0)]
    answers.append(True)
    tasks.fill_mirrored.call_local("hub/app", tasks.FILL_LONGEST)
    assert HUEY.scheduled() == []
