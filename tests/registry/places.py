"""Places where a store can lie, with one way to put bad things into each."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fsspec

from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.files import LocalFiles, Problems
from registryui.registry.objects import ObjectFiles
from registryui.registry.storage import FileStore
from tests.support.parts import free_port, running_s3

KINDS = ("local", "memory", "s3")


class Place(Protocol):
    """A store to be broken. Paths are those of registry/paths.py."""

    is_local: bool

    def put(self, path: str, content: bytes) -> None:
        """A file, with what folders it needs."""

    def remove(self, path: str) -> None:
        """A file away, or all below a folder."""

    def open(self) -> FileStore:
        """The reader on trial."""


@dataclass
class Local:
    """A folder."""

    root: Path
    is_local: bool = True

    def put(self, path: str, content: bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def remove(self, path: str) -> None:
        place = self.root / path
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()

    def open(self) -> FileStore:
        problems = Problems()
        return FileStore(LocalFiles(str(self.root), problems), problems)


@dataclass
class Objects:
    """A prefix of a bucket, or of fsspec's memory."""

    protocol: str
    root: str
    options: dict[str, Any]
    is_local: bool = False

    def put(self, path: str, content: bytes) -> None:
        self._system.pipe_file(f"{self.root}/{path}", content)

    def remove(self, path: str) -> None:
        self._system.rm(f"{self.root}/{path}", recursive=True)

    def open(self) -> FileStore:
        problems = Problems()
        return FileStore(ObjectFiles(self.protocol, self.root, self.options, problems), problems)

    @property
    def _system(self) -> Any:
        return fsspec.filesystem(self.protocol, use_listings_cache=False, **self.options)


@contextmanager
def running_bucket() -> Iterator[Objects]:
    """An empty bucket of an S3 service on loopback."""
    port = free_port()
    with running_s3(port, "images") as (key, secret):
        options = {
            "key": key,
            "secret": secret,
            "endpoint_url": f"http://127.0.0.1:{port}",
            "client_kwargs": {"region_name": "us-east-1"},
        }
        yield Objects("s3", "images", options)


def new(kind: str, tmp_path: Path, bucket: Objects | None) -> Place:
    """An empty store of that kind."""
    if kind == "local":
        return Local(tmp_path)
    name = uuid.uuid4().hex
    if bucket is None:
        return Objects("memory", f"/{name}", {})
    return Objects("s3", f"{bucket.root}/{name}", bucket.options)


def put_blob(place: Place, content: bytes) -> str:
    """Content in the blobs folder; its digest."""
    digest = sha256(content)
    place.put(paths.blob_data(digest), content)
    return digest


def put_manifest(place: Place, repository: str, content: bytes, *tags: str) -> str:
    """A manifest as a push leaves it behind, its blobs aside; its digest."""
    digest = put_blob(place, content)
    place.put(paths.revision_link(repository, digest), digest.encode())
    place.put(paths.layer_link(repository, sha256(b"layer")), sha256(b"layer").encode())
    for tag in tags:
        put_tag(place, repository, tag, digest.encode())
    return digest


def put_tag(place: Place, repository: str, tag: str, content: bytes) -> None:
    """The link of a tag with any content."""
    place.put(paths.tag_link(repository, tag), content)


def age(place: Path, seconds: float) -> None:
    """A file or folder that was changed so long ago."""
    status = os.lstat(place)
    when = status.st_mtime - seconds
    os.utime(place, (when, when), follow_symlinks=False)


def as_nobody(ask: Callable[[], str]) -> str:
    """What `ask` says in a process whose user may not open files of mode 0: root may."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os.write(writer, ask().encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        return told.read()
