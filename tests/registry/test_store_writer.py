"""Writing into a store past the registry: our reader and the registry read what was written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.errors import Unreachable
from registryui.registry.files import Files, LocalFiles, Problems
from registryui.registry.objects import ObjectFiles
from registryui.registry.store_writer import LocalWriter, ObjectWriter, StoreWriter
from tests.support.fake_source import INDEX, digest_of, encode
from tests.support.folders import other_disk
from tests.support.parts import running_registry
from tests.support.registries import Registry

from .places import KINDS, Objects, Place, new, running_bucket

BLOB = b"content" * 1000
DIGEST = sha256(BLOB)
LINK = paths.layer_link("team/app", DIGEST)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with running_bucket() as made:
        yield made


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    found = request.getfixturevalue("bucket") if request.param == "s3" else None
    (tmp_path / "store").mkdir()
    return new(request.param, tmp_path / "store", found)


def opened(place: Any) -> tuple[Files, StoreWriter]:
    if place.is_local:
        files = LocalFiles(str(place.root), Problems())
        return files, LocalWriter(files)
    objects = ObjectFiles(place.protocol, place.root, place.options, Problems())
    return objects, ObjectWriter(objects)


def spool(folder: Path, content: bytes = BLOB) -> Path:
    made = folder / "spooled"
    made.write_bytes(content)
    return made


def test_a_reader_finds_what_was_written(place: Place, tmp_path: Path) -> None:
    spooled = spool(tmp_path)
    files, writer = opened(place)
    assert files.read([LINK], limit=1) == [None]
    for _number in range(2):  # the second time it is there already
        writer.put_blob(spooled, DIGEST)
        writer.put_link(LINK, DIGEST)
        assert not spooled.exists()
        spool(tmp_path)
    found = files.read([paths.blob_data(DIGEST), LINK], limit=10_000)
    assert found == [BLOB, DIGEST.encode()]


def test_the_registry_serves_what_was_written_and_an_index_without_its_images(
    tmp_path: Path,
) -> None:
    child = {"mediaType": INDEX, "digest": DIGEST, "size": len(BLOB)}
    raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]})
    digest = digest_of(raw)
    with running_registry(tmp_path) as url:
        registry = Registry(url, tmp_path / "store")
        refused = registry.put("team/app", "1", raw, INDEX)
        assert refused.status == 400
        made = LocalWriter(LocalFiles(str(tmp_path / "store"), Problems()))
        made.put_blob(spool(tmp_path, raw), digest)
        for link in (
            paths.revision_link("team/app", digest),
            paths.tag_index_link("team/app", "1", digest),
            paths.tag_link("team/app", "1"),
        ):
            made.put_link(link, digest)
        assert registry.get("team/app", "1").body == raw
        assert registry.tags("team/app").json()["tags"] == ["1"]
        assert registry.delete("team/app", digest).status == 202
        assert registry.tags("team/app").json()["tags"] is None


def test_a_process_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    """At every change to the disk."""
    for number in range(100):
        root = tmp_path / str(number)
        root.mkdir()
        calls = 0

        def change(act: Any, *arguments: Any, last: int = number) -> Any:
            nonlocal calls
            calls += 1
            if calls > last:
                raise KeyboardInterrupt
            return act(*arguments)

        made = LocalWriter(LocalFiles(str(root), Problems()), change=change)
        try:
            made.put_blob(spool(tmp_path), DIGEST)
            made.put_link(LINK, DIGEST)
        except KeyboardInterrupt:
            data, link = root / paths.blob_data(DIGEST), root / LINK
            assert not data.exists() or data.read_bytes() == BLOB
            assert not link.exists() or (link.read_text() == DIGEST and data.exists())
        else:
            assert number > 10
            return
    raise AssertionError("it never came to its end")


def test_a_spool_on_another_file_system(tmp_path: Path) -> None:
    with other_disk(tmp_path) as disk:
        spooled = spool(disk)
        LocalWriter(LocalFiles(str(tmp_path), Problems())).put_blob(spooled, DIGEST)
        assert not spooled.exists()
    assert (tmp_path / paths.blob_data(DIGEST)).read_bytes() == BLOB
    assert len(list((tmp_path / paths.blob_data(DIGEST)).parent.iterdir())) == 1


def test_a_repository_that_was_moved_to_another_disk_is_written_there(tmp_path: Path) -> None:
    with other_disk(tmp_path) as disk:
        folder = tmp_path / paths.repository("team/app")
        folder.parent.mkdir(parents=True)
        folder.symlink_to(disk, target_is_directory=True)
        LocalWriter(LocalFiles(str(tmp_path), Problems())).put_link(LINK, DIGEST)
        assert (disk / LINK.removeprefix(paths.repository("team/app") + "/")).exists()


@pytest.mark.parametrize("where", ["_layers", "_layers/sha256"])
def test_nothing_is_written_behind_another_symbolic_link(tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / paths.repository("team/app") / where
    folder.parent.mkdir(parents=True)
    folder.symlink_to(outside, target_is_directory=True)
    with pytest.raises(Unreachable):
        LocalWriter(LocalFiles(str(tmp_path), Problems())).put_link(LINK, DIGEST)
    assert list(outside.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = LocalWriter(LocalFiles(str(tmp_path), Problems()))

    def refuse(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Unreachable, match="No space left"):
        made.put_link(LINK, DIGEST)
    assert not (tmp_path / LINK).exists()
    assert list((tmp_path / "boathouse").iterdir()) == []
    shutil.rmtree(tmp_path / "docker")
