"""What a manifest's bytes say, as the columns of our tables. Pure: no Django, no database.

Both writers of the index take it from here, ingest.py for single changes and bulk.py for whole
repositories, so that the same manifest makes the same rows whichever way it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from registryui.oci import expiry, names
from registryui.oci.config import ImageConfig, parse_config
from registryui.oci.facts import facts

from .contents import NewManifest

LARGEST = 2**62  # bytes; descriptors may claim anything, columns have 64 bits

# Columns that the functions below fill, in the order of their tuples.
MANIFEST = (
    *("digest", "media_type", "kind", "artifact_type", "subject_digest", "size", "layer_count"),
    *("os", "architecture", "variant", "created_at", "annotations", "raw", "config"),
    "expires_after",
)
ENTRY = (
    *("position", "digest", "media_type", "size", "os", "architecture", "variant"),
    "annotations",
)


class Edge(NamedTuple):
    """A blob that a manifest needs."""

    role: str
    position: int
    digest: str
    size: int  # 0 for what is not in the registry: foreign layers, what a mirror has not pulled
    media_type: str


@dataclass(frozen=True, slots=True)
class Child:
    """What the size of an image index needs to know of a manifest that it lists."""

    kind: str
    size: int
    blobs: Mapping[Any, int]  # each blob's size, by any name that is the same in its siblings
    expires_after: int | None = None
    os: str = ""


def manifest_row(one: NewManifest) -> tuple[tuple[Any, ...], frozenset[int]]:
    """Its columns (MANIFEST), and what its config states (facts, of images only)."""
    parsed = one.parsed
    if parsed is None:
        told = one.media_type[:255]
        size = len(one.raw)
        blank: tuple[Any, ...] = ("", "", size, 0, "", "", "", None, {}, one.raw, one.config, None)
        return (one.digest, told, "unknown", *blank), frozenset()
    config = _image_config(one)
    size = capped(len(one.raw) + sum(own_blobs(one).values()))
    row = (
        one.digest,
        parsed.media_type[:255] or one.media_type[:255],
        parsed.kind,
        parsed.artifact_type[:255],
        parsed.subject,
        size,
        len(parsed.layers),
        config.os[:64] if config else "",
        config.architecture[:64] if config else "",
        config.variant[:64] if config else "",
        config.created if config else None,
        dict(parsed.annotations),
        one.raw,
        one.config,
        expiry.stated(parsed.annotations, config.labels if config else {}),
    )
    return row, facts(config) if config else frozenset()


def _image_config(one: NewManifest) -> ImageConfig | None:
    """The config of an image; None for anything else and for one that cannot be read."""
    if not one.config or one.parsed is None or one.parsed.kind != "image":
        return None
    return _read_config(one.config)


def _read_config(raw: bytes) -> ImageConfig | None:
    try:
        return parse_config(raw, with_history=False)
    except ValueError:
        return None


def facts_of(config: bytes) -> frozenset[int]:
    """What the config of an image states, as `manifest_row` finds it."""
    found = _read_config(config)
    return facts(found) if found else frozenset()


def own_blobs(one: NewManifest) -> dict[str, int]:
    """Size of each blob that lies in the registry, config and layers; not of foreign ones."""
    parsed, stored = one.parsed, one.stored
    if parsed is None:
        return {}
    every = [*([parsed.config] if parsed.config else []), *parsed.layer_blobs]
    return {stored.get(blob.digest, blob.digest): blob.size for blob in every if not blob.urls}


def edges(one: NewManifest) -> list[Edge]:
    """Every blob that it names: the config first, then the layers from the base up."""
    parsed, stored, absent = one.parsed, one.stored, one.absent or ()
    if parsed is None:
        return []
    own = [("config", parsed.config, 0)] if parsed.config else []
    layers = [("layer", blob, position) for position, blob in enumerate(parsed.layer_blobs)]
    found = []
    for role, blob, position in [*own, *layers]:
        digest = stored.get(blob.digest, blob.digest)
        size = 0 if blob.urls or digest in absent else capped(blob.size)
        found.append(Edge(role, position, digest, size, blob.media_type[:255]))
    return found


def entry_digests(one: NewManifest) -> list[str]:
    """What the lines of an image index name, in their order."""
    entries = one.parsed.entries if one.parsed else ()
    return [one.stored.get(entry.digest, entry.digest) for entry in entries]


def entry_rows(one: NewManifest) -> list[tuple[Any, ...]]:
    """The lines of an image index (ENTRY); those of a cache are its layers, and no entries."""
    parsed = one.parsed
    if parsed is None or parsed.kind == "cache":
        return []
    rows = []
    digests = entry_digests(one)
    for position, entry in enumerate(parsed.entries):
        on = entry.platform
        platform = (on.os[:64], on.architecture[:64], on.variant[:64]) if on else ("", "", "")
        size = capped(entry.size)
        told = entry.media_type[:255]
        rows.append((position, digests[position], told, size, *platform, dict(entry.annotations)))
    return rows


def image_index_size(raw_length: int, listed: Iterable[Child]) -> int:
    """Its own bytes and those of its children, every blob once. Nested ones add their own size."""
    held: dict[Any, int] = {}
    total = raw_length
    for child in listed:
        if child.kind == "image index":
            total += child.size
        else:
            total += max(child.size - sum(child.blobs.values()), 0)  # the child manifest itself
            held |= child.blobs
    return capped(total + sum(held.values()))


def image_index_expiry(listed: Iterable[Child]) -> int | None:
    """After how many seconds an image index expires that states nothing itself: as the last of its
    images, if each of them states it. What BuildKit attaches to them is for no platform."""
    images = [
        one.expires_after
        for one in listed
        if one.kind in ("image", "image index") and one.os != "unknown"
    ]
    found = [one for one in images if one is not None]
    return max(found) if found and len(found) == len(images) else None


def group_keys(tags: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """For (tag, digest): the highest version_key of the tags on each digest."""
    highest: dict[str, bytes] = {}
    for tag, digest in tags:
        highest[digest] = max(highest.get(digest, b""), names.version_key(tag))
    return highest


def inside_first(listed: Mapping[str, Sequence[str]]) -> list[str]:
    """The image indexes of `listed` (each with the digests that it lists), nested ones first."""
    order: dict[str, None] = {}
    for start in listed:
        path = [start]
        on_path = {start}
        while path:
            top = path[-1]
            below = [
                one
                for one in listed[top]
                if one in listed and one not in order and one not in on_path
            ]
            if below:
                path.append(below[0])
                on_path.add(below[0])
            else:
                order.setdefault(top)
                path.pop()
    return list(order)


def capped(size: int) -> int:
    """`size` as far as a column can hold it."""
    return min(size, LARGEST)
