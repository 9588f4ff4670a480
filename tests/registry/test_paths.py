"""The layout of the store: against a store that the real registry wrote."""

from pathlib import Path

import pytest

from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.client import RegistryClient
from tests.support.client_push import push
from tests.support.parts import running_registry


@pytest.mark.parametrize("name", ["one", "a/manifests/b", "a/tags/list/x", "x__y/z.z-z"])
def test_every_path_is_where_the_registry_writes(tmp_path: Path, name: str) -> None:
    with running_registry(tmp_path) as url, RegistryClient(url) as client:
        raw, config, layer = push(client, name, "1.0")
    store = tmp_path / "store"
    digest = sha256(raw)
    for link, content in {
        paths.tag_link(name, "1.0"): digest,
        paths.revision_link(name, digest): digest,
        paths.layer_link(name, config): config,
        paths.layer_link(name, layer): layer,
    }.items():
        assert (store / link).read_bytes() == content.encode()
    assert (store / paths.blob_data(digest)).read_bytes() == raw
    assert (store / paths.uploads(name)).is_dir()
    assert {"_layers", "_manifests"} == set(paths.MARKERS)
    inside = {path.name for path in (store / paths.repository(name)).iterdir()}
    assert inside == {*paths.MARKERS, paths.UPLOADS}
    assert (store / paths.tags(name) / "1.0" / paths.CURRENT).is_file()
    folder = store / paths.revisions(name) / "sha256" / digest.removeprefix("sha256:")
    assert [path.name for path in folder.iterdir()] == [paths.LINK]


def test_longer_digests_have_folders_of_their_own() -> None:
    digest = "sha512:" + "ab" * 64
    assert paths.blob_data(digest) == f"{paths.BLOBS}/sha512/ab/{'ab' * 64}/data"
    assert paths.revision_link("a", digest).endswith(f"/revisions/sha512/{'ab' * 64}/link")
