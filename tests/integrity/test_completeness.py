"""The walk of the integrity check over random stores, against the walk that decides what stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.gc.pushed import needed_by
from registryui.integrity.completeness import Deep, Pace, StoreProbe
from registryui.oci.references import references
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.graphs import REPOSITORIES, Graph, graphs, put, reached
from tests.support.stores import Small


@given(data=st.data(), graph=graphs(with_undo=False))
def test_a_tag_is_complete_if_all_that_is_reachable_is_there(
    data: st.DataObject, graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    small = Small(tmp_path_factory.mktemp("store"))
    digests = put(graph, small)
    every = sorted(small.blobs())
    places = data.draw(st.sets(st.integers(0, 20), max_size=2))
    lost = {every[place] for place in places if place < len(every)}
    names: dict[str, set[str]] = {}
    for one in every:
        raw = (small.root / paths.blob_data(one)).read_bytes()
        names[one] = set(references(raw).digests) if one in digests else set()
    for one in lost:
        (small.root / paths.blob_data(one)).unlink()

    store = open_store(Storage(FILESYSTEM, {}, str(small.root)))
    probe = StoreProbe(store, Deep(Pace(0), is_deep=False))
    for repository in REPOSITORIES:
        if not (small.root / paths.tags(repository)).exists():
            continue
        found = probe.probe(repository, None)
        assert found.error == ""
        tags = {link.name: link.digest for link in store.tag_links(repository)}
        needed = {tag: reached({digest}, names) for tag, digest in tags.items()}
        whole = {tag for tag, blobs in needed.items() if blobs <= small.blobs()}
        assert found.complete.keys() == whole
        assert {one.tag for one in found.broken} == tags.keys() - whole
        for tag in whole:
            found_paths = needed_by(store, repository, [tags[tag]])
            data_paths = {one for one in found_paths if one.endswith("/data")}
            assert data_paths == {paths.blob_data(one) for one in needed[tag]}
