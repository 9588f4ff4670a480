"""Events: hints that the index acts on, in any order, as often as they come."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui.index import events
from registryui.models import (
    UNKNOWN,
    DailyActivity,
    Manifest,
    RegistryEvent,
    Repository,
    Tag,
)
from tests.support.events import NOON, event, receive
from tests.support.fake_source import INDEX, FakeSource

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


def test_a_push_is_in_the_index_with_who_and_when(source: FakeSource) -> None:
    digest = source.push_image("team/app", "1")
    assert receive(event("push", "team/app", digest, "1")) == 1
    assert events.apply_pending(source) == 1
    tag = Tag.objects.select_related("manifest", "repository").get()
    assert (str(tag), tag.tagged_at, tag.tagged_by) == ("team/app:1", NOON, "ci")
    assert tag.manifest is not None
    assert (tag.manifest.pushed_at, tag.manifest.pushed_by) == (NOON, "ci")
    assert (tag.repository.pushed_at, tag.repository.newest_tag) == (NOON, "1")
    assert DailyActivity.objects.get().pushes == 1


def test_repeats_do_no_harm(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    push, pull = event("push", "app", digest, "1"), event("pull", "app", digest)
    assert receive(push, pull) == 2
    events.apply_pending(source)
    assert receive(push, pull, push) == 0
    events.apply_pending(source)
    day = DailyActivity.objects.get()
    assert (day.pushes, day.pulls) == (1, 1)
    assert Manifest.objects.get().pull_count == 1


def test_the_order_of_arrival_does_not_matter(source: FakeSource) -> None:
    old = source.push_image("app", "latest", layers=(b"old",))
    new = source.push_image("app", "latest", layers=(b"new",))
    receive(event("push", "app", new, "latest", at=NOON + timedelta(minutes=5), actor="second"))
    events.apply_pending(source)
    receive(event("push", "app", old, "latest", at=NOON, actor="first"))
    events.apply_pending(source)
    tag = Tag.objects.select_related("manifest").get()
    assert tag.manifest is not None
    assert tag.manifest.digest == new
    assert (tag.tagged_by, tag.tagged_at) == ("second", NOON + timedelta(minutes=5))


def test_an_event_of_something_that_is_gone_again_adds_nothing(source: FakeSource) -> None:
    digest = source.push_image("app", "keep")
    receive(event("push", "app", digest, "gone"), event("push", "app", digest, "keep"))
    events.apply_pending(source)
    assert list(Tag.objects.values_list("name", flat=True)) == ["keep"]
    assert not RegistryEvent.objects.filter(applied_at=None).exists()


def test_a_deleted_tag_goes_and_its_sibling_stays(source: FakeSource) -> None:
    digest = source.push_image("app", "1", "latest")
    receive(event("push", "app", digest, "1"), event("push", "app", digest, "latest"))
    events.apply_pending(source)
    del source.tags_of["app"]["1"]
    receive(event("delete", "app", tag="1"))
    events.apply_pending(source)
    assert list(Tag.objects.values_list("name", flat=True)) == ["latest"]
    assert Repository.objects.get().tag_count == 1


def test_a_manifest_deleted_by_digest_goes_with_its_tags(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    receive(event("push", "app", digest, "1"))
    events.apply_pending(source)
    source.tags_of["app"].clear()
    source.manifests_of["app"].clear()
    receive(event("delete", "app", digest, media_type=""), event("delete", "app", tag="1"))
    events.apply_pending(source)
    assert not Tag.objects.exists()
    assert not Manifest.objects.exists()
    assert Repository.objects.get().size == 0


def test_only_real_pulls_count(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    receive(event("push", "app", digest, "1"))
    stored = receive(
        event("pull", "app", digest, method="HEAD"),
        event("pull", "app", digest, client="boathouse/0.1.0"),
        event("pull", "app", digest, media_type="application/octet-stream"),
        event("pull", "app", digest, "1", at=NOON + timedelta(hours=1), actor="k8s"),
    )
    assert stored == 1
    events.apply_pending(source)
    manifest = Manifest.objects.get()
    assert (manifest.pull_count, manifest.pulled_by) == (1, "k8s")
    assert Tag.objects.get().pulled_at == NOON + timedelta(hours=1)
    assert Repository.objects.get().pull_count == 1


def test_pulling_an_image_index_and_one_child_is_one_pull(source: FakeSource) -> None:
    child = source.push_image("app")
    index = source.push_index("app", [source.child("app", child, "amd64")], "1")
    receive(
        event("push", "app", child),
        event("push", "app", index, "1", media_type=INDEX),
        event("pull", "app", index, media_type=INDEX),
        event("pull", "app", child),
    )
    events.apply_pending(source)
    assert Repository.objects.get().pull_count == 1
    assert DailyActivity.objects.get().pulls == 1


def test_a_manifest_pushed_by_digest_alone_is_indexed(source: FakeSource) -> None:
    digest = source.push_image("app")
    receive(event("push", "app", digest))
    events.apply_pending(source)
    assert Manifest.objects.get().digest == digest
    assert Manifest.objects.get().untagged_at is not None


def test_events_wait_for_a_registry_that_does_not_answer(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    source.push_image("other", "1")
    source.down.add("app:1")
    receive(event("push", "app", digest, "1"), event("push", "other", digest, "1"))
    assert events.apply_pending(source) == 1
    waiting = RegistryEvent.objects.get(applied_at=None)
    assert (waiting.repository, waiting.attempts) == ("app", 1)
    source.down.clear()
    RegistryEvent.objects.update(retry_at=UNKNOWN)
    assert events.apply_pending(source) == 1
    assert Tag.objects.count() == 2


def test_a_push_that_the_registry_has_not_written_yet_is_waited_for(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = source.push_image("app", "latest", layers=(b"old",))
    receive(event("push", "app", old, "latest"))
    events.apply_pending(source)
    new = source.push_image("app", layers=(b"new",))  # told of, but the tag's link comes late
    receive(event("push", "app", new, "latest", at=timezone.now(), actor="ci"))

    def write_the_link(seconds: float) -> None:
        source.tags_of["app"]["latest"] = new

    monkeypatch.setattr("registryui.index.events.time.sleep", write_the_link)
    events.apply_pending(source)
    tag = Tag.objects.select_related("manifest").get()
    assert tag.manifest is not None
    assert (tag.manifest.digest, tag.tagged_by) == (new, "ci")


def test_a_sync_knows_from_old_events_who_pushed(source: FakeSource) -> None:
    from registryui.index.sync import sync

    digest = source.push_image("app", "1")
    receive(event("push", "app", digest, "1"))
    RegistryEvent.objects.update(applied_at=NOON)
    sync(source, by="test")
    assert (Tag.objects.get().tagged_at, Tag.objects.get().tagged_by) == (NOON, "ci")


def test_a_tag_whose_push_nobody_told_of_has_no_time(source: FakeSource) -> None:
    from registryui.index.sync import sync

    source.push_image("app", "1")
    sync(source, by="test")
    assert Tag.objects.get().tagged_at == UNKNOWN


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"events": 7}', b"\xff"])
def test_a_body_that_is_no_notification_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the text quotes whatever came)
        events.receive(body)


def test_old_pulls_are_pruned_and_pushes_are_kept(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    receive(event("push", "app", digest, "1"), event("pull", "app", digest))
    events.apply_pending(source)
    RegistryEvent.objects.update(at=NOON - timedelta(days=400))
    assert events.prune() == 1
    assert RegistryEvent.objects.get().action == "push"


def test_an_event_that_was_not_answered_comes_again_soon_and_stops_no_other(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryui.index.events.time.sleep", lambda seconds: None)
    stuck = source.push_image("stuck", "1")
    fine = source.push_image("fine", "1")
    receive(event("push", "stuck", stuck, "1"), event("push", "fine", fine, "1"))
    source.down.add("stuck:1")
    waits: list[float] = []
    assert events.apply_pending(source, later=waits.append) == 1
    assert list(Tag.objects.values_list("repository__name", flat=True)) == ["fine"]
    assert waits == [1]
    # Not before its time, however many other events come meanwhile.
    assert events.apply_pending(source, later=waits.append) == 0
    assert RegistryEvent.objects.get(repository="stuck").attempts == 1
    RegistryEvent.objects.filter(repository="stuck").update(retry_at=timezone.now())
    assert events.apply_pending(source, later=waits.append) == 0
    assert waits == [1, 2]
    source.down.clear()
    RegistryEvent.objects.filter(repository="stuck").update(retry_at=timezone.now())
    assert events.apply_pending(source, later=waits.append) == 1
    assert Tag.objects.count() == 2
    assert waits == [1, 2]


def test_one_failing_repository_does_not_hold_back_a_long_queue(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryui.index.events.time.sleep", lambda seconds: None)
    monkeypatch.setattr("registryui.index.events.BATCH", 2)
    source.down.add("stuck:1")
    receive(event("push", "stuck", source.push_image("stuck", "1"), "1"))
    for number in range(5):
        name = f"app-{number}"
        receive(event("push", name, source.push_image(name, "1"), "1"))
    assert events.apply_pending(source) == 5


def test_many_events_of_one_repository_are_applied_in_parts(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryui.index.events.TOGETHER", 2)
    for number in range(5):
        receive(event("push", "app", source.push_image("app", f"{number}"), f"{number}"))
    assert events.apply_pending(source) == 5
    assert Tag.objects.count() == 5
    assert DailyActivity.objects.get().pushes == 5
    assert not RegistryEvent.objects.filter(applied_at=None).exists()


def test_two_hosts_at_the_same_events_count_them_once(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has read them as well, and is done while we look at the registry."""
    digest = source.push_image("app", "1")
    receive(event("push", "app", digest, "1"), event("pull", "app", digest))
    real = events.probe_untagged
    others = [lambda: events._conclude({"app": list(RegistryEvent.objects.all())})]

    def look(*arguments: Any) -> None:
        if others:
            others.pop()()
        real(*arguments)

    monkeypatch.setattr(events, "probe_untagged", look)
    events.apply_pending(source)
    assert others == []
    day = DailyActivity.objects.get()
    assert (day.pushes, day.pulls) == (1, 1)
    assert Repository.objects.get().pull_count == 1


def test_an_event_without_a_job_is_missed_after_some_seconds(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    receive(event("push", "app", digest, "1"))
    assert not events.were_missed()
    RegistryEvent.objects.update(received_at=timezone.now() - timedelta(seconds=10))
    assert events.were_missed()
    events.apply_pending(source)
    assert not events.were_missed()
