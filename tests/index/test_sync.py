"""What a sync does to the index, step by step, with a registry that can be broken on command."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.index import ingest
from registryui.index.sync import sync
from registryui.models import Blob, Manifest, RegistryEvent, Repository, Run, Tag
from registryui.oci.media_types import BUILDKIT_CACHE
from registryui.oci.names import version_key
from tests.support.fake_source import IMAGE, LAYER, FakeSource, descriptor, encode
from tests.support.index_rows import all_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


def run(source: FakeSource, **options: bool) -> Run:
    done = sync(source, by="test", **options)
    assert done is not None
    done.refresh_from_db()
    return done


def names() -> set[str]:
    return {str(tag) for tag in Tag.objects.select_related("repository")}


def test_everything_the_registry_lists_is_in_the_index(source: FakeSource) -> None:
    source.push_image("team/app", "1", "latest", layers=(b"base", b"code"))
    source.push_image("busybox", "1.35")

    result = run(source).result

    assert names() == {"team/app:1", "team/app:latest", "busybox:1.35"}
    assert (result["repositories"], result["tags"], result["added"]) == (2, 3, 3)
    image = Manifest.objects.get(tags__name="latest")
    assert (image.kind, image.os, image.architecture) == ("image", "linux", "amd64")
    assert image.layer_count == 2
    app = Repository.objects.get(name="team/app")
    assert (app.namespace, app.tag_count, app.manifest_count) == ("team", 2, 1)
    config = image.config or b""
    assert app.size == image.size == len(image.raw) + len(config) + len(b"base") + len(b"code")


def test_a_second_sync_asks_one_head_a_tag_and_writes_nothing(source: FakeSource) -> None:
    source.push_image("app", "1", "2")
    run(source)
    before = Repository.objects.get().changed_at
    source.calls.clear()

    result = run(source).result

    assert (source.calls["HEAD"], source.calls["GET"], source.calls["BLOB"]) == (2, 0, 0)
    assert (result["added"], result["moved"], result["removed"]) == (0, 0, 0)
    assert Repository.objects.get().changed_at == before


def test_manifest_and_config_are_fetched_once_for_many_tags_and_repositories(
    source: FakeSource,
) -> None:
    for repository in ("a", "b", "c"):
        source.push_image(repository, "1", "2", "latest")
    run(source)
    assert source.calls["BLOB"] == 1
    source.push_image("d", "1")
    source.calls.clear()
    run(source)
    assert source.calls["BLOB"] == 0
    assert Manifest.objects.count() == 4
    assert bytes(Manifest.objects.get(repository__name="d").config or b"").startswith(b"{")


def test_a_new_repository_is_written_once(source: FakeSource) -> None:
    """Names of one image are grouped before they are written, not written and then grouped."""
    source.push_image("app", "1.4", "1", "latest")
    with CaptureQueriesContext(connection) as queries:
        run(source)
    assert [query["sql"] for query in queries if 'UPDATE "registryui_tag"' in query["sql"]] == []
    keys = Tag.objects.values_list("group_key", flat=True)
    assert {bytes(key) for key in keys} == {version_key("1.4")}


def test_a_new_repository_has_the_same_rows_in_bulk_and_by_single_changes(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = source.push_image("app", layers=(b"base", b"other"), architecture="arm64")
    source.push_index("app", [{"mediaType": IMAGE, "digest": child, "size": 7}], "multi")
    source.push_image("app", "1.2", "1.10", layers=(b"base", b"more"))
    source.push_image("app", "sha256-" + "0" * 64 + ".sig")
    RegistryEvent.objects.create(
        event_id="1",
        action="push",
        repository="app",
        tag="1.2",
        digest=source.tags_of["app"]["1.2"],
        at=timezone.now(),
        actor="ci",
    )
    sync(source, by="test")
    in_bulk = all_rows()
    for name in list(Repository.objects.values_list("name", flat=True)):
        ingest.drop_repository(name)

    monkeypatch.setattr("registryui.index.sync._save_new", lambda *some: None)
    sync(source, by="test")

    assert all_rows() == in_bulk
    assert Tag.objects.get(name="1.2").tagged_by == "ci"


def test_what_was_listed_before_the_list_broke_off_is_written(source: FakeSource) -> None:
    for number in range(3):
        source.push_image(f"app-{number}", *(f"v{tag}" for tag in range(90)))
    source.down.add("catalogue's end")
    assert run(source).state == Run.State.FAILED
    assert Tag.objects.count() == 270


def test_a_moved_tag_gets_its_new_digest_and_the_old_image_stays_untagged(
    source: FakeSource,
) -> None:
    old = source.push_image("app", "latest", layers=(b"one",))
    run(source)
    new = source.push_image("app", "latest", layers=(b"two",))
    assert run(source).result["moved"] == 1
    assert Tag.objects.get().manifest == Manifest.objects.get(digest=new)
    assert Manifest.objects.get(digest=old).untagged_at is not None
    assert Manifest.objects.get(digest=new).untagged_at is None


def test_a_deleted_tag_and_a_deleted_repository_go(source: FakeSource) -> None:
    source.push_image("app", "1", "2")
    source.push_image("old", "1", layers=(b"only here",))
    run(source)
    del source.tags_of["app"]["1"]
    del source.tags_of["old"]
    assert run(source).result["removed"] == 2
    assert names() == {"app:2"}
    assert not Blob.objects.filter(size=len(b"only here")).exists()
    assert Blob.objects.get(size=len(b"base")).manifest_count == 1


@pytest.mark.parametrize("what", ["catalogue", "catalogue's end", "app", "app:1"])
def test_nothing_is_dropped_when_the_registry_does_not_answer(
    source: FakeSource, what: str
) -> None:
    source.push_image("app", "1", "2")
    source.push_image("zoo", "1")
    run(source)
    source.down.add(what)
    done = run(source)
    assert names() == {"app:1", "app:2", "zoo:1"}
    assert done.result["errors"] > 0
    assert (done.state == Run.State.FAILED) == what.startswith("catalogue")
    assert "does not answer" in done.log


def test_one_bad_manifest_is_marked_and_stops_nothing(source: FakeSource) -> None:
    source.push("app", b"\xff not a manifest", "application/vnd.oci.image.manifest.v1+json", "bad")
    source.push_image("app", "good")
    source.tags_of["app"]["dangling"] = "sha256:" + "0" * 64
    assert run(source).state == Run.State.DONE
    assert Manifest.objects.get(tags__name="bad").kind == Manifest.Kind.UNKNOWN
    assert Tag.objects.get(name="dangling").problem == Tag.Problem.DANGLING
    assert Tag.objects.get(name="good").problem == Tag.Problem.NONE
    # It is looked at again each time and heals when somebody pushes it again.
    source.push_image("app", "dangling")
    run(source)
    assert Tag.objects.get(name="dangling").problem == Tag.Problem.NONE


def test_an_empty_repository_is_shown(source: FakeSource) -> None:
    source.tags_of["empty"] = {}
    run(source)
    assert Repository.objects.get().tag_count == 0
    run(source)
    assert Repository.objects.get().name == "empty"


def test_an_image_index_counts_a_shared_layer_once_and_knows_its_platforms(
    source: FakeSource,
) -> None:
    one = source.push_image("app", layers=(b"shared", b"amd"), architecture="amd64")
    two = source.push_image("app", layers=(b"shared", b"arm"), architecture="arm64")
    children = [source.child("app", one, "amd64"), source.child("app", two, "arm64")]
    source.push_index("app", children, "multi")
    run(source)
    tag = Tag.objects.select_related("manifest").get()
    assert tag.manifest is not None
    assert [entry.platform for entry in tag.manifest.entries.all()] == [
        "linux/amd64",
        "linux/arm64",
    ]
    images = Manifest.objects.filter(digest__in=[one, two])
    once = sum(image.size for image in images) + len(tag.manifest.raw) - len(b"shared")
    assert tag.size == tag.manifest.size == once
    assert tag.repository.size == once


def test_an_image_index_with_a_missing_child_is_incomplete_until_it_comes(
    source: FakeSource,
) -> None:
    one = source.push_image("app", architecture="arm64")
    children = [source.child("app", one, "arm64")]
    source.push_index("app", children, "multi", "also")
    stored = source.manifests_of["app"].pop(one)
    run(source)
    assert set(Tag.objects.values_list("problem", flat=True)) == {Tag.Problem.INCOMPLETE}
    source.manifests_of["app"][one] = stored
    run(source)
    assert set(Tag.objects.values_list("problem", flat=True)) == {""}
    assert Manifest.objects.filter(digest=one).exists()


def test_a_cache_of_layers_and_a_nested_index_are_read(source: FakeSource) -> None:
    source.push_index("app", [descriptor(LAYER, b"cached")], "cache")
    leaf = source.push_image("app")
    inner = source.push_index("app", [source.child("app", leaf, "amd64")])
    source.push_index("app", [source.child("app", inner, "amd64")], "nested")
    source.push_index("app", [], "empty")
    assert run(source).state == Run.State.DONE
    assert Manifest.objects.get(tags__name="cache").kind == "cache"
    assert Manifest.objects.filter(digest__in=[leaf, inner]).count() == 2
    assert set(Tag.objects.values_list("problem", flat=True)) == {""}


def test_a_cache_in_either_shape_holds_its_blobs(source: FakeSource) -> None:
    layer, record = descriptor(LAYER, b"cached"), descriptor(BUILDKIT_CACHE, b"{}")
    source.push_index("old", [layer, record], "cache")
    new = {"schemaVersion": 2, "mediaType": IMAGE, "config": record, "layers": [layer]}
    source.push("new", encode(new), IMAGE, "cache")
    run(source)
    for name in ("old", "new"):
        row = Manifest.objects.get(repository__name=name)
        assert row.kind == "cache"
        assert set(row.edges.values_list("blob__digest", flat=True)) == {
            layer["digest"],
            record["digest"],
        }
        assert Repository.objects.get(name=name).size == len(row.raw) + len(b"cached{}")


def test_referrer_tags_are_not_counted_as_tags(source: FakeSource) -> None:
    digest = source.push_image("app", "1")
    source.push_image("app", digest.replace(":", "-") + ".sig", layers=(b"signature",))
    run(source)
    assert Repository.objects.get().tag_count == 1
    assert Tag.objects.exclude(refers_to="").get().refers_to == digest


def test_tags_of_one_image_stand_together_below_their_highest_version(source: FakeSource) -> None:
    source.push_image("app", "latest", "2", "2.14.0", layers=(b"new",))
    source.push_image("app", "2.9.1", layers=(b"old",))
    source.push_image("app", "2.14.0-rc.1", layers=(b"rc",))
    run(source)
    order = Tag.objects.order_by("-group_key", "-version_key").values_list("name", flat=True)
    assert set(order[:3]) == {"latest", "2", "2.14.0"}
    assert list(order[3:]) == ["2.14.0-rc.1", "2.9.1"]


def test_only_one_sync_runs_and_a_dead_one_is_taken_over(source: FakeSource) -> None:
    from datetime import timedelta

    from django.utils import timezone

    other = Run.objects.create(kind=Run.Kind.SYNC, heartbeat_at=timezone.now())
    assert sync(source, by="test") is None
    Run.objects.filter(pk=other.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    assert sync(source, by="test") is not None
    other.refresh_from_db()
    assert other.state == Run.State.FAILED


def test_a_killed_sync_goes_on_where_it_was(source: FakeSource) -> None:
    source.push_image("app", *(f"v{number}" for number in range(250)))
    source.push_image("zoo", "1")

    def stop_after_one_chunk(run: Run) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(source, by="test", progress=stop_after_one_chunk)
    assert Run.objects.get().state == Run.State.STOPPED
    assert Tag.objects.count() == 100
    source.calls.clear()
    run(source)
    assert Tag.objects.count() == 251
    assert source.calls["HEAD"] == 100
