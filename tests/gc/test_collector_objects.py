"""The stories of test_collect.py on an object store, with versions and without; what is only there.

moto's server lists a folder in which there are only delete markers, which S3 does not: stories that
end with an empty repository are not among these for a bucket with versions.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from registryui.gc import collector as collecting
from registryui.index.sync import sync
from registryui.models import Run
from registryui.oci.digest import sha256
from registryui.registry import paths, storages
from registryui.registry.choose import open_quarantine, open_store
from tests.registry.places import Objects, running_bucket
from tests.support.stores import Small, collect, done

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


@dataclass
class SmallObjects(Small):
    """Small, in a bucket; `root` is bucket and prefix."""

    system: Any = None
    has_versions: bool = False

    def put_file(self, path: str, content: bytes) -> None:
        self.system.pipe_file(f"{self.root}/{path}", content)

    def untag(self, repository: str, tag: str) -> None:
        for key in self.keys(f"{paths.tags(repository)}/{tag}"):
            self.system.rm_file(f"{self.root}/{key}")

    def keys(self, below: str) -> set[str]:
        found = self.system.find(f"{self.root}/{below}")
        return {key.removeprefix(f"{self.root}/") for key in found if not key.endswith(below)}

    def blobs(self) -> set[str]:
        return {f"sha256:{key.split('/')[-2]}" for key in self.keys(paths.BLOBS)}

    def revisions(self, repository: str) -> set[str]:
        return {f"sha256:{key.split('/')[-2]}" for key in self.keys(paths.revisions(repository))}

    def kept(self) -> int:
        """Bytes that the bucket keeps of the store and the quarantine, in all versions."""
        name, _, prefix = str(self.root).partition("/")
        call = "list_object_versions" if self.has_versions else "list_objects_v2"
        page = self.system.call_s3(call, Bucket=name, Prefix=f"{prefix}/")
        found = page.get("Versions" if self.has_versions else "Contents") or []
        return sum(one["Size"] for one in found)

    def sync(self) -> None:
        run = sync(open_store(storages.of_settings()), by="test")
        assert run is not None
        assert run.state == Run.State.DONE, run.log


class ObjectsCanary:
    """A registry that writes this bucket and remembers nothing."""

    def __init__(self, small: SmallObjects) -> None:
        self.small = small

    def __call__(self, _url: str) -> ObjectsCanary:
        return self

    def __enter__(self) -> ObjectsCanary:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def upload_blob(self, repository: str, data: bytes) -> str:
        return self.small.blob(repository, data)

    def has_blob(self, _repository: str, digest: str) -> bool:
        return digest in self.small.blobs()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with running_bucket() as made:
        yield made


@pytest.fixture(params=["plain", "versions"])
def small(
    request: pytest.FixtureRequest, bucket: Objects, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> SmallObjects:
    # A bucket of its own: moto looks at all keys of one, whatever it is asked for.
    bucket_name = uuid.uuid4().hex
    name = f"{bucket_name}/store"
    settings.STORAGE, settings.SOURCE = f"s3://{name}", "auto"
    settings.STORAGE_ENDPOINT = bucket.options["endpoint_url"]
    settings.STORAGE_REGION = "us-east-1"
    settings.STORAGE_KEY, settings.STORAGE_SECRET = bucket.options["key"], bucket.options["secret"]
    for one in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
        setattr(settings, one, timedelta(0))
    settings.UNDO_DAYS = 0  # what is untagged past the portal may be deleted at once
    system = fsspec.filesystem("s3", use_listings_cache=False, **bucket.options)
    system.call_s3("create_bucket", Bucket=bucket_name)
    made = SmallObjects(Path(name), system=system, has_versions=request.param == "versions")
    if made.has_versions:
        enabled = {"Status": "Enabled"}
        system.call_s3("put_bucket_versioning", Bucket=bucket_name, VersioningConfiguration=enabled)
    monkeypatch.setattr(collecting, "RegistryClient", ObjectsCanary(made))
    return made


@pytest.mark.usefixtures("extent")  # of each kind in the short run, too
def test_exactly_the_bytes_of_what_no_tag_needs_are_freed(small: SmallObjects) -> None:
    kept = small.image("team/app", "1", layers=(b"base" * 100, b"one"))
    gone = small.image("team/app", "2", layers=(b"base" * 100, b"two" * 50))
    small.sync()
    small.untag("team/app", "2")
    small.sync()
    plan = done(dry_run=True)
    assert plan.result["candidate_blobs"] == 3  # manifest, config, its own layer
    before = small.kept()

    run = done()
    freed = plan.result["candidate_bytes"] + len(gone)  # and the link
    assert run.result["freed_bytes"] == freed
    record = small.kept() - (before - freed)
    assert 0 < record < 2500  # what tells of the empty batches goes an hour later
    assert small.revisions("team/app") == {kept}
    assert sha256(b"base" * 100) in small.blobs()
    assert sha256(b"two" * 50) not in small.blobs()


def test_it_waits_comes_back_and_goes_when_it_is_due(small: SmallObjects, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    other = small.image("team/app", "2", layers=(b"other",))
    small.sync()
    small.untag("team/app", "2")
    small.sync()
    run = done()
    assert (run.result["in_quarantine"], run.result["purged"]) == (4, 0)
    assert other not in small.blobs()

    small.tag("team/app", "3", other)  # somebody needs it again
    run = done()
    assert run.result["restored"] == 4
    assert small.revisions("team/app") >= {other}
    assert sha256(b"other") in small.blobs()
    assert run.result["in_quarantine"] == 0

    small.untag("team/app", "3")
    small.sync()
    assert done().result["in_quarantine"] == 4
    settings.QUARANTINE_TIME = timedelta(0)
    assert done().result["purged"] == 4
    assert list(open_quarantine().contents()) == []
    assert other not in small.blobs()


def test_stale_uploads_and_empty_repositories_leave(small: SmallObjects) -> None:
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/empty", "1", layers=(b"base",))
    upload = f"{paths.uploads('team/app')}/0b0c"
    small.put_file(f"{upload}/startedat", b"2026-11-01T00:00:00Z")
    small.sync()
    small.untag("team/empty", "1")
    small.sync()
    done()
    run = collect()
    assert run.state == Run.State.DONE, run.log
    assert small.keys(paths.uploads("team/app")) == set()
    assert small.keys(paths.repository("team/empty")) == set()
    assert small.revisions("team/app")
