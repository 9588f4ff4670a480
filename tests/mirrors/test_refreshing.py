"""Pinned tags are fetched through a real mirror service, before a real registry."""

from __future__ import annotations

from typing import Any

import pytest

from registryui.index import events
from registryui.index.sync import is_absent
from registryui.mirrors import refreshing
from registryui.models import ImageIndexEntry, Manifest, Tag
from registryui.registry.client import RegistryClient
from tests.mirror_service.conftest import World, upstream, world  # noqa: F401  (fixtures)
from tests.support.fake_source import IMAGE, INDEX, descriptor, encode
from tests.support.mirrored import mirror

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

R = "hub/team/app"


@pytest.fixture
def here(world: World, settings: Any) -> World:  # noqa: F811
    settings.SOCKETS_DIR = world.folder
    settings.REGISTRY_URL = f"unix:{world.folder}/registry"
    settings.SOURCE = "http"
    world.mirror(fresh_seconds=0)
    return world


def known(tag: str = "1") -> Tag:
    return Tag.objects.select_related("manifest", "repository").get(repository__name=R, name=tag)


def test_a_pinned_tag_is_fetched_with_all_its_parts_and_follows_its_upstream(here: World) -> None:
    row = mirror(pins="team/app:1")
    assert refreshing.pinned(row) == [(R, "1")]
    first = here.upstream.push_image("team/app", "1", b"layer" * 1000)
    here.upstream.push_image("team/app", "2", b"other")
    assert refreshing.refresh_all() == []
    assert known().manifest.digest == first  # type: ignore[union-attr]
    assert Tag.objects.count() == 1
    assert not is_absent(R)
    second = here.upstream.push_image("team/app", "1", b"another layer")
    assert refreshing.refresh_all() == []
    assert known().manifest.digest == second  # type: ignore[union-attr]
    assert known().repository.pull_count == 0
    before = here.upstream.gets().total()
    assert refreshing.refresh_all() == []
    assert here.upstream.gets().total() == before
    # With the upstream away it goes on with what is here.
    here.upstream.status = 503
    assert refreshing.refresh_all() == []
    row.is_active = False
    row.save()
    assert refreshing.refresh_all() == []


def test_of_an_image_index_come_the_platforms_that_were_here(here: World) -> None:
    mirror(pins="team/*:*")
    old = push_index(here, "old")
    here.ask("/v2/hub/team/app/manifests/1")
    refreshing.refresh(R, "1")
    assert platforms() == {"amd64"}  # the usual one, as none was here
    here.ask(f"/v2/hub/team/app/manifests/{old['arm64']}")
    Manifest.objects.filter(digest=old["amd64"]).delete()
    with RegistryClient(f"unix:{here.folder}/registry") as registry:
        events.probe_mirrored(registry, R, set(), {old["arm64"]})
    new = push_index(here, "new")
    refreshing.refresh(R, "1")
    assert known().manifest.digest == new["index"]  # type: ignore[union-attr]
    assert Manifest.objects.filter(digest=new["arm64"]).exists()
    assert not Manifest.objects.filter(digest=new["amd64"]).exists()
    assert here.registry.get(R, new["amd64"]).status == 404


def push_index(here: World, layer: str) -> dict[str, str]:
    """Digests of `index`, tagged 1, and of its images by architecture."""
    found, listed = {}, []
    for architecture in ("amd64", "arm64", "s390x"):
        digest = here.upstream.push_image(
            "team/app", architecture, f"{layer} {architecture}".encode()
        )
        found[architecture] = digest
        raw = here.upstream.manifests[f"team/app@{digest}"][1]
        listed.append(
            descriptor(IMAGE, raw, platform={"os": "linux", "architecture": architecture})
        )
    raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    return found | {"index": here.upstream.push("team/app", "1", INDEX, raw)}


def platforms() -> set[str]:
    """Of the children of image indexes that are here."""
    here = set(Manifest.objects.values_list("digest", flat=True))
    rows = ImageIndexEntry.objects.filter(digest__in=here)
    return set(rows.values_list("architecture", flat=True))


def test_what_cannot_be_fetched_is_said_and_stops_no_other(here: World) -> None:
    here.upstream.push_image("team/app", "1", b"layer")
    mirror(pins="team/none:1\nteam/app:1")
    lines = refreshing.refresh_all()
    assert len(lines) == 1
    assert lines[0].startswith("hub/team/none:1: the mirror service returned 404")
    assert known().problem == ""


def test_without_pins_nothing_is_asked(django_assert_num_queries: Any) -> None:
    mirror()
    with django_assert_num_queries(1):
        assert refreshing.refresh_all() == []
