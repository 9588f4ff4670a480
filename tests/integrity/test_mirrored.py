"""What is absent in a mirrored repository is not pulled yet; damage is damage there, too."""

from __future__ import annotations

from typing import Any

import pytest

from registryui.integrity import check as integrity
from registryui.models import Run, Tag
from registryui.registry import paths
from tests.support.mirrored import Here, M, mirror
from tests.support.worlds import World

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["http", "store"])
def store(here: World, settings: Any, request: pytest.FixtureRequest) -> Here:
    mirror()
    settings.STORAGE, settings.STORE_DIR = "filesystem", here.real.store
    settings.SOURCE = request.param
    return Here(here.real.store)


def problems(here: World, *, is_deep: bool = False) -> set[tuple[str, str, str]]:
    """Repository, tag and what is wrong with it, of all tags."""
    here.sync()
    run = integrity.check(by="test", deep=is_deep)
    assert run is not None
    assert run.state == Run.State.DONE, run.log
    return {(name, tag, why) for name, tag, why, _what in run.result["problems"]}


def test_absent_children_and_blobs_are_no_damage(here: World, store: Here) -> None:
    amd64, arm64 = store.upstream.image(b"one"), store.upstream.image(b"two", architecture="arm64")
    index = store.upstream.image_index(amd64, arm64)
    bare = store.upstream.image(b"bare", architecture="s390x")
    for name in (M, "team/app"):
        store.manifest(name, index, "index")
        store.image(name, amd64, "amd64")
        store.manifest(name, bare, "bare")
        store.image(name, store.upstream.image(b"x", b"y"), "part", blobs=2)
    assert problems(here) == {
        ("team/app", "index", "child-missing"),
        ("team/app", "bare", "config-missing"),
        ("team/app", "part", "layer-missing"),
    }
    assert set(Tag.objects.filter(repository__name=M).values_list("problem", flat=True)) == {""}
    # The tag itself must be there.
    (store.root / paths.revision_link(M, arm64)).parent.mkdir(parents=True)
    store.write(paths.tag_link(M, "lost"), arm64.encode())
    assert (M, "lost", "manifest-missing") in problems(here)


def test_damage_is_found_and_marks_no_more_than_the_tag(here: World, store: Here) -> None:
    image = store.upstream.image(b"one" * 100)
    store.image(M, image, "1")
    store.image(M, store.upstream.image(b"two"), "2")
    layer = store.root / paths.blob_data(store.blobs_of(image)[1])
    assert problems(here) == set()
    whole = layer.read_bytes()
    layer.write_bytes(b"?" * len(whole))
    assert problems(here, is_deep=True) == {(M, "1", "layer-damaged")}
    assert Tag.objects.get(repository__name=M, name="1").problem == "broken"
    layer.write_bytes(whole)
    assert integrity.recheck_damaged() == 1
    layer.write_bytes(whole[:-1])
    assert (M, "1", "layer-size") in problems(here)
