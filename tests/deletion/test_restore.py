"""Restoring a tag to an earlier digest, on a real registry that tells us of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.test import Client

from registryui.deletion.restore import restore_digest
from registryui.index import events
from registryui.index.sync import sync
from registryui.models import Operator, RegistryEvent, Role, Tag
from registryui.oci import media_types
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from tests.support.factories import make_operator
from tests.support.notifications import Sink
from tests.support.parts import running_registry
from tests.support.waiting import until

pytestmark = pytest.mark.django_db
R = "team/app"


@dataclass(frozen=True)
class World:
    """A registry with team/app:1 pushed twice, what it tells, and an index that knows both."""

    url: str
    store: Path
    told: Sink
    old: str
    new: str
    mika: Operator

    def now(self) -> str:
        with RegistryClient(self.url) as registry:
            return registry.resolve(R, "1") or ""

    def restore_digest(self, digest: str, expected: str) -> None:
        restore_digest(R, "1", digest, expected=expected, by=self.mika.actor)

    def receive(self) -> int:
        """Everything that the registry told so far, as the hook does it."""
        return sum(events.receive(body) for body in self.told.bodies)


def push(registry: RegistryClient, tag: str, nonce: str) -> str:
    config = json.dumps({"os": "linux", "architecture": "amd64", "author": nonce}).encode()
    layer = f"layer {nonce}".encode()
    raw = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": {
            "mediaType": media_types.OCI_CONFIG,
            "digest": registry.upload_blob(R, config),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": media_types.OCI_LAYER,
                "digest": registry.upload_blob(R, layer),
                "size": len(layer),
            }
        ],
    }
    return registry.put_manifest(R, tag, json.dumps(raw).encode(), media_types.OCI_MANIFEST)


@pytest.fixture
def world(
    tmp_path: Path,
    sink: tuple[Sink, str],
    settings: object,
) -> Iterator[World]:
    told, address = sink
    notifications = {"url": address, "headers": {"Authorization": ["Bearer x"]}}
    with running_registry(tmp_path / "registry", notifications=notifications) as url:
        settings.REGISTRY_URL = url  # type: ignore[attr-defined]
        with RegistryClient(url) as registry:
            old = push(registry, "1", "old")
            sync(registry, by="test")
            new = push(registry, "1", "new")
            sync(registry, by="test")
        until(lambda: len(told.events("push", R)) >= 4, "the registry tells of both pushes")
        told.bodies.clear()
        mika = make_operator("mika", Role.MAINTAINER)
        yield World(url, tmp_path / "registry" / "store", told, old, new, mika)


def test_a_tag_is_restored_under_the_name_of_the_operator_and_back_again(world: World) -> None:
    world.restore_digest(world.old, expected=world.new)
    assert world.now() == world.old
    tag = Tag.objects.get(name="1")
    assert tag.manifest is not None
    assert (tag.manifest.digest, tag.tagged_by) == (world.old, "operator:mika")
    until(lambda: world.told.events("push", R) != [], "the registry tells of it")
    assert world.receive() == 0  # its own event does not know who it was: ours stays alone
    with RegistryClient(world.url) as registry:
        events.apply_pending(registry)
    event = RegistryEvent.objects.get(action="push", tag="1")
    assert (event.actor, event.digest, event.applied_at is None) == (
        *("operator:mika", world.old, False),
    )
    world.restore_digest(world.new, expected=world.old)
    assert world.now() == world.new
    assert RegistryEvent.objects.filter(actor="operator:mika").count() == 2


def test_a_tag_that_moved_meanwhile_stays_where_it_is(world: World) -> None:
    with RegistryClient(world.url) as registry:
        newest = push(registry, "1", "newest")
    with pytest.raises(Refused, match="was changed after this page was loaded"):
        world.restore_digest(world.old, expected=world.new)
    assert world.now() == newest
    assert not RegistryEvent.objects.exists()


def blob_folder(store: Path, digest: str) -> Path:
    hexadecimal = digest.partition(":")[2]
    blobs = store / "docker" / "registry" / "v2" / "blobs" / "sha256"
    return blobs / hexadecimal[:2] / hexadecimal


def lose_layer(world: World) -> None:
    with RegistryClient(world.url) as registry:
        stored = registry.manifest(R, world.old)
    assert stored is not None
    layer = json.loads(stored.raw)["layers"][0]["digest"]
    shutil.rmtree(blob_folder(world.store, layer))


def lose_manifest(world: World) -> None:
    """Its link and its bytes: the PUT brings both back."""
    links = world.store / "docker" / "registry" / "v2" / "repositories" / R / "_manifests"
    shutil.rmtree(links / "revisions" / "sha256" / world.old.partition(":")[2])
    shutil.rmtree(blob_folder(world.store, world.old))


def test_without_its_layer_an_image_is_not_restored(world: World) -> None:
    lose_layer(world)
    with pytest.raises(Refused, match="lacks part of this image"):
        world.restore_digest(world.old, expected=world.new)
    assert world.now() == world.new
    assert not RegistryEvent.objects.exists()


def test_a_manifest_that_the_registry_forgot_comes_back_from_our_bytes(world: World) -> None:
    lose_manifest(world)
    world.restore_digest(world.old, expected=world.new)
    assert world.now() == world.old


@pytest.mark.parametrize(
    ("digest", "words"), [("sha256:" + "0" * 64, "no longer has this image"), ("", "no longer has")]
)
def test_an_unknown_digest_is_refused(world: World, digest: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        world.restore_digest(digest, expected=world.new)


def test_a_registry_that_does_not_answer_is_said(world: World, settings: object) -> None:
    settings.REGISTRY_URL = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="does not respond, so nothing was done"):
        world.restore_digest(world.old, expected=world.new)
    assert not RegistryEvent.objects.exists()


# -- the page --------------------------------------------------------------------------------------
@pytest.fixture
def mika(world: World) -> Client:
    client = Client()
    client.force_login(world.mika)
    return client


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_asks_before_and_tells_after(world: World, mika: Client) -> None:
    world.restore_digest(world.old, expected=world.new)  # so that history has two lines
    world.restore_digest(world.new, expected=world.old)
    page = read(mika, f"/repositories/{R}:1?tab=history")
    assert page.count("Restore…") == 1  # not for what it is now
    assert "mika (operator)" in page
    assert 'href="/compare?a=team%2Fapp%40sha256%3A' in page
    asks = read(mika, f"/repositories/{R}:1?tab=history&restore_digest={world.old}")
    assert f"Restore 1 to {world.old[7:19]}?" in asks
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asks))
    assert fields["expected"] == world.new
    done = mika.post("/restore-digest", fields, follow=True)
    assert f"Restored {R}:1 to {world.old[7:19]}." in done.content.decode()
    assert world.now() == world.old
    again = mika.post("/restore-digest", fields, follow=True).content.decode()
    assert "was changed after this page was loaded" in again


def test_a_viewer_sees_the_history_and_no_button(world: World) -> None:
    world.restore_digest(world.old, expected=world.new)
    client = Client()
    client.force_login(make_operator("vera", Role.VIEWER))
    page = read(client, f"/repositories/{R}:1?tab=history")
    assert "mika (operator)" in page
    assert "Restore…" not in page
    assert "dialog" not in read(client, f"/repositories/{R}:1?restore_digest={world.new}")
    assert client.post("/restore-digest", {"repository": R, "tag": "1"}).status_code == 403


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"repository": "//evil.example/x", "tag": "1", "digest": "x"},
        {"repository": R, "tag": "../../x", "digest": "sha256:" + "0" * 64},
    ],
)
def test_odd_forms_move_nothing_and_lead_nowhere_else(
    world: World, mika: Client, fields: dict[str, str]
) -> None:
    answer = mika.post("/restore-digest", fields)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/repositories/")
    assert world.now() == world.new
