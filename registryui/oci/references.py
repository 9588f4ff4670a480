"""The content that a manifest references, which must be kept with it. Called by deletion/ and gc/.

Rather too much than too little. Programs in Go accept a key in any case ("Layers"), and of
duplicate keys parts of both; such a manifest keeps every digest in its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import media_types
from .digest import DIGEST, is_digest

_ANY = re.compile(DIGEST.encode())
_LISTS = {"layers": "digest", "blobs": "digest", "fsLayers": "blobSum", "manifests": "digest"}
_KEYS = ("config", *_LISTS)
_FOLDED = {key.casefold() for key in (*_KEYS, "digest", "blobSum")}
_EXACT = frozenset((*_KEYS, "digest", "blobSum"))


@dataclass(frozen=True, slots=True)
class References:
    """Digests that a manifest references."""

    blobs: tuple[str, ...] = ()  # config, layers, and what an image index lists that may be none
    manifests: tuple[str, ...] = ()  # what an image index lists
    # Named in a place that should not be: they may be manifests, or not be there at all.
    others: tuple[str, ...] = ()

    @property
    def digests(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.blobs, *self.manifests, *self.others)


def references(raw: bytes) -> References:
    """The references of a manifest; of other text every digest in it, as `others`."""
    try:
        found = json.loads(raw)
        parts = list(_parts(raw, found))
    except (ValueError, RecursionError):
        return References(others=_all(raw))
    blobs = tuple(digest for digest, is_manifest in parts if not is_manifest)
    return References(blobs, tuple(digest for digest, is_manifest in parts if is_manifest))


def _parts(raw: bytes, found: Any) -> Iterator[tuple[str, bool]]:
    """Each digest, and whether it is a manifest's. ValueError: not sure."""
    if not isinstance(found, dict) or _is_ambiguous(found) or not _EXACT.intersection(found):
        raise ValueError("no manifest")
    if any(raw.count(f'"{key}"'.encode()) > 1 for key in ("layers", "manifests", "fsLayers")):
        raise ValueError("the same key twice")
    if found.get("config") is not None:
        yield _digest(found["config"], "digest"), False
    for key, name in _LISTS.items():
        items = found.get(key) or []
        if not isinstance(items, list):
            raise ValueError("no list")
        for item in items:
            digest = _digest(item, name)
            yield digest, key == "manifests" and _may_be_manifest(item.get("mediaType"))


def _digest(item: Any, name: str) -> str:
    if not isinstance(item, dict) or _is_ambiguous(item):
        raise ValueError("no descriptor")
    digest = item.get(name)
    if not isinstance(digest, str) or not is_digest(digest):
        raise ValueError("no digest")
    return digest


def _is_ambiguous(item: dict[str, Any]) -> bool:
    return any(key not in _EXACT and key.casefold() in _FOLDED for key in item)


def _may_be_manifest(media_type: object) -> bool:
    return not isinstance(media_type, str) or not media_type or media_types.is_manifest(media_type)


def _all(raw: bytes) -> tuple[str, ...]:
    return tuple(sorted({one.decode() for one in _ANY.findall(raw)}))
