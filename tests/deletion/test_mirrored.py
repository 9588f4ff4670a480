"""Deleting, restoring and purging in a mirrored repository of which only a part is there."""

from __future__ import annotations

from typing import Any

import pytest

from registryui.deletion import execute, restore
from registryui.index.sync import sync
from registryui.models import Manifest, Tag, TagTombstone
from registryui.refused import Refused
from registryui.registry import choose
from tests.support.mirrored import Here, M, mirror
from tests.support.worlds import BY, World

pytestmark = pytest.mark.django_db


@pytest.fixture
def store(here: World, settings: Any) -> Here:
    mirror()
    settings.STORAGE, settings.STORE_DIR = "filesystem", here.real.store
    return Here(here.real.store)


def tombstone(tag: str) -> TagTombstone:
    return TagTombstone.objects.get(repository=M, tag=tag)


def sparse(here: World, store: Here) -> tuple[str, str]:
    """Digests of an image index, tagged `1`, and of the one of its two images that is there."""
    amd64, arm64 = store.upstream.image(b"one"), store.upstream.image(b"two", architecture="arm64")
    index = store.upstream.image_index(amd64, arm64)
    store.manifest(M, index, "1", "2")
    store.image(M, amd64, blobs=1)
    here.sync()
    return index, amd64


def test_a_sparse_image_index_is_deleted_and_restored(here: World, store: Here) -> None:
    index, amd64 = sparse(here, store)
    outcome = here.delete("1", repository=M)
    assert [one.state for one in outcome.results] == ["deleted"]
    assert here.tags(M) == {"2"}
    assert here.known(M) == {"2": index}
    restore.restore(tombstone("1"), by=BY)
    assert here.digest("1", M) == index
    assert here.known(M) == {"1": index, "2": index}
    assert Tag.objects.get(repository__name=M, name="1").problem == ""
    assert tombstone("1").restored_at is not None
    here.sync()
    assert here.known(M) == {"1": index, "2": index}
    assert set(Manifest.objects.filter(repository__name=M).values_list("digest", flat=True)) >= {
        index,
        amd64,
    }


def test_a_bare_image_is_restored_though_no_blob_was_pulled(here: World, store: Here) -> None:
    digest = store.upstream.image(b"bare")
    store.manifest(M, digest, "1")
    store.image(M, store.upstream.image(b"other"), "2")  # else the registry lists no repository
    here.sync()
    here.delete("1", repository=M)
    restore.restore_act(tombstone("1").act, by=BY)
    assert here.digest("1", M) == digest


def test_a_store_that_cannot_be_written_says_what_to_do(
    here: World, store: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse(here, store)
    here.delete("1", repository=M)

    def refused() -> Any:
        raise Refused("no")

    monkeypatch.setattr(choose, "open_writer", refused)
    with pytest.raises(Refused, match="Not all of this image was pulled"):
        restore.restore(tombstone("1"), by=BY)
    assert here.tags(M) == {"2"}


def test_an_untagged_digest_that_is_deleted_is_kept_no_more(here: World, store: Here) -> None:
    digest = store.upstream.image(b"alone")
    store.image(M, digest)
    store.image(M, store.upstream.image(b"other"), "1")
    here.sync()
    selection = execute.Selection(M, manifests=(digest,))
    assert [one.reason for one in execute.plan(selection).left_out] == ["missing"]
    with choose.open_source("store") as source:
        assert sync(source, by="test") is not None
    planned = execute.plan(selection)
    assert [one.digest for one in planned.going] == [digest]
    done = execute.execute(selection, fingerprint=planned.fingerprint, by=BY)
    assert [one.state for one in done.results] == ["deleted"]
    row = Manifest.objects.get(repository__name=M, digest=digest)
    assert row.untagged_at is not None
    assert row.untagged_at > row.seen_at


def test_a_digest_is_purged(here: World, store: Here) -> None:
    index, amd64 = sparse(here, store)
    execute.purge_manifest(M, index, by=BY)
    assert here.tags(M) == set()
    assert here.real.get(M, index).status == 404
    assert not Tag.objects.filter(repository__name=M).exists()
    assert store.upstream.content[amd64]
