"""What is deleted before the registry's own garbage collector runs, and what never. With the real
registry and its garbage collector: tests/e2e/test_registry_gc.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from registryui import write_freeze
from registryui.gc import registry_gc
from registryui.models import Manifest, TagTombstone
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from tests.support.fake_source import IMAGE, descriptor
from tests.support.parts import running_registry
from tests.support.pushing import untag
from tests.support.registries import Registry

pytestmark = pytest.mark.django_db


@pytest.fixture
def real(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry whose writes are frozen; nginx itself is in tests/test_write_freeze.py."""
    settings.RUN_DIR = tmp_path / "run"
    settings.UNDO_DAYS = 0  # what clients delete here may go
    monkeypatch.setattr(write_freeze, "_prove", lambda: None)
    with running_registry(tmp_path / "registry") as url:
        settings.REGISTRY_URL = url
        settings.REGISTRY_PORT = int(url.rpartition(":")[2])
        yield Registry(url, tmp_path / "registry/store")


def shut() -> None:
    write_freeze.on("writes", by="tests", until=datetime.now(UTC) + timedelta(minutes=5))


def old() -> None:
    """The index has had everything for two days, and lost its tags two days ago."""
    long_ago = timezone.now() - timedelta(days=2)
    Manifest.objects.update(seen_at=long_ago, pushed_at=long_ago)
    Manifest.objects.filter(untagged_at__isnull=False).update(untagged_at=long_ago)


def index_all(real: Registry) -> None:
    from registryui.index.sync import sync

    with RegistryClient(real.url) as client:
        assert sync(client, by="tests") is not None
    old()


def removed(**options: Any) -> set[str]:
    return {
        digest for _name, digest in registry_gc.delete_untagged(by="tests", **options).manifests
    }


def test_only_what_nothing_needs_goes(real: Registry) -> None:
    child = real.push_image("a", layers=[b"child"])
    index = real.push_index("a", [real.child("a", child)], "1")
    subject = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": index, "size": 1}
    real.push_image("a", "referrer", layers=[b"sbom"], subject=subject)
    undone = real.push_image("a", "undo", layers=[b"undo"])
    gone = real.push_image("a", "2", layers=[b"gone"])
    lost_child = real.push_image("a", "lost", layers=[b"lost child"])
    lost = real.push_index("a", [real.child("a", lost_child)], "3")
    shared = real.push_index("a", [real.child("a", child), real.child("a", lost_child)], "4")
    real.push_image("b", "1", layers=[b"gone"])
    index_all(real)
    for tag in ("referrer", "undo", "2", "3", "4", "lost"):
        untag(real, "a", tag)
    young = real.push_image("a", "5", layers=[b"young"])
    index_all(real)
    untag(real, "a", "5")
    now = timezone.now()
    how = TagTombstone.How.DELETED
    TagTombstone.objects.create(
        repository="a", tag="x", digest=undone, how=how, at=now, keep_until=now + timedelta(days=1)
    )
    shut()
    expected = {gone, lost, lost_child, shared}
    assert removed(dry_run=True) >= expected
    assert all(real.get("a", digest).status == 200 for digest in expected)
    assert removed() == expected  # with it what took the tags off, which nobody listed
    for digest in expected:
        assert real.get("a", digest).status == 404
        assert not Manifest.objects.filter(repository__name="a", digest=digest).exists()
    for digest in (child, index, undone, young):
        assert real.get("a", digest).status == 200
    assert real.get("a", "1").status == real.get("b", "1").status == 200
    assert removed() == set()


def test_nothing_goes_while_writes_are_not_frozen(real: Registry) -> None:
    gone = real.push_image("a", "1", layers=[b"gone"])
    index_all(real)
    untag(real, "a", "1")
    index_all(real)
    with pytest.raises(Refused, match="Start a write freeze first"):
        removed()
    write_freeze.on("manifests", by="tests", until=datetime.now(UTC) + timedelta(minutes=5))
    with pytest.raises(Refused, match="Start a write freeze first"):
        removed()
    assert real.get("a", gone).status == 200


def test_a_repository_whose_index_lacks_something_loses_nothing(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = real.push_image("a", "1", layers=[b"kept"])
    gone = real.push_image("a", "2", layers=[b"gone"])
    index_all(real)
    untag(real, "a", "2")
    index_all(real)
    real_sync = registry_gc.sync.sync

    def forgetful(*arguments: Any, **options: Any) -> Any:
        run = real_sync(*arguments, **options)
        Manifest.objects.filter(digest=kept).delete()
        return run

    monkeypatch.setattr(registry_gc.sync, "sync", forgetful)
    shut()
    found = registry_gc.delete_untagged(by="tests")
    assert found.manifests == []
    assert found.skipped == [("a", f"the index does not contain {kept}")]
    assert real.get("a", gone).status == 200


def test_a_registry_that_is_away_loses_nothing(real: Registry, settings: Any) -> None:
    shut()
    settings.REGISTRY_URL = "http://127.0.0.1:1"
    with pytest.raises(Refused, match="could not be read"):
        removed()


def test_a_referrer_stays_that_names_its_subject_by_sha512(real: Registry) -> None:
    real.push_image("team/app", "1")
    raw = real.get("team/app", "1").body
    kept = real.push_image("team/app", subject=descriptor(IMAGE, raw, "sha512"), layers=[b"kept"])
    lost = real.push_image("team/app", subject=descriptor(IMAGE, b"{}", "sha512"), layers=[b"lost"])
    for digest in (kept, lost):  # the registry tells nobody of manifests without a tag
        real.put("team/app", "t", real.get("team/app", digest).body, IMAGE)
        index_all(real)
    untag(real, "team/app", "t")
    index_all(real)
    TagTombstone.objects.all().delete()
    assert removed(dry_run=True) >= {lost}
    assert kept not in removed(dry_run=True)
