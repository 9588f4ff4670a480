"""Manifests: their kind, config and layers, or the entries of an image index.

raw bytes ── parse_manifest ─► Manifest
                               ├ image        config + layers of a file system
                               ├ image index  entries: manifests for platforms, or anything
                               ├ artifact     Helm chart, signature, bill of materials …
                               ├ cache        BuildKit's: the entries (or layers) are blobs
                               └ unknown      JSON of an unknown format
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from . import media_types
from .digest import check_digest, sha256
from .untrusted import items, quoted, read_object, size, text, text_map, texts

Kind = Literal["image", "image index", "artifact", "cache", "unknown"]

NAME_LIMIT = 255  # characters of a media type, as wide as its column
_PLATFORM_LIMIT = 64
_URL_LIMIT = 2048


@dataclass(frozen=True, slots=True)
class Platform:
    """What a manifest runs on; `unknown/unknown` for what does not run."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content. `size` is the manifest's claim; 0 in schema 1, which has none."""

    media_type: str
    digest: str
    size: int = 0
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    urls: tuple[str, ...] = ()  # of a foreign layer: where it is, because it is not in the registry
    artifact_type: str = ""

    @property
    def is_foreign(self) -> bool:
        """Whether the content is elsewhere and need not be in the registry."""
        return bool(self.urls)

    @property
    def is_attestation(self) -> bool:
        """Whether this entry of an image index is BuildKit's attestation of a sibling."""
        return self.annotations.get("vnd.docker.reference.type") == "attestation-manifest"

    @property
    def attests(self) -> str:
        """Digest of the sibling that this attestation is about; "" if it is none."""
        return self.annotations.get("vnd.docker.reference.digest", "")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest of any format. Layers and schema 1 history are in order from the base up."""

    media_type: str
    kind: Kind
    artifact_type: str = ""  # a media type; "" for plain images
    subject: str = ""  # digest of what this manifest refers to
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    entries: tuple[Descriptor, ...] = ()  # of an image index; of a cache they are blobs
    annotations: Mapping[str, str] = field(default_factory=dict)
    schema1_history: tuple[str, ...] = ()  # JSON texts; see config.schema1_config

    @property
    def layer_blobs(self) -> tuple[Descriptor, ...]:
        """The layers; those of a cache are in its entries if it is an image index, as BuildKit
        before 0.21 writes it."""
        return self.layers or (self.entries if self.kind == "cache" else ())


def parse_manifest(raw: bytes, media_type: str) -> Manifest:
    """The manifest in `raw`; `media_type` is the registry's word for it, "" if not known.

    ValueError: no JSON object, over 4 MiB, a bad digest or size, or two formats at once.
    """
    found = read_object(raw)
    return _parsed(found, _media_type(found, media_types.bare(media_type)))


def parse_stored(raw: bytes) -> Manifest:
    """The manifest in `raw` from a store, without a registry's media type.

    ValueError: as `parse_manifest`, and what registry 2.8 cannot read (see stored_media_type).
    """
    found = read_object(raw)
    return _parsed(found, _media_type(found, stored_media_type(found)))


def stored_media_type(found: Mapping[str, Any]) -> str:
    """The media type that registry 2.8 returns for a manifest in its store (manifeststore.go, Get).

    Schema 1 is stored without its signatures; the registry signs it again for each client, and
    calls it signed. ValueError: it answers 500, or rejects it.
    """
    version, written = found.get("schemaVersion"), found.get("mediaType")
    if isinstance(version, bool) or not isinstance(version, int) or version not in (1, 2):
        raise ValueError(f"not a manifest: schemaVersion {quoted(version)}")
    if not isinstance(written, str | None):
        raise ValueError(f"not a media type: {quoted(written)}")
    if version == 1:
        return media_types.DOCKER_SCHEMA1_SIGNED
    if written in media_types.OF_SCHEMA_2:
        return written
    if written:
        raise ValueError(f"a manifest of type {quoted(written)}")
    return media_types.OCI_MANIFEST if found.get("manifests") is None else media_types.OCI_INDEX


def _parsed(found: dict[str, Any], media_type: str) -> Manifest:
    if media_types.is_schema1(media_type):
        return _schema1(found, media_type)
    if media_types.is_image_index(media_type):
        return _image_index(found, media_type)
    if media_types.is_manifest(media_type):
        return _image(found, media_type)
    return Manifest(_cut(media_type), "unknown")


def digest_of(raw: bytes, media_type: str) -> str:
    """The sha256 digest by which the registry stores `raw`. ValueError: broken signed schema 1."""
    return sha256(signed_bytes(raw, media_type))


def signed_bytes(raw: bytes, media_type: str) -> bytes:
    """The bytes that the digest is over: all, but of signed schema 1 those without signatures.

    The signature says how much of the text before it is signed, and how that text ended
    (docker/libtrust, ParsePrettySignature).
    """
    if media_types.bare(media_type) != media_types.DOCKER_SCHEMA1_SIGNED:
        return raw
    signatures = items(read_object(raw), "signatures")
    if not signatures:
        raise ValueError(f"signed schema 1 without signatures: {quoted(raw)}")
    endings = {_ending(signature) for signature in signatures}
    if len(endings) > 1:
        raise ValueError("the signatures of the manifest cover different texts")
    length, tail = endings.pop()
    if not 0 <= length <= len(raw):
        raise ValueError(f"signature covers {quoted(length)} bytes of {len(raw)}")
    return raw[:length] + tail


def _ending(signature: dict[str, Any]) -> tuple[int, bytes]:
    protected = read_object(_base64url(signature.get("protected")))
    length = protected.get("formatLength")
    if isinstance(length, bool) or not isinstance(length, int):
        raise ValueError(f"not a length: {quoted(length)}")
    return length, _base64url(protected.get("formatTail"))


def _base64url(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"not base64: {quoted(value)}")
    return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)


def _media_type(found: dict[str, Any], declared: str) -> str:
    """The format: as given, as written inside, or by its structure.

    Two formats at once are rejected, because programs then disagree about the content
    (CVE-2021-41190).
    """
    written = media_types.bare(text(found.get("mediaType"), limit=NAME_LIMIT))
    is_declared, is_written = media_types.is_manifest(declared), media_types.is_manifest(written)
    if is_declared and is_written and declared != written:
        raise ValueError(f"told to be {declared}, and says that it is {written}")
    if found.get("manifests") is not None and (found.get("layers") or found.get("config")):
        raise ValueError("an image and an image index at once")
    if is_declared or is_written:
        return declared if is_declared else written
    return _guess(found) or declared or written


def _guess(found: dict[str, Any]) -> str:
    if "fsLayers" in found:
        signed = "signatures" in found
        return media_types.DOCKER_SCHEMA1_SIGNED if signed else media_types.DOCKER_SCHEMA1
    if "manifests" in found:
        return media_types.OCI_INDEX
    if "config" in found and "layers" in found:
        return media_types.OCI_MANIFEST
    return ""


def _image(found: dict[str, Any], media_type: str) -> Manifest:
    config = parse_descriptor(found["config"]) if found.get("config") is not None else None
    listed = items(found, "layers") or items(found, "blobs")
    layers = tuple(parse_descriptor(item) for item in listed)
    stated = _cut(text(found.get("artifactType"), limit=NAME_LIMIT))
    kind, artifact_type = _kind(stated, config, layers)
    return Manifest(
        media_type,
        kind,
        artifact_type,
        _subject(found),
        config,
        layers,
        annotations=text_map(found.get("annotations")),
    )


def _kind(
    stated: str, config: Descriptor | None, layers: tuple[Descriptor, ...]
) -> tuple[Kind, str]:
    """Kind and artifact type. Without a type it is derived from its config, else its first layer:
    cosign and BuildKit's attestations have the config of an image, and other layers."""
    of_config = config.media_type if config else ""
    if media_types.is_buildkit_cache(of_config):
        return "cache", of_config
    if stated:
        return "artifact", stated
    if not media_types.is_image_config(of_config):
        return "artifact", of_config or (layers[0].media_type if layers else "")
    if layers and not any(media_types.is_layer(layer.media_type) for layer in layers):
        return "artifact", layers[0].media_type
    return "image", ""


def _image_index(found: dict[str, Any], media_type: str) -> Manifest:
    entries = tuple(parse_descriptor(item) for item in items(found, "manifests"))
    is_cache = any(
        media_types.is_layer(entry.media_type) or media_types.is_buildkit_cache(entry.media_type)
        for entry in entries
    )
    return Manifest(
        media_type,
        "cache" if is_cache else "image index",
        _cut(text(found.get("artifactType"), limit=NAME_LIMIT))
        or (media_types.BUILDKIT_CACHE if is_cache else ""),
        _subject(found),
        entries=entries,
        annotations=text_map(found.get("annotations")),
    )


def _schema1(found: dict[str, Any], media_type: str) -> Manifest:
    """Newest first in the text; reversed here. Every layer is named, empty ones too."""
    layers = tuple(
        Descriptor(media_types.DOCKER_LAYER, check_digest(item.get("blobSum")))
        for item in reversed(items(found, "fsLayers"))
    )
    history = texts([item.get("v1Compatibility") for item in reversed(items(found, "history"))])
    return Manifest(media_type, "image", layers=layers, schema1_history=history)


def _subject(found: dict[str, Any]) -> str:
    subject = found.get("subject")
    return "" if subject is None else parse_descriptor(subject).digest


def parse_descriptor(item: object) -> Descriptor:
    """A descriptor as a manifest, or index.json of an OCI layout, has it. ValueError."""
    if not isinstance(item, dict):
        raise ValueError(f"not a descriptor: {quoted(item)}")
    media_type, digest, length = item.get("mediaType"), item.get("digest"), item.get("size")
    is_plain = len(item) == 3 and type(digest) is str and type(length) is int
    if is_plain and isinstance(media_type, str) and len(media_type) <= NAME_LIMIT:
        return _plain_descriptor(media_type, digest, length)
    return Descriptor(
        media_type=_cut(text(media_type, limit=NAME_LIMIT)),
        digest=check_digest(digest),
        size=size(length),
        annotations=text_map(item.get("annotations")),
        platform=_platform(item.get("platform")),
        urls=texts(item.get("urls"), limit=_URL_LIMIT)[:16],
        artifact_type=_cut(text(item.get("artifactType"), limit=NAME_LIMIT)),
    )


@lru_cache(maxsize=4096)  # most layers lie in many images
def _plain_descriptor(media_type: str, digest: str, length: int) -> Descriptor:
    return Descriptor(_cut(text(media_type)), check_digest(digest), size(length))


def _platform(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    return Platform(
        os=text(value.get("os"), limit=_PLATFORM_LIMIT),
        architecture=text(value.get("architecture"), limit=_PLATFORM_LIMIT),
        variant=text(value.get("variant"), limit=_PLATFORM_LIMIT),
    )


def _cut(media_type: str) -> str:
    return media_types.bare(media_type)[:NAME_LIMIT]
