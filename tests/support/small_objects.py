"""Small (stores.py) in a bucket, with versions and without."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from registryui.gc import collector
from registryui.index.sync import sync
from registryui.models import Run
from registryui.registry import paths, storages
from registryui.registry.choose import open_store
from tests.registry.places import Objects

from .stores import Small


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


def small_in(
    bucket: Objects, settings: Any, monkeypatch: pytest.MonkeyPatch, *, has_versions: bool
) -> SmallObjects:
    """An empty one, in the settings."""
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
    made = SmallObjects(Path(name), system=system, has_versions=has_versions)
    if made.has_versions:
        enabled = {"Status": "Enabled"}
        system.call_s3("put_bucket_versioning", Bucket=bucket_name, VersioningConfiguration=enabled)
    monkeypatch.setattr(collector, "RegistryClient", ObjectsCanary(made))
    return made
