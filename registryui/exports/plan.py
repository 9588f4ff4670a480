"""All that chosen tags need, in the order of the archive, less what other archives have.

Manifests are read from the index, which has their bytes; the registry is asked once for each blob,
because half an image is no image: a tag that is not complete is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from registryui.index.contents import NESTING_LIMIT
from registryui.models import Manifest
from registryui.oci import manifest as oci
from registryui.oci import media_types
from registryui.registry.client import RegistryClient
from registryui.registry.source import Stored

from .select import Chosen

AT_ONCE = 8  # questions to the registry
_OLD_DOCKER = "linux/amd64"  # what manifest.json names of an image index

Has = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of index.json."""

    repository: str
    tag: str  # "": a manifest that refers to another one
    digest: str
    media_type: str
    size: int  # bytes of the manifest
    image: tuple[str, ...] = ()  # config and layers, of an image that an old Docker can load


@dataclass(frozen=True, slots=True)
class Content:
    """A file below blobs/ in the archive."""

    digest: str
    size: int  # bytes
    repository: str  # where the registry has it
    is_manifest: bool = False


@dataclass(slots=True)
class Plan:
    """What an archive will hold."""

    entries: list[Entry] = field(default_factory=list)
    contents: dict[str, Content] = field(default_factory=dict)  # by digest, in order
    skipped: list[Chosen] = field(default_factory=list)  # each with its problem
    elsewhere: dict[str, int] = field(default_factory=dict)  # sizes of what another archive has

    @property
    def tags(self) -> int:
        """How many are exported."""
        return sum(bool(one.tag) for one in self.entries)

    @property
    def bytes(self) -> int:
        """Of all content."""
        return sum(one.size for one in self.contents.values())


def plan(
    chosen: Sequence[Chosen],
    client: RegistryClient,
    *,
    has: Has | None = None,
    beat: Callable[[int], None] | None = None,
) -> Plan:
    """What an archive with these has. `has`: whether another archive has that blob; manifests are
    always in it, so that whoever imports it can say what is missing. `beat` is told how many of
    them are read. RegistryError: the registry does not answer."""
    found = Plan()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reading = _Reading(client, pool, found, has or (lambda digest: False))
        for count, one in enumerate(chosen, 1):
            try:
                reading.add(one)
            except _NotComplete as error:
                found.skipped.append(replace(one, problem=str(error)))
            if beat:
                beat(count)
    return found


def manifest(client: RegistryClient, repository: str, digest: str) -> Stored | None:
    """A manifest from the index, else from the registry; None: it is not there."""
    rows = Manifest.objects.filter(repository__name=repository, digest=digest)
    if row := rows.values_list("media_type", "raw").first():
        return Stored(digest, row[0], bytes(row[1]))
    return client.manifest(repository, digest)


class _NotComplete(Exception):
    """Why a tag is left out."""


@dataclass(slots=True)
class _Reading:
    client: RegistryClient
    pool: ThreadPoolExecutor
    plan: Plan
    has: Has

    def add(self, one: Chosen) -> None:
        """Adds a tag with all that it needs to the plan, or nothing. _NotComplete."""
        if one.problem:
            raise _NotComplete(one.problem)
        contents: dict[str, Content] = {}
        elsewhere: dict[str, int] = {}
        stored, parsed = self._manifest(one.repository, one.digest)
        image = self._add_manifest(one.repository, stored, parsed, contents, elsewhere)
        self.plan.contents.update(contents)
        self.plan.elsewhere.update(elsewhere)
        self.plan.entries.append(
            Entry(
                one.repository,
                one.tag,
                one.digest,
                parsed.media_type,
                len(stored.raw),
                image if one.tag else (),
            )
        )

    def _manifest(self, repository: str, digest: str) -> tuple[Stored, oci.Manifest]:
        stored = manifest(self.client, repository, digest)
        if stored is None:
            raise _NotComplete(f"the manifest {digest} is missing")
        try:
            parsed = oci.parse_manifest(stored.raw, stored.media_type)
        except ValueError as error:
            raise _NotComplete(f"its manifest cannot be read ({error})") from error
        if parsed.kind == "unknown" or media_types.is_schema1(parsed.media_type):
            raise _NotComplete(
                f"an OCI archive cannot hold its format ({media_types.words(parsed.media_type)})"
            )
        return stored, parsed

    def _add_manifest(
        self,
        repository: str,
        stored: Stored,
        parsed: oci.Manifest,
        contents: dict[str, Content],
        elsewhere: dict[str, int],
        depth: int = NESTING_LIMIT,
    ) -> tuple[str, ...]:
        """Adds a manifest and what it names; returns what an old Docker loads of it."""
        if not depth:
            raise _NotComplete("its image indexes are nested too deeply")
        contents[stored.digest] = Content(stored.digest, len(stored.raw), repository, True)
        images: dict[str, tuple[str, ...]] = {}
        blobs = [*filter(None, [parsed.config]), *parsed.layers]
        for entry in parsed.entries:
            if not media_types.is_manifest(entry.media_type):
                blobs.append(entry)
            elif entry.digest not in contents:
                child = self._manifest(repository, entry.digest)
                images[str(entry.platform)] = self._add_manifest(
                    repository, *child, contents, elsewhere, depth - 1
                )
        self._add_blobs(repository, blobs, contents, elsewhere)
        if parsed.kind == "image" and parsed.config:
            return (parsed.config.digest, *(one.digest for one in parsed.layers))
        return images.get(_OLD_DOCKER) or next(filter(None, images.values()), ())

    def _add_blobs(
        self,
        repository: str,
        blobs: Sequence[oci.Descriptor],
        contents: dict[str, Content],
        elsewhere: dict[str, int],
    ) -> None:
        fresh = []
        for blob in {one.digest: one for one in blobs}.values():
            if known := self.plan.contents.get(blob.digest):
                contents[blob.digest] = known
            elif self.has(blob.digest):
                elsewhere[blob.digest] = blob.size
            elif blob.digest not in contents:
                fresh.append(blob)
        sizes = self.pool.map(lambda one: self.client.blob_size(repository, one.digest), fresh)
        for blob, size in zip(fresh, sizes, strict=True):
            if size is None and blob.is_foreign:
                continue
            if size is None:
                raise _NotComplete(f"the blob {blob.digest} is missing")
            if size not in (-1, blob.size):
                raise _NotComplete(
                    f"the blob {blob.digest} has {size} bytes, and its manifest says {blob.size}"
                )
            contents[blob.digest] = Content(blob.digest, blob.size, repository)
