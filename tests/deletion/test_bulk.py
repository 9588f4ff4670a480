"""Many tags as one run, on a real registry: stopped, refused, failed, and restored."""

from __future__ import annotations

import pytest

from registryui import runs
from registryui.deletion import bulk, execute, restore
from registryui.deletion.execute import Selection
from registryui.models import Run, TagTombstone
from registryui.refused import Refused
from tests.support.deletion_pages import World

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
BY = "operator:mika"


@pytest.fixture
def tags(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nine tags on three images, deleted and restored by threes."""
    monkeypatch.setattr(execute, "BATCH", 3)
    monkeypatch.setattr(restore, "BATCH", 3)
    names = [f"1.{n}" for n in range(9)]
    for n, name in enumerate(names):
        world.push(name, layer=f"layer {n % 3}")
    world.sync()
    return names


def begin(world: World, tags: list[str]) -> tuple[Run, Selection, str]:
    selection = Selection(world.name, tags=tuple(tags))
    run = bulk.begin("delete", world.name, total=len(tags), by=BY)
    return run, selection, execute.plan(selection).fingerprint


def test_a_run_deletes_and_another_one_restores(world: World, tags: list[str]) -> None:
    run, selection, fingerprint = begin(world, tags)
    bulk.delete(run, selection, fingerprint=fingerprint)
    run.refresh_from_db()
    assert (run.state, run.done, run.total) == ("done", 9, 9)
    assert run.result == {
        "what": "delete",
        "repository": world.name,
        "act": TagTombstone.objects.values_list("act", flat=True)[0],
        "changed": 9,
        "failed": 0,
        "problem": "",
    }
    assert not any(world.now(tag) for tag in tags)
    act = run.result["act"]
    back = bulk.begin("restore", world.name, total=9, by=BY, act=act)
    bulk.restore(back)
    back.refresh_from_db()
    assert (back.state, back.done, back.result["changed"]) == ("done", 9, 9)
    assert {tag: world.now(tag) for tag in tags} == world.digests


def test_a_stopped_run_ends_after_its_batch_and_can_be_undone(
    world: World,
    tags: list[str],
) -> None:
    run, selection, fingerprint = begin(world, tags)
    runs.ask_to_stop(run, by=BY)
    bulk.delete(run, selection, fingerprint=fingerprint)
    run.refresh_from_db()
    assert (run.state, run.done, run.result["changed"]) == ("stopped", 3, 3)
    assert sum(not world.now(tag) for tag in tags) == 3
    restore.restore_act(run.result["act"], by=BY)
    assert {tag: world.now(tag) for tag in tags} == world.digests


def test_an_undo_is_stopped_in_the_same_way(world: World, tags: list[str]) -> None:
    selection = Selection(world.name, tags=tuple(tags))
    plan = execute.plan(selection)
    act = execute.execute(selection, fingerprint=plan.fingerprint, by=BY).act
    run = bulk.begin("restore", world.name, total=9, by=BY, act=act)
    runs.ask_to_stop(run, by=BY)
    bulk.restore(run)
    run.refresh_from_db()
    assert (run.state, run.done) == ("stopped", 3)
    assert sum(bool(world.now(tag)) for tag in tags) == 3
    assert restore.restorable().filter(act=act).count() == 6


def test_a_plan_that_changed_before_the_job_began_deletes_nothing(
    world: World,
    tags: list[str],
) -> None:
    run, selection, fingerprint = begin(world, tags)
    world.push(tags[0], layer="newer")
    world.sync()
    bulk.delete(run, selection, fingerprint=fingerprint)
    run.refresh_from_db()
    assert run.state == "failed"
    assert "changed" in run.result["problem"]
    assert all(world.now(tag) for tag in tags)


def test_what_moved_is_counted_and_named(world: World, tags: list[str]) -> None:
    run, selection, fingerprint = begin(world, tags)
    newer = world.push(tags[0], layer="newer")  # the index has not heard of it
    bulk.delete(run, selection, fingerprint=fingerprint)
    run.refresh_from_db()
    assert (run.state, run.result["changed"], run.result["failed"]) == ("done", 8, 1)
    assert run.log.startswith(f"{tags[0]}: moved")
    assert world.now(tags[0]) == newer


def test_one_run_at_a_time_and_a_dead_one_is_not_taken_up(world: World, tags: list[str]) -> None:
    run, selection, fingerprint = begin(world, tags)
    with pytest.raises(Refused):
        bulk.begin("delete", world.name, total=1, by=BY)
    runs.end(run, Run.State.FAILED)
    bulk.delete(run, selection, fingerprint=fingerprint)
    assert all(world.now(tag) for tag in tags)


def test_a_registry_that_does_not_answer_ends_the_run(
    world: World,
    tags: list[str],
    settings: object,
) -> None:
    run, selection, fingerprint = begin(world, tags)
    settings.REGISTRY_URL = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    bulk.delete(run, selection, fingerprint=fingerprint)
    run.refresh_from_db()
    assert (run.state, run.result["changed"]) == ("failed", 0)
    assert "The registry does not respond, so nothing was done" in run.result["problem"]
    assert all(world.now(tag) for tag in tags)
