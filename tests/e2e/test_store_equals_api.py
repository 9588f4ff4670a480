"""A made store, served by the real registry: the index built from its files says what the API says.

The store is the benchmark's, so this also proves that what is measured there is a valid store.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from bench import store
from registryui.index.sync import sync
from registryui.index.verify import verify
from registryui.models import Manifest, ManifestBlob, Repository, Run, Tag
from registryui.registry.choose import open_store
from registryui.registry.client import RegistryClient
from registryui.registry.storages import FILESYSTEM, Storage
from tests.selection import Extent
from tests.support.parts import running_registry
from tests.support.registries import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]


@pytest.fixture(scope="module")
def tags(extent: Extent) -> int:
    return extent(400, 2000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tags: int) -> Iterator[Registry]:
    place = tmp_path_factory.mktemp("made")
    store.write(place / "store", tags, repositories=tags // 33)
    with running_registry(place) as url:
        yield Registry(url, place / "store")


def test_the_index_says_what_the_api_says(served: Registry, tags: int) -> None:
    run = sync(open_store(Storage(FILESYSTEM, {}, str(served.store))), by="test")
    assert run is not None
    assert (run.state, run.result["tags"], run.result["errors"]) == (Run.State.DONE, tags, 0)
    assert set(Repository.objects.values_list("name", flat=True)) == set(served.catalogue())

    listed = [
        (name, tag) for name in served.catalogue() for tag in served.tags(name).json()["tags"]
    ]
    assert len(listed) == tags
    for name, tag in random.Random(5).sample(listed, tags // 4):
        answer = served.get(name, tag)
        assert answer.status == 200, (name, tag)
        row = Tag.objects.select_related("manifest").get(repository__name=name, name=tag)
        manifest = row.manifest
        assert manifest is not None
        assert manifest.digest == answer.headers["docker-content-digest"]
        assert bytes(manifest.raw) == answer.body
        assert manifest.media_type == answer.headers["content-type"]
        _compare(served, name, manifest, json.loads(answer.body))


def _compare(served: Registry, name: str, manifest: Manifest, told: dict[str, object]) -> None:
    """Blobs, sizes and entries as the manifest's own text and the registry have them."""
    if "manifests" in told:
        entries = list(manifest.entries.values_list("digest", "size"))
        listed = told["manifests"]
        assert isinstance(listed, list)
        assert entries == [(entry["digest"], entry["size"]) for entry in listed]
        for entry in listed:
            assert served.get(name, entry["digest"], method="HEAD").status == 200
        return
    config, layers = told["config"], told["layers"]
    assert isinstance(config, dict)
    assert isinstance(layers, list)
    edges = ManifestBlob.objects.filter(manifest=manifest).order_by("role", "position")
    assert list(edges.values_list("blob__digest", "blob__size")) == [
        (one["digest"], one["size"]) for one in (config, *layers)
    ]
    for one in (config, *layers):
        head = served.ask("HEAD", f"/v2/{name}/blobs/{one['digest']}")
        assert (head.status, head.headers["content-length"]) == (200, str(one["size"]))


def test_a_store_and_the_api_are_no_difference_to_each_other(served: Registry) -> None:
    """Built from the files, verified over HTTP; then synced over HTTP: nothing to do."""
    assert sync(open_store(Storage(FILESYSTEM, {}, str(served.store))), by="test") is not None
    with RegistryClient(served.url) as client:
        assert list(verify(client)) == []
        again = sync(client, by="test")
    assert again is not None
    assert again.state == Run.State.DONE
    counts = ("added", "moved", "removed", "manifests", "problems", "errors")
    assert [again.result[name] for name in counts] == [0] * 6


def test_a_push_to_a_store_that_was_read_directly_is_found_by_the_next_sync(
    served: Registry,
) -> None:
    source = open_store(Storage(FILESYSTEM, {}, str(served.store)))
    assert sync(source, by="test") is not None
    digest = served.push_image("pushed/by-a-client", "1", layers=[b"new"])
    run = sync(source, by="test")
    assert run is not None
    assert run.result["added"] == 1
    assert Tag.objects.get(name="1", repository__name="pushed/by-a-client").manifest == (
        Manifest.objects.get(digest=digest)
    )
