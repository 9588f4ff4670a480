"""Retention in earnest, on a real registry: what goes, what stays, and what can interrupt it."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from registryui import runs, tasks
from registryui.deletion import execute, protection, restore
from registryui.index.sync import sync
from registryui.models import AuditEvent, RetentionPolicy, Run, Tag, TagTombstone
from registryui.registry.client import RegistryClient
from registryui.retention import policies
from registryui.retention import runs as retention_runs
from registryui.retention.policies import Wanted
from tests.support.parts import running_registry
from tests.support.registries import Registry

pytestmark = pytest.mark.django_db


@pytest.fixture
def real(tmp_path: Path, settings: Settings) -> Iterator[Registry]:
    """team/app with v0 (newest) to v9, each on an image of its own, and `stable` on v9's."""
    with running_registry(tmp_path / "registry") as url:
        settings.REGISTRY_URL = url
        registry = Registry(url, tmp_path / "registry" / "store")
        for number in range(10):
            layer = f"layer {number}".encode()
            digest = registry.push_image("team/app", f"v{number}", layers=[layer])
        registry.put("team/app", "stable", registry.get("team/app", digest).body, _type(registry))
        read()
        for number in range(10):
            age(f"v{number}", number * 10)
        age("stable", 90)
        yield registry


def _type(registry: Registry) -> str:
    return registry.get("team/app", "v9").headers["content-type"]


def read() -> None:
    """A sync, as the worker does it."""
    with RegistryClient(str(_url())) as client:
        assert sync(client, by="test") is not None


def _url() -> object:
    from django.conf import settings  # the fixture's

    return settings.REGISTRY_URL


def age(tag: str, days: float) -> None:
    Tag.objects.filter(name=tag).update(tagged_at=timezone.now() - timedelta(days=days))


def tags(registry: Registry) -> set[str]:
    return set(registry.tags("team/app").json()["tags"] or ())


def make_policy(name: str = "nightly", **fields: Any) -> RetentionPolicy:
    wanted = Wanted(**{"name": name, "repositories": "team/*", "tags": "v*", **fields})
    return policies.set_active(
        policies.add(wanted, by="operator:vera"), is_active=True, by="operator:vera"
    )


def run(policy: RetentionPolicy, by: str = "operator:vera") -> Run:
    return retention_runs.carry_out(retention_runs.begin(policy, by=by, is_dry=False))


def report(done: Run) -> dict[str, str]:
    return {fate.tag: fate.kind for fate in done.fates.order_by("id")}


def test_what_the_dry_run_named_goes_and_the_rest_is_pullable(real: Registry) -> None:
    policy = make_policy(keep_newest=3)
    dry = retention_runs.carry_out(retention_runs.begin(policy, by="a", is_dry=True))
    named = {fate.tag for fate in dry.fates.filter(kind="goes")}
    done = run(policy)
    assert (done.state, done.result["goes"], done.result["failed"]) == (Run.State.DONE, 7, 0)
    assert set(report(done)) == named == {f"v{number}" for number in range(3, 10)}
    assert tags(real) == {"v0", "v1", "v2", "stable"}
    for tag in tags(real):
        assert real.get("team/app", tag).status == 200
    assert done.fates.get(tag="v9").beside == "stable"  # its image is still there
    assert done.result["freed"] == dry.result["freed"] > 0
    assert Tag.objects.filter(repository__name="team/app").count() == 4


def test_the_deletes_bear_the_name_of_the_policy_and_can_be_undone(real: Registry) -> None:
    before = {
        tag: real.get("team/app", tag).headers["docker-content-digest"] for tag in ("v5", "v9")
    }
    run(make_policy(keep_newest=3), by="schedule")
    audited = AuditEvent.objects.filter(act="tag.delete")
    assert set(audited.values_list("actor", flat=True)) == {"policy nightly"}
    assert audited.count() == 7
    last = AuditEvent.objects.order_by("id").last()
    assert last is not None
    assert (last.act, last.target, last.actor) == ("retention.run", "nightly", "schedule")
    assert (last.details["goes"], last.details["state"]) == (7, "done")
    for tag, digest in before.items():
        restore.restore(TagTombstone.objects.get(tag=tag), by="operator:vera")
        assert real.get("team/app", tag).headers["docker-content-digest"] == digest


def test_a_second_run_finds_nothing(real: Registry) -> None:
    policy = make_policy(keep_newest=3)
    run(policy)
    again = run(policy)
    assert (again.state, again.result["goes"], again.fates.count()) == (Run.State.DONE, 0, 0)


def at_the_plan(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], *, before: bool = True
) -> None:
    """Something happens once, right before or after the first plan of a batch."""
    real_plan, left = execute.plan, [happens]

    def plan(selection: execute.Selection) -> execute.Plan:
        if before and left:
            left.pop()()
        made = real_plan(selection)
        if left:
            left.pop()()
        return made

    monkeypatch.setattr(execute, "plan", plan)


@pytest.mark.parametrize("is_before", [True, False], ids=["before the plan", "after the plan"])
def test_a_tag_pushed_anew_in_the_last_moment_stays(
    real: Registry, monkeypatch: pytest.MonkeyPatch, is_before: bool
) -> None:
    """Known to the index or not: the registry is asked again."""
    new = []

    def push() -> None:
        new.append(real.push_image("team/app", "v5", layers=[b"new"]))
        if is_before:
            read()

    at_the_plan(monkeypatch, push, before=is_before)
    done = run(make_policy(keep_newest=3))
    assert real.get("team/app", "v5").headers["docker-content-digest"] == new[0]
    assert done.fates.get(tag="v5").kind == "failed"
    assert tags(real) == {"v0", "v1", "v2", "v5", "stable"}


def test_a_tag_protected_in_the_last_moment_stays(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_plan(monkeypatch, lambda: protection.add("*", "v5", note="", by="operator:mika"))
    done = run(make_policy(keep_newest=3))
    assert "v5" in tags(real)
    assert done.fates.get(tag="v5").note == "protected"
    assert done.result["goes"] == 6


def test_a_policy_that_is_changed_or_disabled_stops_its_run(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(keep_newest=3)
    monkeypatch.setattr(retention_runs, "BATCH", 2)
    at_the_plan(
        monkeypatch, lambda: policies.set_active(policy, is_active=False, by="operator:mika")
    )
    done = run(policy)
    assert (done.state, done.result["goes"]) == (Run.State.STOPPED, 2)
    assert "disabled" in done.log
    assert len(tags(real)) == 9


def test_another_policy_that_is_enabled_meanwhile_keeps_from_then_on(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_runs, "BATCH", 2)
    at_the_plan(monkeypatch, lambda: make_policy("other", keep_newest=9))
    done = run(make_policy(keep_newest=3))
    assert set(report(done)) <= {"v3", "v4", "v9"}
    assert {f"v{number}" for number in range(5, 9)} <= tags(real)


def test_stopping_ends_after_the_batch_and_leaves_all_consistent(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(keep_newest=3)
    monkeypatch.setattr(retention_runs, "BATCH", 2)
    monkeypatch.setattr(runs, "STEP", 0)
    begun = retention_runs.begin(policy, by="a", is_dry=False)
    at_the_plan(monkeypatch, lambda: runs.ask_to_stop(begun, by="operator:mika"))
    done = retention_runs.carry_out(begun)
    assert (done.state, done.result["goes"]) == (Run.State.STOPPED, 2)
    assert "operator:mika" in done.log
    assert set(report(done)) | tags(real) == {*(f"v{n}" for n in range(10)), "stable"}
    assert run(policy).result["goes"] == 5  # the next one goes on


def test_a_registry_that_is_away_ends_the_run_and_nothing_is_lost(
    real: Registry, settings: Settings
) -> None:
    url, settings.REGISTRY_URL = settings.REGISTRY_URL, "http://127.0.0.1:9"
    done = run(make_policy(keep_newest=3))
    settings.REGISTRY_URL = url
    assert done.state == Run.State.FAILED
    assert done.result["goes"] == 0
    assert {fate.kind for fate in done.fates.all()} == {"failed"}
    assert len(tags(real)) == 11
    assert AuditEvent.objects.order_by("id").last().result == "failed"  # type: ignore[union-attr]


def test_many_batches_delete_all_of_them(real: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_runs, "BATCH", 2)
    done = run(make_policy(keep_newest=1))
    assert done.result["goes"] == 9
    assert tags(real) == {"v0", "stable"}


# -- by schedule ---------------------------------------------------------------------------------
def test_a_policy_runs_when_it_is_due_once_and_has_a_new_time(real: Registry) -> None:
    policy = make_policy(keep_newest=3, schedule="0 4 * * SUN")
    tasks.retention_by_schedule.call_local()
    assert not Run.objects.filter(kind=Run.Kind.RETENTION).exists()
    RetentionPolicy.objects.update(next_at=timezone.now())
    tasks.retention_by_schedule.call_local()
    tasks.retention_by_schedule.call_local()
    done = Run.objects.get(kind=Run.Kind.RETENTION)
    assert (done.by, done.result["due"], done.result["goes"]) == ("schedule", "", 7)
    policy.refresh_from_db()
    assert policy.next_at is not None
    assert policy.next_at > timezone.now()


def test_runs_missed_while_down_come_once_and_only_after_a_sync(real: Registry) -> None:
    make_policy(keep_newest=3, schedule="0 4 * * *")
    due = timezone.now() - timedelta(days=9)
    RetentionPolicy.objects.update(next_at=due)
    Run.objects.filter(kind=Run.Kind.SYNC).update(started_at=due - timedelta(hours=1))
    tasks.retention_by_schedule.call_local()
    assert not Run.objects.filter(kind=Run.Kind.RETENTION).exists()
    read()
    tasks.retention_by_schedule.call_local()
    tasks.retention_by_schedule.call_local()
    done = Run.objects.get(kind=Run.Kind.RETENTION)
    assert done.result["due"] == due.isoformat()
    assert done.result["goes"] == 7


def test_two_policies_that_are_due_run_one_after_the_other(real: Registry) -> None:
    make_policy("one", tags="v3 v4", keep_tags="v4", schedule="0 4 * * *")
    make_policy("two", tags="v5 v6", keep_tags="v6", schedule="0 4 * * *")
    RetentionPolicy.objects.update(next_at=timezone.now())
    tasks.retention_by_schedule.call_local()
    assert Run.objects.filter(kind=Run.Kind.RETENTION, state=Run.State.DONE).count() == 2
    assert {"v4", "v6"} <= tags(real)
    assert not {"v3", "v5"} & tags(real)


def test_a_policy_that_is_due_while_another_runs_waits(real: Registry) -> None:
    policy = make_policy(keep_newest=3, schedule="0 4 * * *")
    busy = retention_runs.begin(make_policy("busy", tags="x*", keep_newest=1), by="a", is_dry=False)
    due = timezone.now()
    RetentionPolicy.objects.filter(pk=policy.pk).update(next_at=due)
    tasks.retention_by_schedule.call_local()
    policy.refresh_from_db()
    assert policy.next_at == due
    retention_runs.carry_out(busy)
    tasks.retention_by_schedule.call_local()
    assert Run.objects.get(by="schedule").result["goes"] == 7


def test_a_draft_is_never_due(real: Registry) -> None:
    policy = make_policy(keep_newest=3, schedule="0 4 * * *")
    policies.set_active(policy, is_active=False, by="a")
    RetentionPolicy.objects.update(next_at=timezone.now())
    tasks.retention_by_schedule.call_local()
    assert len(tags(real)) == 11


def test_the_report_is_json_for_ever(real: Registry) -> None:
    done = run(make_policy(keep_newest=3))
    assert json.loads(json.dumps(done.result))["policy"]["name"] == "nightly"
