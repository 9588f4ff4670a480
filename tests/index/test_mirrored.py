"""What the index knows of mirrored repositories: the store of a real registry is written past it,
only as far as clients pulled, and only pulls are told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registryui.index import events, ingest
from registryui.index.sync import fill, is_absent, sync
from registryui.index.verify import verify
from registryui.models import (
    UNKNOWN,
    Blob,
    DailyActivity,
    ImageFact,
    Manifest,
    RegistryEvent,
    Repository,
    Run,
    Tag,
    TagTombstone,
)
from registryui.registry.choose import open_store
from registryui.registry.client import RegistryClient
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.events import NOON, event, receive
from tests.support.index_rows import all_rows
from tests.support.mirrored import Here, M, mirror
from tests.support.waiting import until
from tests.support.worlds import World

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def store(here: World) -> Here:
    mirror()
    return Here(here.real.store)


def pull(here: World, *references: str, repository: str = M) -> None:
    """As a client does, then as the worker does."""
    before = len(here.told.events("pull", repository))
    for reference in references:
        assert here.real.get(repository, reference).status == 200
    until(
        lambda: len(here.told.events("pull", repository)) == before + len(references),
        "the registry told all pulls",
        pause=0.01,
    )
    here.hear()


def run(source: Any, **options: bool) -> Run:
    done = sync(source, by="test", **options)
    assert done is not None
    assert done.state == Run.State.DONE, done.log
    return done


def of_disk(store: Here) -> Any:
    return open_store(Storage(FILESYSTEM, {}, str(store.root)))


def tag(name: str = "1", repository: str = M) -> Tag:
    rows = Tag.objects.select_related("manifest", "repository")
    return rows.get(repository__name=repository, name=name)


def manifest(digest: str) -> Manifest:
    return Manifest.objects.get(repository__name=M, digest=digest)


def blobs_size(store: Here, digest: str) -> int:
    return sum(len(store.upstream.content[one]) for one in store.blobs_of(digest))


def test_a_first_pull_is_in_the_index_though_most_of_the_image_index_is_absent(
    here: World, store: Here
) -> None:
    amd64, arm64 = store.upstream.image(b"one"), store.upstream.image(b"two", architecture="arm64")
    index = store.upstream.image_index(amd64, arm64)
    store.manifest(M, index, "1")
    store.image(M, amd64)
    pull(here, "1", amd64)
    row = tag()
    assert row.manifest is not None
    assert (row.manifest.digest, row.problem, row.repository.pull_count) == (index, "", 1)
    assert row.tagged_at > UNKNOWN
    assert row.tagged_by == ""
    assert manifest(index).pull_count == manifest(amd64).pull_count == 1
    assert manifest(amd64).architecture == "amd64"
    assert not Manifest.objects.filter(digest=arm64).exists()
    content = store.upstream.content
    assert row.size == len(content[index]) + len(content[amd64]) + blobs_size(store, amd64)
    assert DailyActivity.objects.get().pulls == 1
    assert not RegistryEvent.objects.filter(applied_at=None).exists()


def test_a_child_that_is_pulled_later_counts_for_its_image_index(here: World, store: Here) -> None:
    amd64, arm64 = store.upstream.image(b"one"), store.upstream.image(b"two", architecture="arm64")
    store.manifest(M, store.upstream.image_index(amd64, arm64), "1")
    store.image(M, amd64)
    pull(here, "1", amd64)
    before = tag().size
    store.image(M, arm64)
    pull(here, arm64)
    gained = len(store.upstream.content[arm64]) + blobs_size(store, arm64)
    assert tag().size == before + gained
    assert manifest(arm64).is_listed


def test_a_tag_that_moved_at_its_upstream_moves_without_undo(here: World, store: Here) -> None:
    old, new = store.upstream.image(b"old"), store.upstream.image(b"new")
    store.image(M, old, "1")
    pull(here, "1")
    store.image(M, new, "1")
    pull(here, "1")
    row = tag()
    assert row.manifest is not None
    assert (row.manifest.digest, row.problem) == (new, "")
    assert manifest(old).untagged_at is not None
    assert not TagTombstone.objects.exists()
    assert (manifest(old).pull_count, manifest(new).pull_count) == (1, 1)


def test_a_digest_that_was_pulled_alone_is_untagged(here: World, store: Here) -> None:
    digest = store.upstream.image(b"one")
    store.image(M, digest)
    pull(here, digest)
    assert manifest(digest).untagged_at is not None
    assert manifest(digest).pull_count == Repository.objects.get(name=M).pull_count == 1


def test_a_tag_whose_digest_was_only_asked_for_is_found(here: World, store: Here) -> None:
    """As containerd pulls."""
    child = store.upstream.image(b"one")
    old, new = store.upstream.image_index(child), store.upstream.image(b"new")
    store.manifest(M, old, "1", "2")
    store.image(M, child)
    pull(here, old, child)
    assert here.known(M) == {"1": old, "2": old}
    assert tag().tagged_at > UNKNOWN
    store.image(M, new, "2")
    pull(here, new)
    assert here.known(M) == {"1": old, "2": new}


@pytest.mark.parametrize("kind", ["http", "store"])
def test_what_comes_after_its_manifest_is_found(here: World, store: Here, kind: str) -> None:
    digest = store.upstream.image(b"x" * 1000, b"y" * 2000, config={"Env": ["A=b"]})
    store.manifest(M, digest, "1")
    other = f"{M}-two"
    store.manifest(other, digest, "1")
    pull(here, "1")
    pull(here, "1", repository=other)
    config, first, second = store.blobs_of(digest)
    row = manifest(digest)
    assert (row.architecture, row.config, tag().problem) == ("", None, "")
    assert row.size == len(row.raw) + blobs_size(store, digest)  # bytes to pull
    assert Repository.objects.get(name=M).size == len(row.raw)
    assert not Blob.objects.filter(size__gt=0).exists()
    source = RegistryClient(here.real.url) if kind == "http" else of_disk(store)
    with source, ThreadPoolExecutor(4) as pool:
        store.blob(M, config)
        store.blob(M, first)
        assert fill(source, M, pool)
        assert is_absent(M)
        assert manifest(digest).architecture == "amd64"
        assert dict(Blob.objects.values_list("digest", "size"))[second] == 0
        store.blob(M, second)
        assert not fill(source, M, pool)
        with CaptureQueriesContext(connection) as queries:
            assert not fill(source, M, pool)
        assert len(queries) == 1
    whole = len(row.raw) + blobs_size(store, digest)
    assert set(Repository.objects.values_list("size", flat=True)) == {whole}
    assert ImageFact.objects.filter(manifest_id=row.pk).exists()
    assert tag().problem == ""


def test_a_known_pull_costs_what_it_costs_elsewhere(here: World, store: Here) -> None:
    digest = store.upstream.image(b"one")
    for name in (M, "team/app"):
        store.image(name, digest, "1")
    with RegistryClient(here.real.url) as client:
        run(client)
        pulls = {}
        for name in ("team/app", M, "team/app", M):  # the first ones make rows of the day
            receive(event("pull", name, digest, "1", at=NOON), event("pull", name, digest, at=NOON))
            with CaptureQueriesContext(connection) as queries:
                assert events.apply_pending(client) == 2
            pulls[name] = len(queries)
    assert pulls[M] == pulls["team/app"]


def test_a_registry_that_does_not_answer_is_asked_again(here: World, store: Here) -> None:
    digest = store.upstream.image(b"one")
    store.image(M, digest, "1")
    receive(event("pull", M, digest, "1", at=NOON))
    waits: list[float] = []
    with RegistryClient("http://127.0.0.1:9") as nobody:
        events.apply_pending(nobody, later=waits.append)
    assert waits
    assert not Repository.objects.exists()
    RegistryEvent.objects.update(retry_at=NOON)
    with RegistryClient(here.real.url) as client:
        assert events.apply_pending(client) == 1
    assert manifest(digest).pull_count == 1


def test_who_waits_is_told_of_what_is_absent(here: World, store: Here) -> None:
    one, two = store.upstream.image(b"one"), store.upstream.image(b"two")
    store.image(M, one, "1")
    store.manifest("hub/other", two, "1")
    receive(event("pull", M, one, "1"), event("pull", "hub/other", two, "1"))
    told: list[str] = []
    with RegistryClient(here.real.url) as client:
        events.apply_pending(client, absent=told.append)
    assert told == ["hub/other"]


def test_a_pull_of_what_is_gone_again_adds_nothing(here: World, store: Here) -> None:
    one = store.upstream.image(b"one")
    receive(event("pull", M, one, "1"), event("pull", M, one, at=NOON + timedelta(minutes=1)))
    with RegistryClient(here.real.url) as client:
        assert events.apply_pending(client) == 2
    assert not Tag.objects.exists()
    assert not RegistryEvent.objects.filter(applied_at=None).exists()


@pytest.mark.parametrize("kind", ["http", "store"])
def test_syncs_find_the_same(here: World, store: Here, kind: str) -> None:
    amd64, arm64 = store.upstream.image(b"one"), store.upstream.image(b"two", architecture="arm64")
    index = store.upstream.image_index(amd64, arm64)
    for name in (M, "team/app"):
        store.manifest(name, index, "1", "latest")
        store.image(name, amd64, "amd64")
        store.manifest(name, store.upstream.image(b"absent"), "bare")
    source = RegistryClient(here.real.url) if kind == "http" else of_disk(store)
    with source:
        run(source)
        problems = {
            name: dict(Tag.objects.filter(repository__name=name).values_list("name", "problem"))
            for name in (M, "team/app")
        }
        assert set(problems[M].values()) == {""}
        assert problems["team/app"]["latest"] == "incomplete"
        assert list(verify(source)) == []
        before = rows()
        run(source)
        assert rows() == before
        # What came since: a platform, and the blobs of an image.
        store.image(M, arm64)
        store.image(M, store.upstream.image(b"absent"), "bare")
        pull(here, arm64)
        run(source)
        assert not is_absent(M)
        assert manifest(store.upstream.image(b"absent")).architecture == "amd64"
        filled = rows()
        assert sizes() == of_content(store)
        ingest.drop_repository(M)
        run(source)
        assert sizes() == of_content(store)
    for table in ("Blob", "ImageFact", "ManifestBlob", "ImageIndexEntry"):
        assert rows()[table] == filled[table], table


def rows() -> dict[str, list[tuple[Any, ...]]]:
    """Of the index, without what the store says of folders that were written just now."""
    found = all_rows()
    found["Repository"] = [
        tuple(column for column in row if not column.startswith("stamp="))
        for row in found["Repository"]
    ]
    return found


def sizes() -> dict[str, int]:
    """Bytes of each blob as the index has it."""
    return dict(Blob.objects.values_list("digest", "size"))


def of_content(store: Here) -> dict[str, int]:
    """Of all configs and layers of the upstream."""
    content = store.upstream.content
    images = [one for one in content if b'"config"' in content[one] and b'"layers"' in content[one]]
    return {blob: len(content[blob]) for one in images for blob in store.blobs_of(one)}
