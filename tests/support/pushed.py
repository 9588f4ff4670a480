"""Images as a client would push them: real bytes, written into the index by ingest itself.

base = pushed.image("team/base", tags=["1"], layers=[("debian", 28_000_000)])
pushed.image_index("team/api", [(base, "linux/amd64")], tags=["2.0"])
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from registryui.index import ingest
from registryui.index.fetch import NewManifest, TagProbe
from registryui.models import Manifest, Tag
from registryui.oci.digest import sha256
from registryui.oci.manifest import digest_of, parse_manifest
from registryui.registry.source import Stored

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pushed:
    digest: str
    media_type: str
    size: int
    repository: str

    @property
    def row(self) -> Manifest:
        return Manifest.objects.get(repository__name=self.repository, digest=self.digest)


def raw(
    repository: str,
    data: bytes,
    media_type: str = IMAGE,
    *,
    tags: Sequence[str] = (),
    config: bytes | None = None,
    missing: Sequence[str] = (),
    at: datetime | None = AT,
    by: str = "ci-team",
) -> Pushed:
    """Any bytes as a manifest, whatever is in them."""
    try:
        parsed = parse_manifest(data, media_type)
    except ValueError:
        parsed = None
    digest = sha256(data) if media_type == SCHEMA1 else digest_of(data, media_type)
    have = {tag.name: tag for tag in Tag.objects.filter(repository__name=repository)}
    probes = []
    for name in tags:
        before = have.get(name)
        expected = before.manifest.digest if before and before.manifest else ""
        probes.append(TagProbe(name, expected, digest, Stored(digest, media_type, data)))
    updates = {name: ingest.TagUpdate(digest, at, by) for name in tags} if at else {}
    new = NewManifest(digest, media_type, data, parsed, config, tuple(missing))
    ingest.save(repository, probes, [new], updates=updates)
    return Pushed(digest, media_type, len(data), repository)


def image(
    repository: str,
    *,
    tags: Sequence[str] = (),
    layers: Sequence[tuple[str, int]] = (("base", 28_200_000),),
    config: Mapping[str, Any] | bytes | None = None,
    architecture: str = "amd64",
    layer_fields: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Pushed:
    """An OCI image. A layer is (its made-up content, its size): same content, same blob."""
    options = {key: fields.pop(key) for key in ("missing", "at", "by") if key in fields}
    if config is None:
        config = {}
    if not isinstance(config, bytes):
        config = json.dumps({"os": "linux", "architecture": architecture, **config}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)},
        "layers": [layer(content, size, **(layer_fields or {})) for content, size in layers],
        **fields,
    }
    data = json.dumps(manifest).encode()
    return raw(repository, data, IMAGE, tags=tags, config=config, **options)


def layer(content: str, size: int, **fields: Any) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
    return {"mediaType": LAYER, "digest": digest, "size": size, **fields}


def image_index(
    repository: str,
    children: Sequence[tuple[Pushed, str]],
    *,
    tags: Sequence[str] = (),
    attestations: Sequence[tuple[Pushed, Pushed]] = (),
    **fields: Any,
) -> Pushed:
    """children: (image, platform or ""); attestations: (its manifest, the image it is about)."""
    options = {key: fields.pop(key) for key in ("missing", "at", "by") if key in fields}
    entries = [_entry(child, platform) for child, platform in children]
    for about, child in attestations:
        entry = _entry(about, "unknown/unknown")
        entry["annotations"] = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": child.digest,
        }
        entries.append(entry)
    manifest = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **fields}
    return raw(repository, json.dumps(manifest).encode(), INDEX, tags=tags, **options)


def artifact(
    repository: str,
    *,
    config_type: str = "application/vnd.oci.empty.v1+json",
    files: Sequence[tuple[str, int]] = (("notes.txt", 1200),),
    tags: Sequence[str] = (),
    **fields: Any,
) -> Pushed:
    """Something without an image config: its layers are files with a title."""
    options = {key: fields.pop(key) for key in ("missing", "at", "by") if key in fields}
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": config_type, "digest": sha256(b"{}"), "size": 2},
        "layers": [
            layer(
                f"{repository} {title}",
                size,
                mediaType="application/vnd.example.file",
                annotations={"org.opencontainers.image.title": title},
            )
            for title, size in files
        ],
        **fields,
    }
    return raw(repository, json.dumps(manifest).encode(), IMAGE, tags=tags, **options)


def schema1(repository: str, *, tags: Sequence[str] = ()) -> Pushed:
    """What Docker 1.9 pushed: newest layer first, no config, no sizes."""
    history = [
        {"id": "b", "container_config": {"Cmd": ['/bin/sh -c #(nop)  CMD ["sh"]']}},
        {"id": "a", "container_config": {"Cmd": ["/bin/sh -c #(nop) ADD file:1 in /"]}},
    ]
    manifest = {
        "schemaVersion": 1,
        "name": repository,
        "tag": "old",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": layer(name, 0)["digest"]} for name in ("empty", "rootfs")],
        "history": [{"v1Compatibility": json.dumps(one)} for one in history],
    }
    return raw(repository, json.dumps(manifest).encode(), SCHEMA1, tags=tags)


def dangling(repository: str, name: str, problem: str = "dangling") -> None:
    """A tag that the registry lists and has nothing readable for."""
    ingest.save(repository, [TagProbe(name, "", "", problem=problem)], [])


def _entry(child: Pushed, platform: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mediaType": child.media_type,
        "digest": child.digest,
        "size": child.size,
    }
    if platform:
        os, architecture, *variant = platform.split("/")
        entry["platform"] = {"os": os, "architecture": architecture}
        if variant:
            entry["platform"]["variant"] = variant[0]
    return entry
