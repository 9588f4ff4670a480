"""A mirrored repository on the disk of a real registry, as far as it was pulled.

What the mirror service writes: complete files, each by a rename, beside the registry and its lists.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registryui.models import Mirror
from registryui.registry import paths

from .fake_source import CONFIG, IMAGE, INDEX, LAYER, descriptor, digest_of, encode

M = "hub/library/app"


def mirror(name: str = "hub", **more: Any) -> Mirror:
    """A row, and nothing else."""
    return Mirror.objects.create(name=name, url="https://registry.example.net", **more)


@dataclass
class Upstream:
    """What another registry has: manifests and blobs by digest. Nothing of it is here."""

    content: dict[str, bytes] = field(default_factory=dict)

    def blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.content[digest] = data
        return digest

    def image(self, *layers: bytes, architecture: str = "amd64", **more: Any) -> str:
        config = encode({"os": "linux", "architecture": architecture, **more})
        for data in (config, *layers):
            self.blob(data)
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer) for layer in layers],
        }
        return self.blob(encode(manifest))

    def image_index(self, *children: str) -> str:
        listed = [
            {
                "mediaType": IMAGE,
                "digest": child,
                "size": len(self.content[child]),
                "platform": {"os": "linux", "architecture": f"a{number}"},
            }
            for number, child in enumerate(children)
        ]
        raw = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        return self.blob(encode(raw))


@dataclass
class Here:
    """The store at `root`, and what the service puts there of an upstream."""

    root: Path
    upstream: Upstream = field(default_factory=Upstream)

    def blob(self, repository: str, digest: str) -> None:
        """A layer or config. Its link is written anew, which says that it is in use."""
        self._data(digest)
        self.write(paths.layer_link(repository, digest), digest.encode())

    def manifest(self, repository: str, digest: str, *tags: str) -> None:
        """A manifest, without anything that it names."""
        self._data(digest)
        self.write(paths.revision_link(repository, digest), digest.encode())
        for tag in tags:
            index = f"{paths.tag(repository, tag)}/index/{digest.replace(':', '/')}/link"
            self.write(index, digest.encode())
            self.write(paths.tag_link(repository, tag), digest.encode())

    def image(self, repository: str, digest: str, *tags: str, blobs: int | None = None) -> None:
        """An image with its config and layers, or only so many of these."""
        for blob in self.blobs_of(digest)[:blobs]:
            self.blob(repository, blob)
        self.manifest(repository, digest, *tags)

    def blobs_of(self, digest: str) -> list[str]:
        """The config and the layers of an image of the upstream."""
        told = json.loads(self.upstream.content[digest])
        return [one["digest"] for one in (told["config"], *told["layers"])]

    def _data(self, digest: str) -> None:
        if not (self.root / paths.blob_data(digest)).exists():
            self.write(paths.blob_data(digest), self.upstream.content[digest])

    def write(self, path: str, content: bytes) -> None:
        """Complete at every moment; again if its folder is moved away meanwhile."""
        place = self.root / path
        while True:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                new = place.parent / f".{secrets.token_hex(8)}"
                new.write_bytes(content)
                os.replace(new, place)  # noqa: PTH105
            except FileNotFoundError:
                continue
            return
