"""What was read of a manifest, before it becomes rows.

No Django and no tables here: the processes that read a store for the first build (reading.py)
start quicker without them. fetch.py fills the same record over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from registryui.oci import manifest as oci
from registryui.oci import media_types
from registryui.oci.digest import is_canonical
from registryui.registry.source import Source

CONFIG_LIMIT = 1024 * 1024  # bytes; a real image's config has some thousand
_FIRST = datetime(2013, 1, 1, tzinfo=UTC)  # no registry pushed before: a clock that was not set
NESTING_LIMIT = 8  # image indexes within image indexes


@dataclass(frozen=True, slots=True)
class NewManifest:
    """A manifest that the repository's index lacks, with its config if it has one we can show."""

    digest: str
    media_type: str
    raw: bytes
    parsed: oci.Manifest | None  # None: the bytes are no manifest
    config: bytes | None = None
    missing: tuple[str, ...] = ()  # digests that it names and the registry does not have
    # Of digests that it names and that are no sha256: what they are stored under. Rows name content
    # by that alone, so that one blob with two names is one blob.
    stored: Mapping[str, str] = field(default_factory=dict)
    # Of a mirrored repository: blobs that it names, by what they are stored under, and that were
    # not pulled yet. None: any other repository, where that is a case for `missing`.
    absent: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TagUpdate:
    """When a tag was set on this digest, and by whom; "" where only an event could know."""

    digest: str
    at: datetime
    by: str
    is_restored: bool = False  # after a delete: its expiry, which may be over, counts no more


def label_expiry(tagged_at: datetime, expires_after: int | None) -> datetime | None:
    """When a tag expires by the label of its image: counted from its push. None: it has none, or
    its push time is not known."""
    if expires_after is None or tagged_at < _FIRST:
        return None
    return tagged_at + timedelta(seconds=expires_after)


def children(one: NewManifest) -> Sequence[str]:
    """Digests of the manifests that an image index lists; a cache's entries are layers."""
    if one.parsed is None:
        return ()
    return [
        one.stored.get(entry.digest, entry.digest)
        for entry in one.parsed.entries
        if media_types.is_manifest(entry.media_type)
    ]


def resolved(source: Source, repository: str, some: Iterable[NewManifest]) -> list[NewManifest]:
    """These manifests with `stored`. Nobody is asked if all that they name is sha256."""
    found = []
    for one in some:
        others = _named_otherwise(one.parsed)
        stored = source.stored_as(repository, others) if others else None
        found.append(replace(one, stored=stored) if stored else one)
    return found


def _named_otherwise(manifest: oci.Manifest | None) -> list[str]:
    if manifest is None:
        return []
    config = (manifest.config,) if manifest.config else ()
    every = (*config, *manifest.layers, *manifest.entries)
    return [one.digest for one in every if not is_canonical(one.digest) and not one.urls]


def config_of(manifest: oci.Manifest | None) -> str:
    """Digest of a config that is JSON and small enough to keep, else ""."""
    config = manifest.config if manifest else None
    if config is None or config.size > CONFIG_LIMIT or "json" not in config.media_type:
        return ""
    return config.digest
