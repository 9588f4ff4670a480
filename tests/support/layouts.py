"""OCI image layouts on disk, for skopeo to copy from (image-spec)."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .fake_source import CONFIG, IMAGE, INDEX, LAYER, descriptor, digest_of, encode

EMPTY = "application/vnd.oci.empty.v1+json"


class Layout:
    """A folder of blobs. Each tag is a name for skopeo after the colon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tags: list[dict[str, Any]] = []
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
        """Keeps the data; returns its descriptor."""
        hexadecimal = digest_of(data).removeprefix("sha256:")
        (self.folder / "blobs" / "sha256" / hexadecimal).write_bytes(data)
        return descriptor(media_type, data, **more)

    def image(self, architecture: str, files: dict[str, bytes]) -> dict[str, Any]:
        """An image of one layer with these files, as a child of an image index."""
        tree = _tree(files)
        config = {
            "os": "linux",
            "architecture": architecture,
            "created": "2026-11-01T10:00:00Z",
            "config": {"Env": ["A=b"], "Cmd": ["/bin/app"], "Labels": {"made": "here"}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tree)]},
            "history": [{"created": "2026-11-01T10:00:00Z", "created_by": "COPY app /bin/app"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.blob(CONFIG, encode(config)),
            "layers": [self.blob(LAYER, gzip.compress(tree, mtime=0))],
        }
        platform = {"os": "linux", "architecture": architecture}
        return self.blob(IMAGE, encode(manifest), platform=platform)

    def image_index(self, children: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """An image index over them."""
        raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children)})
        return self.blob(INDEX, raw)

    def artifact(self, kind: str, data: bytes) -> dict[str, Any]:
        """An OCI artifact: an empty config and one blob."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": kind,
            "config": self.blob(EMPTY, b"{}"),
            "layers": [self.blob(kind, data)],
        }
        return self.blob(IMAGE, encode(manifest))

    def tag(self, name: str, target: dict[str, Any]) -> None:
        """Gives it a name."""
        named = {**target, "annotations": {"org.opencontainers.image.ref.name": name}}
        self._tags.append(named)
        index = {"schemaVersion": 2, "manifests": self._tags}
        (self.folder / "index.json").write_text(json.dumps(index))


def _tree(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tree:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tree.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
