"""A backup of a store in a bucket, with versions and without: images are copied, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registryui.registry import paths
from tests.registry.places import Objects, running_bucket
from tests.support.small_objects import SmallObjects, small_in

from .conftest import Kept

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with running_bucket() as made:
        yield made


@pytest.fixture(params=["plain", "versions"])
def small(
    request: pytest.FixtureRequest,
    kept: Kept,
    bucket: Objects,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> SmallObjects:
    return small_in(bucket, settings, monkeypatch, has_versions=request.param == "versions")


def test_images_in_a_bucket_are_restored_onto_a_disk(
    small: SmallObjects, kept: Kept, tmp_path: Path, settings: Any
) -> None:
    small.image("team/app", "1", layers=(b"base" * 100, b"", b"one" * 4_000_000))
    made = kept.back_up()
    assert (made.tags, made.blobs) == (1, 5)
    settings.STORAGE = "filesystem"
    done = kept.restore(tmp_path / "new")
    assert (done.blobs, done.missing) == (5, [])
    root = tmp_path / "new" / "registry"
    for digest in small.blobs():
        assert (root / paths.blob_data(digest)).is_file()
    assert (root / paths.tag_link("team/app", "1")).read_text().startswith("sha256:")
