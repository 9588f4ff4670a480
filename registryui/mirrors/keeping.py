"""Deletes what nobody pulls through a mirror any more.

    by last pull   what was not pulled for `keep_days`
    by size        the least recently pulled, until the rest needs at most `keep_bytes`

These are tags, and manifests that were pulled by their digest alone (models/mirrored.py). Pinned
and protected tags stay. There is no undo: who wants a tag again pulls it. Its folder is moved into
the quarantine. Garbage collection then frees what no tag needs, which knows what is shared, and
restores what a pull needs again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from registryui import audit
from registryui.chunks import chunks
from registryui.deletion.protection import protections
from registryui.graph import closure
from registryui.index import ingest
from registryui.index.fetch import TagProbe
from registryui.models import (
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Mirror,
    NamespaceSize,
    Tag,
)
from registryui.models.mirrored import PULLED_ALONE
from registryui.oci import patterns
from registryui.registry import choose, paths
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.quarantine import Quarantine
from registryui.registry.storage import FileStore
from registryui.registry.storages import of_settings

log = logging.getLogger(__name__)

RECENT = timedelta(hours=1)  # what was pulled since is not deleted, whatever the size
TOGETHER = 200  # images whose blobs are read at once
NAMED = 1000  # tags that the row of the audit log names
EVICTED = "evicted"  # Quarantined.run


@dataclass(frozen=True, slots=True)
class Root:
    """A manifest that tags keep, or that is kept because it was pulled by its digest alone."""

    id: int
    repository: str
    digest: str
    tags: tuple[str, ...]  # (): pulled alone
    used_at: datetime  # the last pull of it or of what it lists; at least when it came
    is_pinned: bool


@dataclass(slots=True)
class Evicted:
    """What a run deleted."""

    tags: list[str] = field(default_factory=list)  # REPOSITORY:TAG
    digests: list[str] = field(default_factory=list)  # REPOSITORY@DIGEST


def evict_all() -> list[str]:
    """Deletes from each mirror what it need not keep; the names of those where that was something.
    One query if no mirror has a limit. Refused: the store cannot be written from here."""
    found = []
    for row in Mirror.objects.exclude(keep_days=None, keep_bytes=None):
        done = evict(row)
        if done.tags or done.digests:
            found.append(row.name)
    return found


def evict(row: Mirror) -> Evicted:
    """One mirror. Refused as above; RegistryError: the store does not answer."""
    done, going = Evicted(), superfluous(row)
    if not going:
        return done
    store, quarantine = choose.open_store(of_settings()), choose.open_quarantine()
    by_repository: dict[str, list[Root]] = defaultdict(list)
    for root in going:
        by_repository[root.repository].append(root)
    try:
        for name, roots in by_repository.items():
            for some in chunks(roots, TOGETHER):
                _evict(store, quarantine, name, some, done)
    finally:
        if done.tags or done.digests:
            details = {
                "tags": len(done.tags),
                "digests": len(done.digests),
                "names": [*done.tags, *done.digests][:NAMED],
            }
            audit.record("mirror.evict", row.name, by="schedule", details=details)
            log.info("%s: evicted %d tags", row.name, len(done.tags))
    return done


def superfluous(row: Mirror) -> list[Root]:
    """What the mirror need not keep, the least recently pulled first."""
    if not _may_be_too_much(row):
        return []
    here = _Content(row)
    roots = sorted(here.roots(), key=lambda one: (one.is_pinned, one.used_at), reverse=True)
    stays = roots
    if row.keep_days:
        since = timezone.now() - timedelta(days=row.keep_days)
        stays = [one for one in roots if one.is_pinned or one.used_at >= since]
    if row.keep_bytes:
        count = here.fitting(stays, row.keep_bytes)
        recent = timezone.now() - RECENT
        stays = [
            one
            for place, one in enumerate(stays)
            if place < count or one.is_pinned or one.used_at >= recent
        ]
    kept = {one.id for one in stays}
    return [one for one in reversed(roots) if one.id not in kept]


def _may_be_too_much(row: Mirror) -> bool:
    """False saves reading what the mirror has. Sizes are as old as their last measurement, and what
    waits for garbage collection counts."""
    if row.keep_days:
        return True
    return NamespaceSize.objects.filter(namespace=row.name, size__gt=row.keep_bytes).exists()


def is_pinned(row: Mirror) -> Callable[[str, str], bool]:
    """Whether a pin names a tag: its repository, without the mirror's name, and the tag."""
    rules = []
    for line in row.pins.split():
        repository, _colon, tag = line.partition(":")
        rules.append((patterns.matcher(_upstream(row, repository)), patterns.matcher(tag)))
    return lambda rest, tag: any(
        of_name(_upstream(row, rest)) and of_tag(tag) for of_name, of_tag in rules
    )


def _upstream(row: Mirror, rest: str) -> str:
    """The upstream's name of a repository, or pattern of names."""
    is_short = row.is_library and "/" not in rest and rest != "*"
    return f"library/{rest}" if is_short else rest


class _Content:
    """What a mirror has, by the index: manifests by id. A handful of queries."""

    def __init__(self, row: Mirror) -> None:
        self._row = row
        self._below: dict[int, set[int]] = defaultdict(set)
        self._pulled: dict[int, datetime] = {}
        by_digest: dict[tuple[int, str], int] = {}
        subjects: list[tuple[int, int, str]] = []
        manifests = Manifest.objects.filter(repository__namespace=row.name).order_by()
        for id, repository, digest, subject, pulled_at in manifests.values_list(
            "pk", "repository_id", "digest", "subject_digest", "pulled_at"
        ).iterator():
            self._pulled[id] = pulled_at
            by_digest[repository, digest] = id
            if subject:
                subjects.append((id, repository, subject))
        entries = ImageIndexEntry.objects.filter(image_index__repository__namespace=row.name)
        for id, repository, digest in (
            entries.order_by()
            .values_list("image_index_id", "image_index__repository_id", "digest")
            .iterator()
        ):
            if child := by_digest.get((repository, digest)):
                self._below[id].add(child)
        for id, repository, subject in subjects:
            if image := by_digest.get((repository, subject)):
                self._below[image].add(id)
        referrers = self._tags().exclude(refers_to="").exclude(manifest=None)
        for id, repository, image_digest in referrers.values_list(
            "manifest_id", "repository_id", "refers_to"
        ):
            if id and (image := by_digest.get((repository, image_digest))):
                self._below[image].add(id)

    def _tags(self) -> QuerySet[Tag]:
        return Tag.objects.filter(repository__namespace=self._row.name).order_by()

    def roots(self) -> Iterator[Root]:
        """All that is kept for itself."""
        pinned, rules = is_pinned(self._row), protections()
        tags: dict[int, list[str]] = defaultdict(list)
        tagged_at: dict[int, datetime] = {}
        rows = self._tags().filter(refers_to="").exclude(manifest=None)
        for id, tag, at in rows.values_list("manifest_id", "name", "tagged_at"):
            tags[id].append(tag)
            tagged_at[id] = max(at, tagged_at.get(id, at))
        manifests = Manifest.objects.filter(repository__namespace=self._row.name)
        kept = manifests.filter(Q(PULLED_ALONE) | Q(untagged_at=None)).order_by()
        for id, name, digest, seen_at, untagged_at in kept.values_list(
            *("pk", "repository__name", "digest", "seen_at", "untagged_at")
        ).iterator():
            if untagged_at is None and id not in tags:  # a referrer tag is on it
                continue
            names, rest = tags[id], name.partition("/")[2]
            used_at = max(
                seen_at, tagged_at.get(id, seen_at), *(self._pulled[one] for one in self.all_of(id))
            )
            is_kept = any(pinned(rest, one) or rules.of(name, one) for one in names)
            yield Root(id, name, digest, tuple(names), used_at, is_kept)

    def all_of(self, *ids: int) -> set[int]:
        """These manifests and what they keep."""
        return closure(ids, lambda level: (one for at in level for one in self._below.get(at, ())))

    def fitting(self, roots: Sequence[Root], most: int) -> int:
        """How many of these, from the first on, need at most so many bytes. Every blob once."""
        seen: set[int] = set()
        total = 0
        for start in range(0, len(roots), TOGETHER):
            some = roots[start : start + TOGETHER]
            every = {one.id: self.all_of(one.id) for one in some}
            blobs = self._blobs({id for ids in every.values() for id in ids})
            for place, root in enumerate(some, start):
                for id in every[root.id]:
                    fresh = blobs[id].keys() - seen
                    total += sum(blobs[id][blob] for blob in fresh)
                    seen |= fresh
                if total > most:
                    return place
        return len(roots)

    def _blobs(self, ids: Iterable[int]) -> dict[int, dict[int, int]]:
        """Of each of these manifests its blobs with their size."""
        found: dict[int, dict[int, int]] = defaultdict(dict)
        for some in chunks(sorted(ids)):
            edges = ManifestBlob.objects.filter(manifest__in=some).order_by()
            for id, blob, size in edges.values_list("manifest_id", "blob_id", "blob__size"):
                found[id][blob] = size
        return found


def _evict(
    store: FileStore, quarantine: Quarantine, name: str, roots: Sequence[Root], done: Evicted
) -> None:
    """Deletes these of one repository, those that are still what they were."""
    wanted = {tag: root.digest for root in roots for tag in root.tags}
    images = [root.digest for root in roots if root.tags]
    referrers = Tag.objects.filter(repository__name=name, refers_to__in=images)
    for tag, digest in referrers.exclude(manifest=None).values_list("name", "manifest__digest"):
        wanted[tag] = digest or ""
    by_path = {paths.tag(name, tag): tag for tag in sorted(wanted)}

    def may_go(path: str) -> bool:
        return _digest(store, name, by_path[path]) == wanted[by_path[path]]

    gone = quarantine.add(list(by_path), run=EVICTED, may_go=may_go) if by_path else []
    tags = [by_path[one.path] for one in gone]
    probes = [TagProbe(tag, wanted[tag], "", is_gone=True) for tag in tags]
    skipped = ingest.save(name, probes, []).skipped if probes else ()
    for one in gone:  # it is on another digest since
        if by_path[one.path] in skipped:
            quarantine.restore(one)
    done.tags += [f"{name}:{tag}" for tag in tags if tag not in skipped]
    alone = [root.digest for root in roots if not root.tags]
    ingest.let_go(name, alone)
    done.digests += [f"{name}@{digest}" for digest in alone]


def _digest(store: FileStore, name: str, tag: str) -> str:
    try:
        return store.resolve(name, tag) or ""
    except NotFound:
        return ""
    except RegistryError as error:
        if error.temporary:
            raise
        return ""
