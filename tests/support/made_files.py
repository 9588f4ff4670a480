"""A store as files, and the hands that change it behind the registry's back."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from bench import store as made
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.storage import FileStore
from registryui.registry.storages import FILESYSTEM, Storage

from .fake_source import digest_of


@dataclass(frozen=True, slots=True)
class Files:
    """A made store below `root`."""

    root: Path
    records: made.MadeStore

    def open(self) -> FileStore:
        return open_store(Storage(FILESYSTEM, {}, str(self.root)))

    def path(self, below: str) -> Path:
        return self.root / below

    def set_tag(self, repository: str, tag: str, digest: str) -> None:
        """As a push of a manifest that is there already."""
        link = self.path(paths.tag_link(repository, tag))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(digest)

    def put(self, repository: str, tag: str, raw: bytes) -> str:
        """A manifest with any bytes, and a tag on it; returns its digest."""
        digest = digest_of(raw)
        for below, data in (
            (paths.blob_data(digest), raw),
            (paths.revision_link(repository, digest), digest.encode()),
        ):
            place = self.path(below)
            place.parent.mkdir(parents=True)
            place.write_bytes(data)
        self.set_tag(repository, tag, digest)
        return digest

    def remove_tag(self, repository: str, tag: str) -> None:
        shutil.rmtree(self.path(f"{paths.tags(repository)}/{tag}"))

    def age(self) -> None:
        """Sets the times of all folders back: a stamp of what is fresh says that it may change."""
        old = time.time() - 3600
        for folder, _inside, _files in os.walk(self.root):
            os.utime(folder, (old, old))


def write(root: Path, tags: int, *, repositories: int) -> Files:
    files = Files(root, made.write(root, tags, repositories=repositories))
    files.age()
    return files
