"""The reader of the store against the registry that wrote it: the same answer to every question.

On a disk, and on S3 with the real registry pushing into it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from django.test import override_settings

from registryui.oci import media_types
from registryui.oci.digest import sha256
from registryui.oci.manifest import parse_manifest, parse_stored, signed_bytes
from registryui.registry import choose, paths, storages
from registryui.registry.client import RegistryClient
from registryui.registry.errors import NotFound, RegistryError, TooLarge
from registryui.registry.storage import FileStore
from tests.oci.samples import signed_schema1
from tests.support.fake_source import IMAGE, INDEX, descriptor, encode
from tests.support.filled import fill
from tests.support.parts import free_port, running_registry, running_s3
from tests.support.registries import DOCKER_CONFIG, SCHEMA2, Registry
from tests.support.registry_habits import habits

pytestmark = pytest.mark.e2e

NOWHERE = "sha256:" + "0" * 64


@dataclass
class Both:
    """One store, seen by the registry's API and by our reader."""

    real: Registry
    client: RegistryClient
    settings: dict[str, Any]

    def open(self) -> FileStore:
        """A new reader, by the settings of an instance."""
        with override_settings(**self.settings):
            source = choose.open_source("store")
        assert isinstance(source, FileStore)
        return source

    def put(self, path: str, content: bytes) -> None:
        """A file into the store, as no client can."""
        with override_settings(**self.settings):
            storage = storages.of_settings()
        if storage.protocol:
            system = fsspec.filesystem(storage.protocol, **storage.options)
            system.pipe_file(f"{storage.root}/{path}", content)
        else:
            place = Path(storage.root) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def remove(self, path: str) -> None:
        """A file out of the store."""
        with override_settings(**self.settings):
            storage = storages.of_settings()
        if storage.protocol:
            system = fsspec.filesystem(storage.protocol, **storage.options)
            system.rm_file(f"{storage.root}/{path}")
        else:
            (Path(storage.root) / path).unlink()


@pytest.fixture(params=["filesystem", "s3"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    """A real registry whose storage is configured by our own settings."""
    with contextlib.ExitStack() as stack:
        settings: dict[str, Any] = {"STORAGE": "filesystem", "STORE_DIR": tmp_path / "store"}
        if request.param == "s3":
            port = free_port()
            key, secret = stack.enter_context(running_s3(port, "images"))
            settings = {
                "STORAGE": "s3://images/deep/prefix",
                "STORAGE_ENDPOINT": f"http://127.0.0.1:{port}",
                "STORAGE_REGION": "us-east-1",
                "STORAGE_KEY": key,
                "STORAGE_SECRET": secret,
            }
        with override_settings(**settings):
            storage = storages.of_settings()
        section = {
            storage.driver: storage.section,
            "delete": {"enabled": True},
            "redirect": {"disable": True},
        }
        sections = {
            "storage": section,
            "validation": {"manifests": {"urls": {"allow": ["^https?://"]}}},
        }
        url = stack.enter_context(running_registry(tmp_path, settings=sections))
        client = stack.enter_context(RegistryClient(url))
        yield Both(Registry(url, tmp_path / "store"), client, settings)


def test_every_question_has_the_same_answer_from_the_store_and_over_http(both: Both) -> None:
    tagged = {(key.rpartition(":")[0], digest) for key, (digest, _) in fill(both.real).items()}
    exactly = _more(both.real)
    store = both.open()

    names = list(both.client.repositories())
    # An image index without entries needs no blob; registry 2.8 lists a repository by its blobs.
    assert set(store.repositories()) - set(names) <= {"only/index"}
    assert set(names) <= set(store.repositories())
    assert len(names) > 12
    for name in [*names, "only/index", "only/untagged", "no/such"]:
        _same_tags(both, store, name)
        known = set(store.revisions(name))
        assert known >= {digest for one, digest in tagged if one == name}
        if name in {one for one, _ in exactly}:
            assert known == {digest for one, digest in exactly if one == name}
        assert all(both.client.resolve(name, digest) == digest for digest in known)
        for reference in [*known, NOWHERE, "no-such-tag", *_tags(store, name)]:
            _same_manifest(both, store, name, reference)
    assert store.problems == []


def _tags(store: FileStore, name: str) -> list[str]:
    return [link.name for link in store.tag_links(name)]


def _same_tags(both: Both, store: FileStore, name: str) -> None:
    try:
        expected = sorted(both.client.tags(name))
    except NotFound:
        assert store.tag_links(name) == []
        with pytest.raises(NotFound):
            store.tags(name)
        return
    assert sorted(store.tags(name)) == expected
    links = {link.name: link for link in store.tag_links(name)}
    assert sorted(links) == expected
    for tag in expected:
        assert links[tag].digest == store.resolve(name, tag) == both.client.resolve(name, tag)


def _same_manifest(both: Both, store: FileStore, name: str, reference: str) -> None:
    theirs, ours = both.client.manifest(name, reference), store.manifest(name, reference)
    assert (theirs is None) == (ours is None), (name, reference)
    if theirs is None or ours is None:
        return
    assert (ours.digest, ours.media_type) == (theirs.digest, theirs.media_type)
    assert ours.raw == signed_bytes(theirs.raw, theirs.media_type)
    assert store.read_blobs([ours.digest], limit=10**6) == [ours.raw]
    parsed = parse_manifest(theirs.raw, theirs.media_type)
    assert parse_stored(ours.raw) == parsed
    for blob in [parsed.config, *parsed.layers]:
        if blob is not None:
            told = both.client.blob(name, blob.digest, limit=10**6)
            assert store.blob(name, blob.digest, limit=10**6) == told


def _more(real: Registry) -> set[tuple[str, str]]:
    """What is not in `fill`: (repository, digest) of what stays."""
    real.push_blob("only/blobs", b"a blob and no manifest")
    for name in ("a", "a/manifests/b", "a/tags/list/x", "a/0", "a-b", "a/b/c/d/e/f/g/h"):
        real.push_image(name, "1")
    kept = {("only/index", real.push_index("only/index", [], "1"))}
    kept.add(("only/untagged", real.push_image("only/untagged")))
    # Moved: the old manifest stays, without a tag.
    kept.add(("more/moved", real.push_image("more/moved", "1", layers=(b"old",))))
    kept.add(("more/moved", real.push_image("more/moved", "1", layers=(b"new",))))
    # Deleted, with its tags; and all of a repository.
    gone = real.push_image("more/deleted", "1", "2", layers=(b"gone",))
    kept.add(("more/deleted", real.push_image("more/deleted", "3", layers=(b"stays",))))
    assert real.delete("more/deleted", gone).status == 202
    assert real.delete("emptied", real.push_image("emptied", "1")).status == 202
    # A subject and its referrer.
    image = real.push_image("more/subject", "1")
    raw = real.get("more/subject", image).body
    more: dict[str, Any] = {"subject": descriptor(IMAGE, raw), "annotations": {"a": "referrer"}}
    kept |= {("more/subject", image), ("more/subject", real.push_image("more/subject", **more))}
    if habits().knows_schema1:
        layer = real.push_blob("old", b"layer")
        signed, payload = signed_schema1("old", "1", [layer])
        assert real.put("old", "1", signed, media_types.DOCKER_SCHEMA1_SIGNED).status == 201
        kept.add(("old", sha256(payload)))
    return kept


def test_what_was_put_into_the_store_by_hand_is_judged_as_the_registry_does(both: Both) -> None:
    good = both.real.push_image("a", "good")
    hexadecimal = good.removeprefix("sha256:")
    both.put(paths.tag_link("a", "empty"), b"")
    both.put(paths.tag_link("a", "cut"), good[:-1].encode())
    both.put(paths.tag_link("a", "line-break"), f"{good}\n".encode())
    both.put(paths.tag_link("a", "dangling"), NOWHERE.encode())
    both.put(f"{paths.tags('a')}/no-link/index/sha256/{hexadecimal}/link", good.encode())
    both.put(f"{paths.tags('a')}/-bad-name/current/link", good.encode())
    both.put(f"{paths.REPOSITORIES}/Bad/_layers/sha256/{hexadecimal}/link", good.encode())
    shapes = {f"shape-{number}": raw for number, raw in enumerate(_shapes(both.real))}
    for tag, raw in shapes.items():
        digest = sha256(raw)
        both.put(paths.blob_data(digest), raw)
        both.put(paths.revision_link("a", digest), digest.encode())
        both.put(paths.tag_link("a", tag), digest.encode())
    store = both.open()

    assert list(store.repositories()) == list(both.client.repositories()) == ["a"]
    assert sorted(store.tags("a")) == sorted(both.client.tags("a"))
    answers = {tag: (_asked(both.client, tag), _asked(store, tag)) for tag in store.tags("a")}
    assert answers["good"][0] == media_types.OCI_MANIFEST
    assert answers["no-link"] == answers["dangling"] == (None, None)
    for tag, (theirs, ours) in answers.items():
        assert ours == theirs, tag
    assert {tag for tag, (_, ours) in answers.items() if ours == "error"} > {"empty", "cut"}
    assert store.problems


def _shapes(real: Registry) -> list[bytes]:
    """Manifests that a registry did not check."""
    config = descriptor(DOCKER_CONFIG, b"{}")
    image: dict[str, Any] = {"config": config, "layers": []}
    two: dict[str, Any] = {"schemaVersion": 2}
    return [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        encode(two),
        encode({**two, **image}),
        encode({**two, **image, "mediaType": ""}),
        encode({**two, **image, "mediaType": IMAGE}),
        encode({**two, **image, "mediaType": SCHEMA2}),
        encode({**two, **image, "mediaType": media_types.OCI_ARTIFACT}),
        encode({**two, **image, "mediaType": "text/plain"}),
        encode({**two, **image, "mediaType": 7}),
        encode({**two, "manifests": []}),
        encode({**two, "manifests": None, "config": config}),
        encode({**two, "manifests": [], "mediaType": INDEX}),
        encode({**two, "manifests": [], "mediaType": media_types.DOCKER_LIST}),
        encode({**image, "schemaVersion": 3}),
        encode({**image, "schemaVersion": "2"}),
        encode({**image, "mediaType": IMAGE}),
    ]


def _asked(source: RegistryClient | FileStore, tag: str) -> str | None:
    """The media type of a tag's manifest; None: not there; "error"."""
    try:
        stored = source.manifest("a", tag)
    except RegistryError:
        return "error"
    return stored.media_type if stored else None


def test_a_manifest_or_blob_that_was_taken_away_is_gone_for_both(both: Both) -> None:
    digest = both.real.push_image("a", "1")
    config = parse_manifest(both.real.get("a", "1").body, IMAGE).config
    assert config
    assert both.open().blob("a", digest, limit=10**6) is None  # a manifest is no blob …
    assert both.client.blob("a", digest, limit=10**6) is None
    with pytest.raises(TooLarge):
        both.open().blob("a", config.digest, limit=1)
    both.remove(paths.blob_data(config.digest))
    assert both.client.blob("a", config.digest, limit=10**6) is None
    assert both.open().blob("a", config.digest, limit=10**6) is None
    both.put(paths.layer_link("a", digest), digest.encode())
    both.remove(paths.revision_link("a", digest))
    assert both.client.resolve("a", digest) == both.open().resolve("a", digest) == digest
    assert both.client.resolve("a", "1") == both.open().resolve("a", "1") == digest
    both.remove(paths.blob_data(digest))
    assert both.client.resolve("a", "1") is both.open().resolve("a", "1") is None
    assert [link.digest for link in both.open().tag_links("a")] == [digest]


def test_an_upload_under_way_is_listed(both: Both) -> None:
    place = both.real.ask("POST", "/v2/only/upload/blobs/uploads/")
    assert place.status == 202
    (upload,) = both.open().uploads()
    assert (upload.repository, upload.size) == ("only/upload", 0)
    assert upload.id == place.headers["docker-upload-uuid"]


def test_blobs_are_those_that_were_pushed(both: Both) -> None:
    digest = both.real.push_image("a", "1", layers=(b"one", b"two"))
    found = {blob.digest: blob.size for blob in both.open().blobs()}
    raw = both.real.get("a", digest).body
    parsed = parse_manifest(raw, IMAGE)
    expected = {blob.digest: blob.size for blob in (parsed.config, *parsed.layers) if blob}
    assert found == {**expected, digest: len(raw)}
