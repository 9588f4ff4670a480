"""What the integrity check says of a real registry's store, from the store and over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registryui.index.sync import sync
from registryui.integrity import check as integrity
from registryui.models import Run, Tag
from registryui.registry import paths
from registryui.registry.choose import open_source
from tests.support.fake_source import digest_of
from tests.support.filled import fill
from tests.support.parts import running_registry
from tests.support.pushing import what_is_missing
from tests.support.registries import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.django_db, pytest.mark.one_database]
SOURCES = ("store", "http")


@pytest.fixture
def served(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    settings.STORAGE, settings.SOURCE = "filesystem", "store"
    settings.STORE_DIR = tmp_path / "registry/store"
    with running_registry(tmp_path / "registry") as url:
        settings.REGISTRY_URL = url
        yield Registry(url, settings.STORE_DIR)


def check(source: str, **options: Any) -> dict[str, Any]:
    run = integrity.check(by="test", source=source, **options)
    assert run is not None
    assert run.state == Run.State.DONE, (run.result, run.log)
    return dict(run.result)


def index_all() -> None:
    with open_source() as source:
        assert sync(source, by="test") is not None


def marked() -> set[str]:
    return {str(tag) for tag in Tag.objects.filter(problem=Tag.Problem.BROKEN)}


def test_a_registry_full_of_odd_things_is_complete(tmp_path: Path, settings: Any) -> None:
    """All shapes that real clients leave behind; what has to be elsewhere is not missed."""
    settings.STORAGE, settings.STORE_DIR = "filesystem", tmp_path / "registry/store"
    allowed = {"validation": {"manifests": {"urls": {"allow": ["^https?://"]}}}}
    with running_registry(tmp_path / "registry", settings=allowed) as url:
        settings.REGISTRY_URL = url
        fill(Registry(url, settings.STORE_DIR))
        index_all()
        of_store, over_http = (check(source) for source in SOURCES)
        assert of_store["problems"] == over_http["problems"]
        assert of_store["tags"] == over_http["tags"] > 10
        deep = check("store", deep=True)
        assert deep["problems"] == of_store["problems"]
        assert deep["read_bytes"] == check("http", deep=True)["read_bytes"] > 100


def away(path: str) -> Callable[[Registry], object]:
    return lambda real: (real.store / path).unlink()


LAYER = digest_of(b"code")
DAMAGES: dict[str, Callable[[Registry], object]] = {
    "layer-missing": away(paths.blob_data(LAYER)),
    "layer-unlinked": away(paths.layer_link("a", LAYER)),
    "layer-size": lambda real: (real.store / paths.blob_data(LAYER)).write_bytes(b"cod"),
}


@pytest.mark.parametrize("why", DAMAGES)
def test_both_ways_find_what_a_client_cannot_pull(served: Registry, why: str) -> None:
    image = served.push_image("a", "1", layers=(b"base", b"code"))
    served.push_index("a", [served.child("a", image, architecture="amd64")], "index")
    served.push_image("a", "2", layers=(b"base",))
    served.push_image("b", "1", layers=(b"base",))
    index_all()
    for source in SOURCES:
        assert check(source)["broken"] == 0
    DAMAGES[why](served)
    for tag in ("1", "index"):
        assert what_is_missing(served, "a", tag) != ""
    for source in SOURCES:
        result = check(source)
        problems = {(name, tag): reason for name, tag, reason, _digest in result["problems"]}
        # Over HTTP a blob without a link is as one that is not there.
        reason = "layer-missing" if source == "http" and why != "layer-size" else why
        assert problems == {("a", "1"): reason, ("a", "index"): reason}
    assert marked() == {"a:1", "a:index"}
    index_all()
    assert marked() == {"a:1", "a:index"}


def test_a_push_that_heals_takes_the_mark_away(served: Registry) -> None:
    served.push_image("a", "1", layers=(b"base", b"code"))
    served.push_image("a", "2", layers=(b"code", b"other"))
    index_all()
    (served.store / paths.blob_data(LAYER)).unlink()
    assert check("store")["marked"] == 2
    assert integrity.recheck_damaged() == 0
    served.push_image("a", "1", layers=(b"base", b"code"))
    index_all()
    assert marked() == {"a:2"}  # whole, too; nobody has looked yet
    assert integrity.recheck_damaged() == 1
    assert marked() == set()


def test_a_damaged_layer_is_found_by_reading_both_ways(served: Registry) -> None:
    served.push_image("a", "1", layers=(b"base", b"code"))
    index_all()
    (served.store / paths.blob_data(LAYER)).write_bytes(b"c0de")
    for source in SOURCES:
        assert check(source, deep=True)["problems"] == [["a", "1", "layer-damaged", LAYER]]
    assert integrity.recheck_damaged() == 0
    assert check("http")["broken"] == 1
    (served.store / paths.blob_data(LAYER)).write_bytes(b"code")
    assert integrity.recheck_damaged() == 1
