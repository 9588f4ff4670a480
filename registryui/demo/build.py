"""Builds demo images: real layers, a config with history, a manifest, an image index. Pure.

The same arguments give the same bytes, always and everywhere, so a second push sends nothing. The
content of a layer is noise: it has the stated size, and cannot be run.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from random import Random
from typing import Any, Self

from registryui.oci import media_types
from registryui.oci.digest import sha256

Json = dict[str, Any]

AMD64: Json = {"architecture": "amd64", "os": "linux"}
ARM64: Json = {"architecture": "arm64", "os": "linux", "variant": "v8"}
ARM_V7: Json = {"architecture": "arm", "os": "linux", "variant": "v7"}


@dataclass(frozen=True, slots=True)
class Made:
    """A manifest to push. `blobs` and `children` must be in the registry before it."""

    raw: bytes
    media_type: str
    blobs: tuple[bytes, ...] = ()
    children: tuple["Made", ...] = ()  # of an image index
    platform: Json | None = None
    tags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return sha256(self.raw)

    def tagged(self, *tags: str) -> Self:
        """The same manifest, to be pushed under these tags."""
        return replace(self, tags=tags)

    def descriptor(self, **more: Any) -> Json:
        """Its descriptor in an image index."""
        platform = {"platform": self.platform} if self.platform else {}
        return {**descriptor(self.raw, self.media_type), **platform, **more}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as it is pushed, and the digest of it unpacked."""

    blob: bytes
    diff_id: str


@dataclass(frozen=True, slots=True)
class Step:
    """A line of history as a builder writes it. `created` is "" for the image's own."""

    created_by: str
    layer: Layer | None = None
    created: str = ""


@cache
def noise(path: str, size: int) -> Layer:
    """A layer with one file of about `size` bytes; its content follows from the two arguments."""
    return pack({path: Random(f"{path} {size}").randbytes(size)})  # noqa: S311  (not a secret)


def pack(files: dict[str, bytes]) -> Layer:
    """A layer with these files."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    packed = io.BytesIO()
    # Stored, not compressed: versions of zlib differ in their bytes.
    with gzip.GzipFile("", "wb", compresslevel=0, fileobj=packed, mtime=0) as file:
        file.write(unpacked.getvalue())
    return Layer(packed.getvalue(), sha256(unpacked.getvalue()))


def image(
    steps: Sequence[Step],
    created: str,
    *,
    platform: Json = AMD64,
    docker: bool = False,
    author: str = "",
    **config: Any,
) -> Made:
    """An image with this history; `config` are keys of its run config (Env, Labels, Cmd …).

    `created` is RFC 3339; `docker` writes Docker's media types instead of OCI's.
    """
    layers = [step.layer for step in steps if step.layer]
    found: Json = {
        **platform,
        "created": _checked(created),
        **({"author": author} if author else {}),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [_history(step, created) for step in steps],
    }
    types = _DOCKER if docker else _OCI
    return manifest(
        encode(found),
        [layer.blob for layer in layers],
        types=types,
        platform=platform,
    )


_OCI = (media_types.OCI_MANIFEST, media_types.OCI_CONFIG, media_types.OCI_LAYER)
_DOCKER = (media_types.DOCKER_MANIFEST, media_types.DOCKER_CONFIG, media_types.DOCKER_LAYER)


def manifest(
    config: bytes,
    layers: Sequence[bytes],
    *,
    types: tuple[str, str, str],
    platform: Json | None = None,
    layer_annotations: dict[str, str] | None = None,
    **more: Any,
) -> Made:
    """A manifest; `types`: of itself, its config and its layers; `more`: further keys of it."""
    own, of_config, of_layer = types
    noted = {"annotations": layer_annotations} if layer_annotations else {}
    found = {
        "schemaVersion": 2,
        "mediaType": own,
        "config": descriptor(config, of_config),
        "layers": [{**descriptor(layer, of_layer), **noted} for layer in layers],
        **more,
    }
    return Made(encode(found), own, (config, *layers), platform=platform)


def image_index(
    *children: Made, more: Sequence[Json] = (), annotations: dict[str, str] | None = None
) -> Made:
    """An image index of these manifests; `more`: descriptors after theirs."""
    found: Json = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [*(child.descriptor() for child in children), *more],
        **({"annotations": annotations} if annotations else {}),
    }
    return Made(encode(found), media_types.OCI_INDEX, children=children)


def descriptor(content: bytes, media_type: str) -> Json:
    """Its descriptor in a manifest."""
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def encode(found: Json) -> bytes:
    """JSON as it is pushed; keys keep their order."""
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _history(step: Step, created: str) -> Json:
    builder = {} if "#(nop)" in step.created_by else {"comment": "buildkit.dockerfile.v0"}
    empty = {} if step.layer else {"empty_layer": True}
    return {
        "created": _checked(step.created or created),
        "created_by": step.created_by,
        **builder,
        **empty,
    }


def _checked(created: str) -> str:
    datetime.fromisoformat(created)
    return created
