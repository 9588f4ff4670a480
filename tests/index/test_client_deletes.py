"""What clients delete is kept for undo under every name, with who it was, however we learn it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.deletion import restore
from registryui.index import events, ingest, tombstones
from registryui.index.fetch import TagProbe
from registryui.index.sync import sync
from registryui.models import (
    AuditEvent,
    Manifest,
    ManifestTombstone,
    RegistryEvent,
    Tag,
    TagTombstone,
)
from registryui.oci import throw_away
from tests.support.events import event, receive
from tests.support.fake_source import INDEX, FakeSource, digest_of

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
R = "team/app"


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


class Clock:
    """Moments one after the other, all just gone."""

    def __init__(self) -> None:
        self.now = timezone.now() - timedelta(minutes=30)

    def __call__(self) -> Any:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def push(source: FakeSource, at: Any, *tags: str, layers: tuple[bytes, ...] = (b"base",)) -> str:
    """An image, and the registry tells of it."""
    digest = source.push_image(R, *tags, layers=layers)
    receive(*(event("push", R, digest, tag, at=at) for tag in tags or ("",)))
    return digest


def delete(source: FakeSource, digest: str) -> list[str]:
    """DELETE by digest, as 2.8 does it: with every tag. Returns these tags."""
    tags = [tag for tag, on in source.tags_of[R].items() if on == digest]
    for tag in tags:
        del source.tags_of[R][tag]
    del source.manifests_of[R][digest]
    return tags


def told(digest: str, tags: list[str], at: Any, **more: Any) -> list[dict[str, Any]]:
    """The events of it."""
    return [
        event("delete", R, digest, at=at, media_type="", **more),
        *(event("delete", R, "", tag, at=at, media_type="", **more) for tag in tags),
    ]


def waiting() -> dict[str, str]:
    return {row.tag: row.digest for row in restore.restorable()}


@pytest.mark.parametrize("which", ["all", "tags first", "of tags", "of the digest"])
def test_every_name_can_be_restored_and_says_who_and_from_where(
    source: FakeSource, clock: Clock, which: str
) -> None:
    digest = push(source, clock(), "1", "latest")
    push(source, clock(), "other", layers=(b"other",))
    events.apply_pending(source)
    at = clock()
    some = told(digest, delete(source, digest), at, actor="robot", client="skopeo/1.9")
    if which == "tags first":
        some.reverse()
    receive(*{"of tags": some[1:], "of the digest": some[:1]}.get(which, some))
    events.apply_pending(source)
    assert waiting() == {"1": digest, "latest": digest}
    rows = list(restore.restorable())
    assert {(row.how, row.by, row.address) for row in rows} == {("deleted", "robot", "10.1.2.3")}
    assert {row.at for row in rows} == {at}
    assert len({row.act for row in rows}) == 1
    assert all(row.keep_until >= tombstones.kept_until(at) for row in rows)
    found = AuditEvent.objects.values_list("act", "target", "actor", "address")
    names = {(f"{R}:1", "client.delete"), (f"{R}:latest", "client.delete")}
    expected = {
        "of tags": names,
        "of the digest": {(f"{R}@{digest}", "client.delete_manifest")},
    }.get(which, names | {(f"{R}@{digest}", "client.delete_manifest")})
    assert {(target, act) for act, target, _by, _from in found} == expected
    assert {(by, address) for _act, _target, by, address in found} == {("robot", "10.1.2.3")}
    assert {row.details["digest"] for row in AuditEvent.objects.all()} == {digest}
    if which != "of tags":
        assert ManifestTombstone.objects.get().digest == digest
    assert events.apply_pending(source) == 0
    assert len(found.all()) == len(expected)


def test_a_delete_that_nobody_told_of_is_found_by_a_sync_and_named_later(
    source: FakeSource, clock: Clock
) -> None:
    digest = push(source, clock(), "1")
    push(source, clock(), "other", layers=(b"other",))
    events.apply_pending(source)
    tags = delete(source, digest)
    sync(source, by="test")
    assert waiting() == {"1": digest}
    assert (restore.restorable()[0].by, restore.restorable()[0].address) == ("", "")
    row = AuditEvent.objects.get(act__startswith="client.")
    assert (row.act, row.actor, row.details) == (
        *("client.delete", "", {"digest": digest, "told": False}),
    )
    sync(source, by="test")
    assert AuditEvent.objects.filter(act__startswith="client.").count() == 1
    receive(*told(digest, tags, timezone.now(), actor="robot"))  # the registry had kept it
    events.apply_pending(source)
    assert (restore.restorable()[0].by, restore.restorable()[0].address) == ("robot", "10.1.2.3")
    assert restore.restorable().count() == 1


def test_a_repository_that_is_gone_leaves_its_tags_for_undo(
    source: FakeSource, clock: Clock
) -> None:
    digest = push(source, clock(), "1")
    source.push_image("other", "1")
    events.apply_pending(source)
    del source.tags_of[R]
    del source.manifests_of[R]
    sync(source, by="test")
    assert waiting() == {"1": digest}
    assert ManifestTombstone.objects.get().digest == digest


def test_what_was_overwritten_right_before_can_be_restored_as_well(
    source: FakeSource, clock: Clock
) -> None:
    one = push(source, clock(), "1", layers=(b"one",))
    events.apply_pending(source)
    two = push(source, clock(), "1", layers=(b"two",))
    receive(*told(two, delete(source, two), clock(), actor="robot"))
    events.apply_pending(source)  # all at once
    found = {(row.digest, row.how, row.by) for row in restore.restorable()}
    assert found == {(one, "overwritten", "ci")}  # nobody here ever saw the bytes of the other
    assert RegistryEvent.objects.get(action="push", digest=two).replaced == one


def test_a_push_of_which_only_its_delete_is_seen_is_noted_if_its_bytes_are_known(
    source: FakeSource, clock: Clock
) -> None:
    digest = push(source, clock(), "other")
    events.apply_pending(source)
    at = clock()
    receive(event("push", R, digest, "1", at=at))
    receive(event("delete", R, "", "1", at=clock(), media_type="", actor="robot"))
    events.apply_pending(source)
    row = restore.restorable().get()
    assert (row.tag, row.digest, row.how, row.by, row.tagged_at) == (
        *("1", digest, "deleted", "robot", at),
    )


def test_the_portals_own_deletes_are_noted_once(source: FakeSource, clock: Clock) -> None:
    digest = push(source, clock(), "1")
    events.apply_pending(source)
    tag = Tag.objects.select_related("repository", "manifest").get()
    row = tombstones.row(tag)
    row.how, row.act, row.at, row.by = "deleted", "a" * 32, timezone.now(), "operator:vera"
    row.keep_until = tombstones.kept_until(row.at)
    row.save()
    ingest.save(R, [TagProbe("1", digest, "", is_gone=True)], [])
    assert [row.by for row in TagTombstone.objects.all()] == ["operator:vera"]
    assert not AuditEvent.objects.exists()


def test_what_was_purged_is_not_offered(source: FakeSource, clock: Clock) -> None:
    digest = push(source, clock(), "1")
    events.apply_pending(source)
    for key, tag in (("act-1", ""), ("act-2", "1")):
        RegistryEvent.objects.create(
            event_id=key, action="delete", repository=R, tag=tag, digest=digest,
            at=timezone.now(), actor="operator:vera", applied_at=timezone.now(),
        )  # fmt: skip
    delete(source, digest)
    sync(source, by="test")
    ingest.drop_manifests(R, [digest], with_undo=True)
    assert not TagTombstone.objects.exists()


def test_a_restored_tag_that_goes_again_can_be_restored_again(
    source: FakeSource, clock: Clock
) -> None:
    at = clock()
    digest = push(source, at, "1")
    events.apply_pending(source)
    for key, action, when in (("act-1", "delete", clock()), ("act-2", "push", clock())):
        RegistryEvent.objects.create(
            event_id=key, action=action, repository=R, tag="1", digest=digest, at=when,
            actor="operator:vera", applied_at=when,
        )  # fmt: skip
    delete(source, digest)
    sync(source, by="test")
    assert waiting() == {"1": digest}


def test_a_throw_away_leaves_nothing(source: FakeSource, clock: Clock) -> None:
    raw = throw_away.make("x")
    digest = source.push(R, raw, INDEX, "1")
    source.push_image(R, "other")
    sync(source, by="test")
    delete(source, digest)
    sync(source, by="test")
    ingest.drop_manifests(R, [digest], with_undo=True)
    assert not TagTombstone.objects.exists()
    assert not ManifestTombstone.objects.exists()


def test_a_client_cannot_pass_as_the_portal(source: FakeSource, clock: Clock) -> None:
    digest = push(source, clock(), "1")
    events.apply_pending(source)
    receive(*told(digest, delete(source, digest), clock(), actor="robot", client="boathouse/0.1"))
    events.apply_pending(source)
    assert AuditEvent.objects.filter(actor="robot").count() == 2


def test_what_the_portal_asks_of_the_registry_is_no_clients_act(
    source: FakeSource, clock: Clock
) -> None:
    push(source, clock(), "1")
    receive(event("delete", R, digest_of(b"x"), at=clock(), actor="", client="boathouse/0.1"))
    events.apply_pending(source)
    assert not AuditEvent.objects.exists()


def test_a_blob_is_called_a_blob_and_the_tag_is_marked(source: FakeSource, clock: Clock) -> None:
    push(source, clock(), "1", layers=(b"base", b"own"))
    push(source, clock(), "2", layers=(b"base", b"two"))
    events.apply_pending(source)
    blob = digest_of(b"own")
    del source.blobs_of[R][blob]
    receive(event("delete", R, blob, at=clock(), media_type="", actor="robot"))
    receive(event("delete", R, digest_of(b"base"), at=clock(), media_type=""))  # pushed again
    events.apply_pending(source)
    assert set(AuditEvent.objects.values_list("act", "target")) == {
        ("client.delete_blob", f"{R}@{blob}"),
        ("client.delete_blob", f"{R}@{digest_of(b'base')}"),
    }
    assert dict(Tag.objects.values_list("name", "problem")) == {"1": "broken", "2": ""}


# -- image indexes ---------------------------------------------------------------------------------
@pytest.fixture
def nested(source: FakeSource, clock: Clock) -> dict[str, str]:
    """An image index, and one that lists it."""
    found = {name: push(source, clock(), layers=(name.encode(),)) for name in ("amd", "arm")}
    children = [source.child(R, digest, name) for name, digest in found.items()]
    found["inner"] = source.push_index(R, children, "inner")
    outer = source.child(R, found["inner"], "")
    found["outer"] = source.push_index(R, [{**outer, "mediaType": INDEX}], "outer")
    receive(*(event("push", R, found[tag], tag, at=clock()) for tag in ("inner", "outer")))
    events.apply_pending(source)
    assert set(Tag.objects.values_list("problem", flat=True)) == {""}
    return found


@pytest.mark.parametrize("way", ["events", "drop"])
def test_a_child_that_is_deleted_shows_on_its_tags_at_once(
    source: FakeSource, clock: Clock, nested: dict[str, str], way: str
) -> None:
    arm = nested["arm"]
    kept = source.manifests_of[R][arm]
    delete(source, arm)
    if way == "events":
        receive(*told(arm, [], clock(), actor="robot"))
        events.apply_pending(source)
    else:  # as a sync with the store finds it
        ingest.drop_manifests(R, [arm], with_undo=True)
    problems = dict(Tag.objects.values_list("name", "problem"))
    assert problems == {"inner": "incomplete", "outer": "incomplete"}
    row = restore.restorable().get()
    assert (row.tag, row.digest, row.by) == ("", arm, "robot" if way == "events" else "")
    # Pushed again: whole again, without a push of the tag.
    source.manifests_of[R][arm] = kept
    receive(event("push", R, arm, at=clock()))
    events.apply_pending(source)
    assert set(Tag.objects.values_list("problem", flat=True)) == {""}


def test_what_no_tag_and_no_image_index_misses_is_not_offered_if_nobody_told(
    source: FakeSource, nested: dict[str, str]
) -> None:
    """So ends a garbage collection that was killed before it had dropped its rows."""
    ingest.drop_manifests(R, list(nested.values()), with_undo=True)
    assert {row.tag for row in TagTombstone.objects.all()} == {"inner", "outer"}
    assert ManifestTombstone.objects.count() == 4


# -- as many as there are ----------------------------------------------------------------------
def test_many_deletes_cost_as_many_queries_as_few(source: FakeSource, clock: Clock) -> None:
    def cost(count: int, *, at: Any) -> int:
        digests = [push(source, at, f"{count}-{n}", layers=(b"%d" % n,)) for n in range(count)]
        events.apply_pending(source)
        when = clock()
        for digest in digests:
            receive(*told(digest, delete(source, digest), when))
        with CaptureQueriesContext(connection) as caught:
            events.apply_pending(source)
        assert Manifest.objects.filter(repository__name=R).count() == 1
        return len(caught)

    push(source, clock(), "stays", layers=(b"stays",))
    few, many = cost(5, at=clock()), cost(150, at=clock())
    # Rows are written some hundreds at a time.
    assert many <= few + 12
    assert TagTombstone.objects.count() == 155


# -- what a push replaced ----------------------------------------------------------------------
def test_each_push_knows_what_it_replaced(source: FakeSource, clock: Clock) -> None:
    digests = []
    for content in (b"a", b"b", b"b", b"c"):
        digests.append(push(source, clock(), "1", layers=(content,)))
        if content == b"a":
            events.apply_pending(source)
    events.apply_pending(source)
    receive(event("delete", R, "", "1", at=clock(), media_type=""))
    digests.append(push(source, clock(), "1", layers=(b"d",)))
    events.apply_pending(source)
    a, b, _b, _c, _d = digests
    pushes = RegistryEvent.objects.filter(action="push").order_by("at")
    assert [row.replaced for row in pushes] == ["", a, "", b, ""]


def test_a_sync_that_was_quicker_loses_no_tag_update(source: FakeSource, clock: Clock) -> None:
    one = push(source, clock(), "1", layers=(b"a",))
    events.apply_pending(source)
    push(source, clock(), "1", layers=(b"b",))
    sync(source, by="test")
    events.apply_pending(source)
    assert RegistryEvent.objects.order_by("-at")[0].replaced == one
