"""Small stores on the disk that a test makes and looks into; old enough to be collected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from registryui.gc import collector
from registryui.index.sync import sync
from registryui.models import Run
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.quarantine import LocalQuarantine
from registryui.registry.storages import FILESYSTEM, Storage

from .fake_source import CONFIG, IMAGE, INDEX, LAYER, descriptor, digest_of, encode


@dataclass
class Small:
    """A store below `root`. What is put into it is as a push leaves it."""

    root: Path
    written: dict[str, int] = field(default_factory=dict)  # digest to bytes: all that was put

    def put_file(self, path: str, content: bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        self.put_file(paths.blob_data(digest), data)
        if repository:
            self.put_file(paths.layer_link(repository, digest), digest.encode())
        self.written[digest] = len(data)
        return digest

    def manifest(self, repository: str, raw: bytes, *tags: str) -> str:
        digest = self.blob("", raw)
        self.put_file(paths.revision_link(repository, digest), digest.encode())
        for tag in tags:
            self.tag(repository, tag, digest)
        return digest

    def tag(self, repository: str, tag: str, digest: str) -> None:
        self.put_file(paths.tag_link(repository, tag), digest.encode())
        index = f"{paths.tags(repository)}/{tag}/index/{digest.replace(':', '/')}/link"
        self.put_file(index, digest.encode())

    def untag(self, repository: str, tag: str) -> None:
        folder = self.root / paths.tags(repository) / tag
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()

    def image(self, repository: str, *tags: str, layers: tuple[bytes, ...], **more: Any) -> str:
        config = encode({"os": "linux", "architecture": "amd64", "n": [len(one) for one in layers]})
        for blob in (config, *layers):
            self.blob(repository, blob)
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "config": descriptor(CONFIG, config),
                "layers": [descriptor(LAYER, layer) for layer in layers],
                **more,
            }
        )
        return self.manifest(repository, raw, *tags)

    def image_index(self, repository: str, children: list[str], *tags: str, **more: Any) -> str:
        listed = [self.described(one) for one in children]
        raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed, **more})
        return self.manifest(repository, raw, *tags)

    def described(self, digest: str, media_type: str = IMAGE) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest, "size": self.written.get(digest, 1)}

    # -- looking -----------------------------------------------------------------------------------
    def blobs(self) -> set[str]:
        """Digests of all data in the store."""
        files = (self.root / paths.BLOBS).glob("sha256/*/*/data")
        return {f"sha256:{file.parent.name}" for file in files}

    def revisions(self, repository: str) -> set[str]:
        links = (self.root / paths.revisions(repository)).glob("sha256/*/link")
        return {f"sha256:{link.parent.name}" for link in links}

    def size(self) -> int:
        """Bytes of all data, that of uploads too, in the store and in the quarantine."""
        files = [*self.root.rglob("data"), *self.root.glob("boathouse/quarantine/*/[0-9]*")]
        kept = [file for file in files if file.is_file() and not is_link(file)]
        return sum(file.stat().st_size for file in kept)

    def quarantine(self) -> LocalQuarantine:
        return LocalQuarantine(str(self.root))

    def sync(self) -> None:
        store = open_store(Storage(FILESYSTEM, {}, str(self.root)))
        run = sync(store, by="test")
        assert run is not None
        assert run.state == Run.State.DONE, run.log


class NoCanary:
    """A registry that writes this store and remembers nothing: the real one is in tests/e2e."""

    def __init__(self, small: Small) -> None:
        self.small = small

    def __call__(self, _url: str) -> NoCanary:
        return self

    def __enter__(self) -> NoCanary:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def upload_blob(self, repository: str, data: bytes) -> str:
        self.put = self.small.blob(repository, data)
        return self.put

    def has_blob(self, _repository: str, digest: str) -> bool:
        return (self.small.root / paths.blob_data(digest)).exists()


def is_link(file: Path) -> bool:
    """Whether its content is a digest."""
    return file.stat().st_size < 200 and file.read_bytes().startswith(b"sha256:")


def run_gc(**options: Any) -> Run:
    run = collector.run_gc(by="test", **options)
    assert run is not None
    return run


def done(**options: Any) -> Run:
    """A run that came to its end."""
    run = run_gc(**options)
    assert run.state == Run.State.DONE, (run.result, run.log)
    return run


@contextmanager
def later(monkeypatch: pytest.MonkeyPatch, **time: float) -> Iterator[None]:
    """Our own clock is ahead of the disk's by so much: the times of an inode cannot be set back."""
    real, ahead = timezone.now, timedelta(**time)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: real() + ahead)
        yield
