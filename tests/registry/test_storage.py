"""The reader of a store against whatever may lie in one: the same tests for a disk, an object
store in memory, and S3. That it agrees with the real registry is in tests/e2e/test_store.py."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registryui.oci import media_types
from registryui.oci.manifest import parse_stored, stored_media_type
from registryui.registry import paths, storage
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, TooLarge, Unreachable
from registryui.registry.files import LINES, LocalFiles, Problems
from registryui.registry.source import Store, TagLink
from registryui.registry.storage import FileStore
from tests.oci.samples import image, image_index
from tests.support.folders import open_folder

from . import places
from .places import Objects, Place, put_blob, put_manifest, put_tag

LONG = f"sha512:{hashlib.sha512(b'config').hexdigest()}"
NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    """An S3 service."""
    with places.running_bucket() as made:
        yield made


@pytest.fixture(params=places.KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store of each kind."""
    is_s3 = request.param == "s3"
    return places.new(request.param, tmp_path, request.getfixturevalue("bucket") if is_s3 else None)


@pytest.fixture
def local(tmp_path: Path) -> places.Local:
    """An empty store on the disk."""
    return places.Local(tmp_path)


def digests(links: list[TagLink]) -> dict[str, str]:
    """Tag to digest, "" for a broken one."""
    return {link.name: link.digest for link in links}


# -- what is sound -------------------------------------------------------------------------------
def test_a_store_is_a_source_and_more(place: Place) -> None:
    store: Store = place.open()
    assert list(store.repositories()) == []
    assert list(store.blobs()) == []
    assert list(store.uploads()) == []
    assert store.tag_links("nobody") == []
    assert store.revisions("nobody") == []
    assert store.problems == []
    with pytest.raises(NotFound):
        store.tags("nobody")
    assert store.resolve("nobody", "latest") is None
    assert store.manifest("nobody", NOWHERE) is None
    assert store.blob("nobody", NOWHERE, limit=10) is None
    assert store.read_blobs([], limit=10) == []


def test_tags_manifests_and_blobs_are_read(place: Place) -> None:
    began = datetime.now(UTC)
    image_digest = put_manifest(place, "team/app", image(), "1", "latest")
    index = put_manifest(place, "team/app", image_index(), "multi")
    untagged = put_manifest(place, "team/app", image_index(annotations={"a": "b"}))
    put_manifest(place, "team", image(), "deep")
    store = place.open()

    assert list(store.repositories()) == ["team", "team/app"]
    assert sorted(store.tags("team/app")) == ["1", "latest", "multi"]
    links = store.tag_links("team/app")
    assert digests(links) == {"1": image_digest, "latest": image_digest, "multi": index}
    for link in links:
        assert began - timedelta(seconds=2) <= link.tagged_at <= datetime.now(UTC)
        assert link.tagged_at.tzinfo == UTC
    assert sorted(store.revisions("team/app")) == sorted([image_digest, index, untagged])
    assert store.resolve("team/app", "multi") == index
    stored = store.manifest("team/app", "1")
    assert stored
    assert (stored.digest, stored.media_type) == (image_digest, media_types.OCI_MANIFEST)
    assert stored.raw == image()
    assert store.read_blobs([index, NOWHERE, image_digest], limit=4096) == [
        image_index(),
        None,
        image(),
    ]
    found = {blob.digest: blob.size for blob in store.blobs()}
    assert found[image_digest] == len(image())
    assert len(found) == 3
    assert store.problems == []


def test_a_blob_is_read_through_the_link_of_its_repository(place: Place) -> None:
    digest = put_blob(place, b"config")
    place.put(paths.layer_link("a", digest), digest.encode())
    store = place.open()
    assert store.blob("a", digest, limit=6) == b"config"
    assert store.blob("b", digest, limit=6) is None
    with pytest.raises(TooLarge):
        store.blob("a", digest, limit=5)


def test_a_blob_by_a_longer_digest_lies_under_its_short_one(place: Place) -> None:
    digest = put_blob(place, b"config")
    place.put(paths.layer_link("a", LONG), digest.encode())
    store = place.open()
    assert store.blob("a", LONG, limit=10) is None  # the registry looks for both links
    place.put(paths.layer_link("a", digest), digest.encode())
    assert store.blob("a", LONG, limit=10) == b"config"
    assert store.stored_as("a", [digest, LONG, NOWHERE]) == {LONG: digest}
    assert store.stored_as("b", [LONG]) == {}
    assert store.read_blobs([LONG, digest], limit=10, repository="a") == [b"config"] * 2
    assert store.read_blobs([LONG, digest], limit=10, repository="b") == [None, b"config"]
    links = {one.digest: one.target for one in store.layer_links("a")}
    assert links == {digest: digest, LONG: digest}


@pytest.mark.parametrize("content", [b"", b"sha256:", LONG.encode()])
def test_a_link_of_a_longer_digest_may_say_nothing(place: Place, content: bytes) -> None:
    """The last is what the registry writes when such a blob is mounted, and does not find then."""
    digest = put_blob(place, b"config")
    place.put(paths.layer_link("a", digest), digest.encode())
    place.put(paths.layer_link("a", LONG), content)
    store = place.open()
    assert store.stored_as("a", [LONG]) == {}
    assert store.read_blobs([LONG], limit=10, repository="a") == [None]


def test_a_blob_by_a_longer_digest_must_be_what_that_says(place: Place) -> None:
    digest = put_blob(place, b"another config")
    place.put(paths.layer_link("a", LONG), digest.encode())
    (answer,) = place.open().read_blobs([LONG], limit=100, repository="a")
    assert isinstance(answer, BadAnswer)


def test_a_manifest_with_no_link_but_a_layers_is_there(place: Place) -> None:
    digest = put_blob(place, image())
    place.put(paths.layer_link("a", digest), digest.encode())
    assert place.open().resolve("a", digest) == digest


def test_a_deleted_manifest_leaves_a_folder_and_is_gone(local: places.Local) -> None:
    digest = put_manifest(local, "a", image(), "1")
    local.remove(paths.revision_link("a", digest))
    store = local.open()
    assert store.revisions("a") == []
    assert store.resolve("a", digest) is None
    assert store.resolve("a", "1") is None  # a dangling tag
    assert digests(store.tag_links("a")) == {"1": digest}
    assert store.problems == []


def test_uploads_are_listed_where_there_is_no_repository_either(place: Place) -> None:
    put_manifest(place, "a", image(), "1")
    place.put(f"{paths.uploads('a')}/one/startedat", b"2026-11-24T10:00:00Z")
    place.put(f"{paths.uploads('only/here')}/two/data", b"12345")
    place.put(f"{paths.uploads('only/here')}/two/hashstates/sha256/5", b"x")
    store = place.open()
    found = [(one.repository, one.id, one.size) for one in store.uploads()]
    assert found == [("a", "one", 0), ("only/here", "two", 5)]
    assert list(store.repositories()) == ["a"]
    assert all(one.modified_at > datetime(2026, 1, 1, tzinfo=UTC) for one in store.uploads())


def test_a_purged_blob_leaves_a_folder(local: places.Local) -> None:
    digest = put_blob(local, b"x")
    local.remove(paths.blob_data(digest))
    store = local.open()
    assert list(store.blobs()) == []
    assert store.read_blobs([digest], limit=1) == [None]
    assert store.problems == []


# -- stamps --------------------------------------------------------------------------------------
def test_a_stamp_changes_with_every_tag_and_manifest(place: Place) -> None:
    store = place.open()
    seen = [store.stamp("a")]

    def changed() -> str:
        time.sleep(0.02)  # a disk's clock has ticks
        seen.append(store.stamp("a"))
        assert seen[-1] != seen[-2]
        return seen[-1]

    first = put_manifest(place, "a", image(), "1")
    changed()
    put_tag(place, "a", "2", first.encode())
    changed()
    second = put_manifest(place, "a", image_index())
    changed()
    place.remove(f"{paths.tags('a')}/2")
    changed()
    place.remove(paths.revision_link("a", second))
    changed()


def test_a_stamp_stays_when_nothing_changes(local: places.Local) -> None:
    digest = put_manifest(local, "a", image(), "1")
    put_manifest(local, "b", image(), "1")
    store = local.open()
    # What changed a moment ago may change again within the same tick of the disk's clock.
    assert store.stamp("a") != store.stamp("a")
    for folder in (paths.tags("a"), f"{paths.revisions('a')}/sha256", paths.revisions("a")):
        places.age(local.root / folder, 60)
    places.age((local.root / paths.revision_link("a", digest)).parent, 60)
    stamp = store.stamp("a")
    assert stamp == store.stamp("a") == local.open().stamp("a")
    put_manifest(local, "b", image_index(), "2")
    assert store.stamp("a") == stamp


def test_the_stamp_of_an_object_store_stays_when_nothing_changes(bucket: Objects) -> None:
    made = places.new("s3", Path(), bucket)
    put_manifest(made, "a", image(), "1")
    assert made.open().stamp("a") == made.open().stamp("a") != made.open().stamp("b")


# -- bad input -----------------------------------------------------------------------------------
BROKEN_LINKS = [
    b"",
    b"sha256:",
    NOWHERE.encode()[:-1],
    NOWHERE.encode() + b"\n",
    NOWHERE.upper().encode(),
    b"sha256:" + b"g" * 64,
    b"md5:" + b"0" * 32,
    b"\xff\xfe\x00" * 20,
    b"a" * 2000,
    b"sha256:" + "٠".encode() * 64,
]


def test_a_broken_link_marks_its_tag_and_no_other(place: Place) -> None:
    digest = put_manifest(place, "a", image(), "good")
    broken = {f"bad-{number}": content for number, content in enumerate(BROKEN_LINKS)}
    for tag, content in broken.items():
        put_tag(place, "a", tag, content)
    store = place.open()
    assert digests(store.tag_links("a")) == {"good": digest} | dict.fromkeys(broken, "")
    assert sorted(store.tags("a")) == sorted([*broken, "good"])
    for tag in broken:
        assert [line for line in store.problems if f"tags/{tag}/" in line and "no digest" in line]
        with pytest.raises(BadAnswer):
            store.resolve("a", tag)
    assert store.resolve("a", "good") == digest


def test_a_tag_without_its_link_is_broken(place: Place) -> None:
    digest = put_manifest(place, "a", image())
    hexadecimal = digest.removeprefix("sha256:")
    place.put(f"{paths.tags('a')}/old/index/sha256/{hexadecimal}/link", digest.encode())
    store = place.open()
    assert digests(store.tag_links("a")) == {"old": ""}
    assert store.tags("a") == ["old"]
    assert store.resolve("a", "old") is None  # as the registry says
    assert len(store.problems) == 1


def test_a_link_that_is_being_rewritten_is_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put_manifest(place, "a", image(), "1")
    for link in (paths.tag_link("a", "1"), paths.revision_link("a", digest)):
        place.put(link, b"")

        def rewrite(_seconds: float, link: str = link) -> None:
            place.put(link, digest.encode())

        monkeypatch.setattr(storage.time, "sleep", rewrite)
        store = place.open()
        assert digests(store.tag_links("a")) == {"1": digest}
        assert store.revisions("a") == [digest]
        place.put(link, b"")
        assert store.resolve("a", digest if "revisions" in link else "1") == digest
        assert store.problems == []


def test_broken_revisions_are_left_out_and_marked(place: Place) -> None:
    good = put_manifest(place, "a", image(), "1")
    place.put(paths.revision_link("a", NOWHERE), b"")
    place.put(f"{paths.revisions('a')}/sha256/not-hex/link", b"x")
    place.put(f"{paths.revisions('a')}/md5/{'0' * 32}/link", b"md5:" + b"0" * 32)
    store = place.open()
    assert store.revisions("a") == [good]
    assert len(store.problems) == 3
    with pytest.raises(BadAnswer):
        store.manifest("a", NOWHERE)


def test_content_of_another_digest_is_never_given_out(place: Place) -> None:
    digest = put_manifest(place, "a", image(), "1")
    place.put(paths.blob_data(digest), image() + b" ")
    place.put(paths.layer_link("a", digest), digest.encode())
    store = place.open()
    (answer,) = store.read_blobs([digest], limit=4096)
    assert isinstance(answer, BadAnswer)
    with pytest.raises(BadAnswer):
        store.manifest("a", "1")
    with pytest.raises(BadAnswer):
        store.blob("a", digest, limit=4096)
    assert any("not what its digest says" in line for line in store.problems)


def test_a_link_to_another_digest_is_followed_and_refused(place: Place) -> None:
    other = put_manifest(place, "a", image_index())
    digest = put_manifest(place, "a", image(), "1")
    place.put(paths.revision_link("a", digest), other.encode())
    with pytest.raises(BadAnswer):
        place.open().manifest("a", "1")


NO_MANIFESTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"schemaVersion": 3}',
    b'{"schemaVersion": true}',
    b'{"schemaVersion": 2.0}',
    b'{"schemaVersion": 2, "mediaType": "text/plain"}',
    b'{"schemaVersion": 2, "mediaType": 1}',
    b"[" * 100_000,
    b'{"schemaVersion": 2' + b" " * 100 + b"\xff}",
    image()[:-20],
]


def test_what_is_no_manifest_is_refused(place: Place) -> None:
    made = {
        f"tag-{number}": put_manifest(place, "a", content, f"tag-{number}")
        for number, content in enumerate(NO_MANIFESTS)
    }
    store = place.open()
    assert digests(store.tag_links("a")) == made
    for tag, digest in made.items():
        for reference in (tag, digest):
            with pytest.raises(BadAnswer):
                store.manifest("a", reference)
    assert store.read_blobs(list(made.values()), limit=200_000) == NO_MANIFESTS  # as they say


def test_a_hundred_megabytes_are_not_read_into_memory(local: places.Local) -> None:
    """A sparse file: were it read, this process would grow by its size."""
    digest = put_manifest(local, "a", image(), "1")
    os.truncate(local.root / paths.blob_data(digest), 100 * 1024 * 1024)
    store = local.open()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (answer,) = store.read_blobs([digest], limit=4 * 1024 * 1024)
    with pytest.raises(TooLarge):
        store.manifest("a", "1")
    assert isinstance(answer, TooLarge)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # KiB


def test_too_large_is_said_of_one_blob_only(place: Place) -> None:
    large, small = put_blob(place, b"x" * 1001), put_blob(place, b"y" * 1000)
    first, second = place.open().read_blobs([large, small], limit=1000)
    assert isinstance(first, TooLarge)
    assert second == b"y" * 1000


def test_names_that_no_client_could_push_are_left_out(place: Place) -> None:
    digest = put_manifest(place, "good", image(), "good")
    names = ["UP", "-x", "a b", "ü", f"d/{'x' * 254}", "a..b", "a%2Fb"]
    tags = ["-x", ".x", "a b", "ü", "x" * 129, "a:b"]
    for name in names:
        put_manifest(place, name, image(), "1")
    for tag in tags:
        put_tag(place, "good", tag, digest.encode())
    store = place.open()
    assert list(store.repositories()) == ["good"]
    assert len(store.problems) == len(names)
    assert store.tags("good") == ["good"]
    assert digests(store.tag_links("good")) == {"good": digest}
    assert len(store.problems) == len(names) + len(tags)


def test_names_that_are_no_text_are_left_out(local: places.Local) -> None:
    digest = put_manifest(local, "a", image(), "good")
    base = os.fsencode(local.root / paths.REPOSITORIES)
    inner = b"a/_manifests/"
    for odd in (b"\xff\xfe", inner + b"tags/\xff\n", inner + b"revisions/sha256/\xff"):
        Path(os.fsdecode(base + b"/" + odd + b"/_manifests")).mkdir(parents=True)
    store = local.open()
    assert list(store.repositories()) == ["a"]
    assert digests(store.tag_links("a")) == {"good": digest}
    assert store.revisions("a") == [digest]
    store.stamp("a")
    assert len(store.problems) == 3
    "\n".join(store.problems).encode("ascii")


def test_files_where_folders_belong_are_marked(place: Place) -> None:
    digest = put_manifest(place, "a", image(), "1")
    for path in (
        f"{paths.REPOSITORIES}/file",
        f"{paths.tags('a')}/file",
        f"{paths.revisions('a')}/file",
        f"{paths.revisions('a')}/sha256/file",
        f"{paths.uploads('a')}/file",
        f"{paths.BLOBS}/sha256/file",
        f"{paths.BLOBS}/sha256/aa/file",
    ):
        place.put(path, b"x")
    store = place.open()
    assert list(store.repositories()) == ["a"]
    assert digests(store.tag_links("a")) == {"1": digest, "file": ""}
    assert store.revisions("a") == [digest]
    assert [blob.digest for blob in store.blobs()] == [digest]
    assert [upload.id for upload in store.uploads()] == ["file"]
    store.stamp("a")
    for path in ("file", "tags/file", "revisions/file", "sha256/file", "aa/file", "_uploads/file"):
        assert any(path in line.partition(":")[0] for line in store.problems), path


def test_folders_where_files_belong_are_marked(local: places.Local) -> None:
    digest = put_manifest(local, "a", image(), "good")
    other = put_manifest(local, "a", image_index(), "bad")
    for path in (
        paths.tag_link("a", "bad"),
        paths.revision_link("a", other),
        paths.blob_data(other),
    ):
        (local.root / path).unlink()
        (local.root / path / "inner").mkdir(parents=True)
    store = local.open()
    assert digests(store.tag_links("a")) == {"good": digest, "bad": ""}
    assert store.revisions("a") == [digest]
    assert store.read_blobs([other, digest], limit=4096) == [None, image()]
    assert [blob.digest for blob in store.blobs()] == [digest]
    for path in ("tags/bad", f"{other[7:]}/link", f"{other[7:]}/data"):
        assert any(path in line for line in store.problems), path


def test_keys_below_what_should_be_a_file_do_no_harm(bucket: Objects) -> None:
    made = places.new("s3", Path(), bucket)
    digest = put_manifest(made, "a", image(), "1", "2")
    made.put(f"{paths.tag_link('a', '1')}/inner", b"x")
    made.put(f"{paths.tags('a')}/3/current/link/inner", b"x")
    made.put(f"{paths.repository('a')}/", b"")  # consoles make folders so
    store = made.open()
    assert digests(store.tag_links("a")) == {"1": digest, "2": digest, "3": ""}
    assert list(store.repositories()) == ["a"]


def test_times_that_are_none_or_to_come_are_marked(local: places.Local) -> None:
    put_manifest(local, "a", image(), "1", "old", "new")
    link = local.root / paths.tag_link("a", "new")
    tomorrow = time.time() + 86_400
    os.utime(link, (tomorrow, tomorrow))
    os.utime(local.root / paths.tag_link("a", "old"), (0, 0))
    store = local.open()
    moved = {one.name: one.tagged_at for one in store.tag_links("a")}
    assert moved["new"] == datetime.fromtimestamp(tomorrow, UTC)
    assert moved["old"] == storage.EPOCH
    assert store.problems == ["a/_manifests/tags/new: is from the future"]
    assert store._moment(storage.Leaf("x", 1, 1e30), "a") == storage.EPOCH


# -- symbolic links ------------------------------------------------------------------------------
def test_no_symbolic_link_leads_in_a_circle_or_to_files_of_this_machine(
    local: places.Local, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digest = put_manifest(local, "a", image(), "good")
    elsewhere = places.Local(tmp_path_factory.mktemp("elsewhere"))
    other = put_manifest(elsewhere, "secret", image_index(), "1")
    base, theirs = local.root / paths.REPOSITORIES, elsewhere.root / paths.REPOSITORIES
    links = {
        base / "circle": base,
        base / "a" / "circle": base / "a",
        base / "alias": base / "a",
        base / "above": local.root.parent,
        base / "all": Path("/"),
        base / "b": base / "b",
        base / "blobs": local.root / paths.BLOBS,
        base / "file": elsewhere.root / paths.blob_data(other),
        base / "a/_manifests/tags/whole": theirs / "secret/_manifests/tags/1",
        base / "a/_manifests/revisions/sha256" / other[7:]: (
            elsewhere.root / paths.revision_link("secret", other)
        ).parent,
        (local.root / paths.blob_data(other)).parent: (
            elsewhere.root / paths.blob_data(other)
        ).parent,
        base / "a/_uploads/x": Path("/etc"),
    }
    for tag, inner, target in (
        ("folder", "current", theirs / "secret/_manifests/tags/1/current"),
        ("file", "current/link", theirs / "secret/_manifests/tags/1/current/link"),
        ("passwd", "current/link", Path("/etc/passwd")),
        ("zero", "current/link", Path("/dev/zero")),
    ):
        links[base / "a/_manifests/tags" / tag / inner] = target
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    store = local.open()

    assert list(store.repositories()) == ["a"]
    found = digests(store.tag_links("a"))
    assert found.pop("good") == digest
    assert found == dict.fromkeys(("whole", "folder", "file", "passwd", "zero"), "")
    assert store.revisions("a") == [digest]
    assert [blob.digest for blob in store.blobs()] == [digest]
    assert isinstance(store.read_blobs([other], limit=4096)[0], BadAnswer)
    for tag in ("folder", "file", "passwd", "zero", "whole"):
        with pytest.raises(BadAnswer):
            store.manifest("a", tag)
    assert [upload.size for upload in store.uploads()] == [0]
    for name in ("alias", "all", "circle/a"):
        with pytest.raises(NotFound):
            store.tags(name)
    assert store.stamp("alias") == store.stamp("circle")
    assert any("symbolic link" in line for line in store.problems)
    assert "root:" not in "\n".join(store.problems)
    met = {path.removeprefix(f"{paths.REPOSITORIES}/") for path in store.unfollowed}
    assert met >= {"circle", "a/circle", "alias", "above", "all", "b", "blobs"}


def test_an_administrator_may_put_repositories_and_namespaces_on_other_disks(
    local: places.Local, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each of them is there once, by the name of the link, also in another process."""
    digest = put_manifest(local, "team/api", image(), "1")
    put_manifest(local, "team/deep/er", image(), "1")
    put_manifest(local, "stays", image(), "1")
    put_manifest(local, "alone", image(), "1")
    base, disk = local.root / paths.REPOSITORIES, tmp_path_factory.mktemp("disk")
    for name, place in {"team/deep": "nested", "team": "team", "alone": "alone"}.items():
        (base / name).rename(disk / place)
        (base / name).symlink_to(disk / place)
    (disk / "team" / "again").symlink_to(disk / "team")
    (base / "twin").symlink_to(disk / "team")
    store = local.open()
    names = ["alone", "stays", "team/api", "team/deep/er"]
    for reader in (store, local.open(), pickle.loads(pickle.dumps(store))):
        assert list(reader.repositories()) == names
        for name in names:
            assert digests(reader.tag_links(name)) == {"1": digest}
            assert reader.revisions(name) == [digest]
            assert reader.resolve(name, "1") == digest
            assert reader.stamp(name)
        assert {path.removeprefix(f"{paths.REPOSITORIES}/") for path in reader.unfollowed} == {
            *("team/again", "twin"),
        }
    before = store.stamp("team/api")
    put_tag(local, "team/api", "2", digest.encode())
    assert store.stamp("team/api") != before
    assert not store.is_elsewhere("team/api")


def test_a_link_to_a_disk_that_is_away_is_no_empty_namespace(
    local: places.Local, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Else all its repositories would be dropped until it is back."""
    put_manifest(local, "a", image(), "1")
    put_manifest(local, "team/api", image(), "1")
    base, disk = local.root / paths.REPOSITORIES, tmp_path_factory.mktemp("disk")
    (base / "team").rename(disk / "team")
    (base / "team").symlink_to(disk / "team")
    (disk / "team").rename(disk / "away")
    store, found = local.open(), []
    with pytest.raises(Unreachable, match="team"):
        found += list(store.repositories())
    for ask in (store.tag_links, store.revisions, store.tags, store.stamp):
        with pytest.raises(Unreachable, match="team"):
            ask("team/api")
    (disk / "away").rename(disk / "team")
    assert list(local.open().repositories()) == ["a", "team/api"]


@pytest.mark.parametrize("below", ["sha256", "sha256/{start}"])
def test_an_administrator_may_put_some_blobs_on_another_disk(
    local: places.Local, tmp_path_factory: pytest.TempPathFactory, below: str
) -> None:
    digest = put_manifest(local, "a", image(), "1")
    folder = local.root / paths.BLOBS / below.format(start=digest[7:9])
    disk = tmp_path_factory.mktemp("disk")
    folder.rename(disk / "blobs")
    folder.symlink_to(disk / "blobs")
    store = local.open()
    assert [blob.digest for blob in store.blobs()] == [digest]
    assert store.read_blobs([digest], limit=4096) == [image()]
    assert b"".join(store.pieces(digest)) == image()
    assert store.manifest("a", "1") is not None


def test_an_administrator_may_put_the_blobs_on_another_disk(
    local: places.Local, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digest = put_manifest(local, "a", image(), "1")
    disk = tmp_path_factory.mktemp("disk")
    for folder in (paths.BLOBS, paths.REPOSITORIES):
        moved = disk / folder.rpartition("/")[2]
        (local.root / folder).rename(moved)
        (local.root / folder).symlink_to(moved)
    store = local.open()
    assert list(store.repositories()) == ["a"]
    assert store.resolve("a", "1") == digest
    assert [blob.digest for blob in store.blobs()] == [digest]


def test_a_pipe_stops_nobody(local: places.Local) -> None:
    put_manifest(local, "a", image())
    link = local.root / paths.tag_link("a", "pipe")
    link.parent.mkdir(parents=True)
    os.mkfifo(link)
    assert digests(local.open().tag_links("a")) == {"pipe": ""}


# -- while others write --------------------------------------------------------------------------
def test_what_vanishes_while_it_is_read_is_gone_and_no_error(local: places.Local) -> None:
    digest = put_manifest(local, "a", image(), "1", "2")

    class Vanishing(LocalFiles):
        def read(self, wanted, *, limit):  # type: ignore[no-untyped-def]
            if (local.root / paths.tags("a") / "2").exists():
                local.remove(f"{paths.tags('a')}/2")
            return super().read(wanted, limit=limit)

    problems = Problems()
    store = FileStore(Vanishing(str(local.root), problems), problems)
    assert digests(store.tag_links("a")) == {"1": digest}
    assert store.problems == []


CHANGES = 200  # by each of two writers


def test_a_store_under_change_is_read_without_an_error(local: places.Local) -> None:
    stay = put_manifest(local, "stay", image(), "1")

    def write(name: str) -> None:
        for _ in range(CHANGES):
            put_manifest(local, name, image_index(annotations={"n": name}), "x", "y")
            for path in (f"{paths.tags(name)}/x", paths.repository(name)):
                local.remove(path)

    store = local.open()
    rounds = 0
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, name) for name in ("one", "two")]
        while rounds < 10 or not all(writer.done() for writer in writers):
            rounds += 1
            names = list(store.repositories())
            assert "stay" in names
            for name in names:
                links = store.tag_links(name)
                store.revisions(name)
                store.stamp(name)
                store.read_blobs([one.digest for one in links if one.digest], limit=4096)
            assert digests(store.tag_links("stay")) == {"1": stay}
            list(store.blobs())
            list(store.uploads())
        for writer in writers:
            writer.result()


# -- storage that does not answer ----------------------------------------------------------------
class Broken(LocalFiles):
    """A disk with a bad folder: `bad` cannot be listed."""

    def _entries_of(self, place: str) -> list[os.DirEntry[str]]:
        if place.endswith("/bad"):
            raise Unreachable(f"{place}: Input/output error")
        return super()._entries_of(place)


def test_a_folder_that_cannot_be_read_makes_the_list_incomplete(local: places.Local) -> None:
    for name in ("a", "bad/b", "c"):
        put_manifest(local, name, image(), "1")
    problems = Problems()
    store = FileStore(Broken(str(local.root), problems), problems)
    names = []
    with pytest.raises(Unreachable):
        names.extend(_taken(store.repositories(), names))
    assert names == ["a", "c"]


def _taken(source: Iterator[str], into: list[str]) -> list[str]:
    for name in source:
        into.append(name)
    return []


def test_what_this_user_may_not_read_is_not_taken_for_empty() -> None:
    with open_folder("store") as folder:
        made = places.Local(folder)
        digest = put_manifest(made, "a", image(), "1")
        (folder / paths.blob_data(digest)).chmod(0)

        def ask() -> str:
            store = made.open()
            said = [type(store.read_blobs([digest], limit=4096)[0]).__name__]
            for question in (store.tag_links, store.tags, store.revisions, store.stamp):
                try:
                    said.append(str(len(question("a"))))
                except Unreachable:
                    said.append("Unreachable")
            return " ".join(said)

        assert places.as_nobody(ask) == "Unreachable 1 1 1 32"
        (folder / paths.tags("a")).chmod(0)
        (folder / paths.revisions("a") / "sha256").chmod(0)
        assert places.as_nobody(ask) == " ".join(["Unreachable"] * 5)
        (folder / paths.tags("a")).chmod(0o700)
        (folder / paths.revisions("a") / "sha256").chmod(0o700)


def test_a_service_that_is_not_there_is_unreachable_and_tells_no_secret() -> None:
    secret = "hidden-secret-of-the-tests"
    options = {
        "key": "AKIA-THE-KEY",
        "secret": secret,
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 1, "mode": "standard"}},
    }
    made = Objects("s3", "images", options)
    store = made.open()
    said = [repr(store), repr(store._files)]
    for ask in (
        store.ping,
        lambda: list(store.repositories()),
        lambda: store.tag_links("a"),
        lambda: store.stamp("a"),
        lambda: store.manifest("a", "1"),
    ):
        with pytest.raises(Unreachable) as raised:
            ask()
        said.append(str(raised.value))
        assert raised.value.__cause__ is None
    (answer,) = store.read_blobs([NOWHERE], limit=1)
    assert isinstance(answer, Unreachable)
    assert not [text for text in said if secret in text or "AKIA" in text]


def test_a_bucket_that_is_not_there_is_not_an_empty_store(bucket: Objects) -> None:
    store = Objects("s3", "no-such-bucket/prefix", bucket.options).open()
    for ask in (store.ping, lambda: list(store.repositories()), lambda: store.tag_links("a")):
        with pytest.raises(Unreachable):
            ask()


def test_words_of_a_driver_are_freed_of_secrets(bucket: Objects) -> None:
    store = bucket.open()
    error = store._files.unreachable("a", OSError(f"key {bucket.options['secret']}\nx"))  # type: ignore[attr-defined]
    assert bucket.options["secret"] not in str(error)
    assert "[hidden]" in str(error)
    assert "\n" not in str(error)


# -- problems, threads, processes ----------------------------------------------------------------
def test_problems_are_capped_and_counted(local: places.Local) -> None:
    put_manifest(local, "a", image(), *(f"-{number}" for number in range(250)))
    store = local.open()
    store.tags("a") if store.tag_links("a") else None
    assert len(store.problems) == LINES + 1
    assert store.problems[-1] == "and 50 more"


def test_many_threads_read_at_once(place: Place) -> None:
    names = [f"team/app{number}" for number in range(8)]
    made = {name: put_manifest(place, name, image(annotations={"a": name}), "1") for name in names}
    store = place.open()
    with ThreadPoolExecutor(8) as pool:
        links = dict(zip(names, pool.map(store.tag_links, names), strict=True))
        blobs = pool.map(lambda name: store.read_blobs([made[name]], limit=4096)[0], names)
        assert list(blobs) == [image(annotations={"a": name}) for name in names]
    assert {name: found[0].digest for name, found in links.items()} == made


def test_another_process_can_be_given_a_store(place: Place) -> None:
    digest = put_manifest(place, "a", image(), "1", "-bad")
    store = place.open()
    store.tag_links("a")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.problems == []
    assert copy.resolve("a", "1") == digest


# -- anything at all -----------------------------------------------------------------------------
ANY = settings(max_examples=150)


@ANY
@given(content=st.binary(max_size=200))
def test_no_bytes_in_a_link_raise_anything_else(local: places.Local, content: bytes) -> None:
    local.put(paths.tag_link("a", "1"), content)
    local.put(paths.revision_link("a", NOWHERE), content)
    local.put(paths.layer_link("a", NOWHERE), content)
    store = local.open()
    storage.time.sleep, real = lambda _seconds: None, storage.time.sleep
    try:
        assert digests(store.tag_links("a")) == {"1": ""} or content.startswith(b"sha")
        store.revisions("a")
        for ask in (
            lambda: store.manifest("a", "1"),
            lambda: store.manifest("a", NOWHERE),
            lambda: store.blob("a", NOWHERE, limit=10),
        ):
            with suppress(RegistryError):
                assert ask() is None
    finally:
        storage.time.sleep = real


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
manifests = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from([1, 2, 3, "2", None]) | json_values,
        "mediaType": st.sampled_from([*media_types.OF_SCHEMA_2, "", None]) | json_values,
        "manifests": json_values,
        "config": json_values,
        "layers": json_values,
    },
)


@ANY
@given(content=st.binary(max_size=200) | manifests.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_in_a_manifest_raise_anything_else(local: places.Local, content: bytes) -> None:
    digest = put_manifest(local, "a", content, "1")
    store = local.open()
    assert store.read_blobs([digest], limit=10_000) == [content]
    with suppress(BadAnswer):
        stored = store.manifest("a", "1")
        assert stored
        assert stored.raw == content
        assert media_types.is_manifest(stored.media_type)
    with suppress(ValueError):
        parse_stored(content)


@pytest.mark.parametrize(
    ("value", "media_type"),
    [
        ({"schemaVersion": 1}, media_types.DOCKER_SCHEMA1_SIGNED),
        ({"schemaVersion": 2}, media_types.OCI_MANIFEST),
        ({"schemaVersion": 2, "mediaType": None, "manifests": None}, media_types.OCI_MANIFEST),
        ({"schemaVersion": 2, "mediaType": "", "manifests": []}, media_types.OCI_INDEX),
        ({"schemaVersion": 2, "mediaType": media_types.DOCKER_LIST}, media_types.DOCKER_LIST),
        ({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}, media_types.OCI_INDEX),
    ],
)
def test_media_types_are_those_that_the_registry_says(value: object, media_type: str) -> None:
    assert stored_media_type(value) == media_type  # type: ignore[arg-type]
