"""What is garbage in random stores, against the walk over what was put there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from registryui.gc import registry_gc
from registryui.gc.mark import Marker
from registryui.gc.store_scan import digest_of
from registryui.models import Repository, TagTombstone
from registryui.oci.references import references
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.graphs import REPOSITORIES, Graph, graphs, put, reached
from tests.support.stores import Small

pytestmark = pytest.mark.django_db


class Registry:
    """What `registry_gc` asks of one, answered by the store: the real one is in tests/e2e."""

    def __init__(self, small: Small) -> None:
        self.store = open_store(Storage(FILESYSTEM, {}, str(small.root)))

    def tags(self, repository: str) -> list[str]:
        return list(self.store.tags(repository))

    def resolve(self, repository: str, reference: str) -> str | None:
        return self.store.resolve(repository, reference)


@given(graph=graphs())
def test_what_no_root_reaches_is_garbage_and_nothing_else(
    graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for model in (Repository, TagTombstone):
        model._default_manager.all().delete()
    small = Small(tmp_path_factory.mktemp("store"))
    digests = put(graph, small)
    if not graph.here:
        return
    small.sync()
    kept = reached(graph.tagged | graph.undo, graph.keeps())
    dead = {(graph.nodes[one].repository, digests[one]) for one in graph.here - kept}

    store = open_store(Storage(FILESYSTEM, {}, str(small.root)))
    found = Marker(store, timedelta(0), lambda count: None).mark()
    assert set(found.manifests) == dead
    needed = {digests[one] for one in kept}
    for one in kept & graph.here:
        raw = (small.root / paths.blob_data(digests[one])).read_bytes()
        needed |= set(references(raw).digests)
    assert {digest_of(key) for key, _size in found.blobs} == small.blobs() - needed

    client: Any = Registry(small)
    for row in Repository.objects.filter(name__in=REPOSITORIES):
        own = set(row.manifests.values_list("digest", flat=True))
        stays = registry_gc._kept(client, row, own)
        assert own - stays == {one for name, one in dead if name == row.name}
