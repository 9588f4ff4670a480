"""The bytes of an OCI archive (image-spec, image-layout.md): a tar archive that skopeo, podman and
Docker open.

    oci-layout
    index.json          the tags: REPOSITORY:TAG for skopeo, REGISTRY/REPOSITORY:TAG for containerd
    manifest.json       the same images for a Docker before 25; not in an incremental archive
    blobs/ALGORITHM/HEX all manifests, configs and layers, each once

The same tags give the same bytes: no times, no users, one order.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from registryui import files
from registryui.imports.archive.oci_layout import blob_place
from registryui.oci import media_types
from registryui.oci.digest import matches
from registryui.refused import Refused
from registryui.registry.client import RegistryClient

from .plan import Content, Entry, Plan, manifest

BLOCK = 512
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_END = bytes(2 * BLOCK)


def size(plan: Plan, *, registry: str) -> int:
    """Bytes of the archive."""
    heads = sum(BLOCK + _padded(len(data)) for _name, data in _heads(plan, registry))
    blobs = sum(BLOCK + _padded(one.size) for one in plan.contents.values())
    return heads + blobs + len(_END)


def pieces(plan: Plan, client: RegistryClient, *, registry: str) -> Iterator[bytes]:
    """The archive. `registry`: the host that names for Docker begin with. RegistryError; Refused:
    something is not there any more, or has other content than its digest says."""
    for name, data in _heads(plan, registry):
        yield from _member(name, len(data), iter([data]))
    for one in plan.contents.values():
        yield from _member(blob_place(one.digest), one.size, _content(one, client))
    yield _END


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that has this name once all of it is on the disk; nothing is left if that fails. Only
    its owner can read it."""
    handle, name = tempfile.mkstemp(prefix=files.TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        Path(name).rename(path)
        files.sync_folder(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)


# -- members ---------------------------------------------------------------------------------------
def _heads(plan: Plan, registry: str) -> Iterator[tuple[str, bytes]]:
    yield "oci-layout", _LAYOUT
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [_descriptor(one, registry) for one in plan.entries],
    }
    yield "index.json", _json(index)
    if not plan.elsewhere and (images := _images(plan, registry)):
        yield "manifest.json", _json(images)


def _descriptor(one: Entry, registry: str) -> dict[str, Any]:
    found = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    if not one.tag:
        return found
    name = f"{one.repository}:{one.tag}"
    annotations = {
        "io.containerd.image.name": f"{registry}/{name}",
        "org.opencontainers.image.ref.name": name,
    }
    return {**found, "annotations": annotations}


def _images(plan: Plan, registry: str) -> list[dict[str, Any]]:
    """As `docker save` writes them: one for each image, with all of its tags."""
    names: dict[tuple[str, ...], list[str]] = {}
    for one in plan.entries:
        if one.image:
            names.setdefault(one.image, []).append(f"{registry}/{one.repository}:{one.tag}")
    return [
        {
            "Config": blob_place(config),
            "RepoTags": tags,
            "Layers": [blob_place(one) for one in layers],
        }
        for (config, *layers), tags in names.items()
    ]


def _content(one: Content, client: RegistryClient) -> Iterator[bytes]:
    """Its bytes. Refused, at the end, if they are others."""
    if one.is_manifest:
        stored = manifest(client, one.repository, one.digest)
        if stored is None or not matches(one.digest, stored.raw):
            raise _changed(one)
        yield stored.raw
        return
    seen, left = hashlib.new(one.digest.partition(":")[0]), one.size
    for piece in client.pieces(one.repository, one.digest):
        seen.update(piece)
        left -= len(piece)
        if left < 0:
            raise _changed(one)
        yield piece
    if left or seen.hexdigest() != one.digest.partition(":")[2]:
        raise _changed(one)


def _changed(one: Content) -> Refused:
    return Refused(
        f"{one.repository}: {one.digest} was deleted meanwhile, or is damaged: ./boathouse "
        "integrity --deep shows which; then export again."
    )


def _member(name: str, length: int, content: Iterator[bytes]) -> Iterator[bytes]:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = length, 0o644
    yield entry.tobuf(tarfile.GNU_FORMAT)  # pax says sizes over 8 GiB in a header of its own
    yield from content
    if rest := _padded(length) - length:
        yield bytes(rest)


def _padded(length: int) -> int:
    return (length + BLOCK - 1) // BLOCK * BLOCK


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
