"""Garbage collection in mirrored repositories, of which only a part is there."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui.deletion.reachability import reachable
from registryui.gc import collector, pushed
from registryui.gc.mark import Marker
from registryui.gc.registry_gc import _kept
from registryui.index import ingest
from registryui.models import Manifest, RegistryEvent, Repository, Tag
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.fake_source import IMAGE, LAYER, descriptor, encode
from tests.support.mirrored import Here, M, mirror
from tests.support.stores import Small, done, later

pytestmark = pytest.mark.django_db


@pytest.fixture
def store(small: Small) -> Here:
    mirror()
    small.image("team/app", "1", layers=(b"team",))
    return Here(small.root)


def mark(small: Small) -> Marker:
    marker = Marker(
        open_store(Storage(FILESYSTEM, {}, str(small.root))), timedelta(0), lambda count: None
    )
    marker.mark()
    return marker


def pulled(digest: str) -> None:
    """Now, by its digest."""
    Manifest.objects.filter(digest=digest).update(pulled_at=timezone.now())


def test_all_of_a_sparse_image_index_stays_and_nothing_is_skipped(
    small: Small, store: Here
) -> None:
    amd64, arm64 = store.upstream.image(b"one"), store.upstream.image(b"two")
    index = store.upstream.image_index(amd64, arm64)
    store.manifest(M, index, "1")
    store.image(M, amd64, blobs=1)
    small.sync()
    found = mark(small).found
    assert (found.manifests, found.blobs, found.wanted, found.skipped) == ([], [], set(), {})
    before = small.blobs()
    done()
    assert small.blobs() == before
    assert small.revisions(M) == {index, amd64}


def test_a_part_that_is_named_by_another_algorithm_may_be_absent(small: Small, store: Here) -> None:
    layer = descriptor(LAYER, b"layer", "sha512")
    config = descriptor("application/vnd.oci.image.config.v1+json", b"{}", "sha512")
    raw = encode({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer]})
    store.manifest(M, store.upstream.blob(raw), "1")
    lonely = small.blob(M, b"lonely")
    small.sync()
    found = mark(small).found
    assert found.skipped == {}
    assert len(found.blobs) == 1
    done()
    assert lonely not in small.blobs()


def test_what_was_pulled_by_digest_alone_stays_until_it_is_let_go(
    small: Small, store: Here
) -> None:
    child = store.upstream.image(b"child")
    alone, index = store.upstream.image(b"alone"), store.upstream.image_index(child)
    for digest in (alone, child):
        store.image(M, digest)
    store.manifest(M, index)
    small.sync()
    done()
    row = Repository.objects.get(name=M)
    keys = {(row.pk, one) for one in (alone, child, index)}
    assert small.revisions(M) == {alone, child, index}
    assert reachable(keys) == keys
    assert _kept(Nothing(), row, set(small.revisions(M))) == {alone, child, index}
    assert ingest.let_go(M, {index}) == 1
    assert reachable(keys) == {(row.pk, alone)}
    assert _kept(Nothing(), row, set(small.revisions(M))) == {alone}
    done()
    assert small.revisions(M) == {alone}


class Nothing:
    """A registry without tags."""

    def tags(self, repository: str) -> list[str]:
        return []


def test_what_a_tag_left_goes_unless_it_was_pulled_since(small: Small, store: Here) -> None:
    children = [store.upstream.image(b"one"), store.upstream.image(b"two")]
    old, other = (store.upstream.image_index(child) for child in children)
    new = store.upstream.image(b"new")
    for tag, index, child in (("1", old, children[0]), ("2", other, children[1])):
        store.manifest(M, index, tag)
        store.image(M, child)
    small.sync()
    for digest in (*children, old, other):
        pulled(digest)
    store.image(M, new, "1", "2")
    small.sync()
    pulled(other)
    done()
    assert small.revisions(M) == {new, other, children[1]}


def test_a_child_that_is_younger_than_its_image_index_goes_after_it(
    small: Small, store: Here, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = store.upstream.image(b"child")
    index = store.upstream.image_index(child)
    store.manifest(M, index, "1")
    store.image(M, child)
    small.sync()
    pulled(child)
    small.untag(M, "1")
    store.image(M, store.upstream.image(b"other"), "2")
    small.sync()
    ingest.drop_manifests(M, [index])
    (small.root / paths.revision_link(M, index)).unlink()
    row = Manifest.objects.get(repository__name=M, digest=child)
    assert not row.is_listed
    assert row.untagged_at is not None
    assert row.untagged_at > row.pulled_at
    done()
    assert child not in small.revisions(M)


def test_what_is_pulled_again_comes_back_when_the_registry_tells_of_it(
    small: Small, store: Here, settings: Any
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    digest = store.upstream.image(b"one")
    store.image(M, digest, "1")
    small.sync()
    small.untag(M, "1")
    small.sync()
    done()
    assert small.revisions(M) == set()
    assert Manifest.objects.filter(repository__name=M).count() == 0
    # The service found all of it just before, and set the tag.
    store.write(paths.tag_link(M, "1"), digest.encode())
    for name in ("other/app", M):
        row = RegistryEvent(event_id=name, action="pull", repository=name, tag="1", digest=digest)
        row.at = timezone.now()
        row.save()
    pushed.restore_pending()
    assert small.revisions(M) == {digest}
    assert set(store.blobs_of(digest)) <= small.blobs()
    assert collector.quarantined() == []


def test_a_quarantined_tag_is_not_needed_again(
    small: Small, store: Here, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    store.image(M, store.upstream.image(b"one"), "1", "2")
    small.sync()
    small.quarantine().add([paths.tag(M, "1")], run="evicted")
    small.sync()
    done()
    assert set(Tag.objects.filter(repository__name=M).values_list("name", flat=True)) == {"2"}
    with later(monkeypatch, hours=2):
        run = done()
    assert run.result["purged"] == 1
    assert json.loads(json.dumps(run.result))["in_quarantine"] == 0
