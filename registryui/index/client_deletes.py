"""What somebody else than the portal deleted: noted for undo before the index forgets it.

    a tag that is gone, or that leads nowhere    a TagTombstone
    a manifest that is gone                      its bytes, a ManifestTombstone; without a tag a
                                                 TagTombstone without one

Who did it and from where is what the registry's event says; where that was missed nobody is known.
ingest.py calls `bury` and `note` in its transactions, events.py `tell` for what it has applied.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Max, Q
from django.utils import timezone

from registryui import audit
from registryui.models import (
    UNKNOWN,
    ImageIndexEntry,
    Manifest,
    ManifestTombstone,
    RegistryEvent,
    Repository,
    Tag,
    TagTombstone,
)
from registryui.oci import throw_away
from registryui.oci.manifest import parse_manifest
from registryui.registry.source import Stored

from . import tombstones
from .rows import capped

SAME_ACT = timedelta(minutes=1)  # the events of one DELETE lie milliseconds apart


def note(repository: str, rows: Sequence[TagTombstone], *, if_event: Collection[str] = ()) -> None:
    """Writes rows of undo for what these tags and manifests were, but for what the portal deleted
    itself. `if_event`: digests that count only if an event tells of their delete.

    A handful of queries, whatever their number. Last in a transaction: it writes the audit log.
    """
    rows = [row for row in rows if row.digest]
    if not rows:
        return
    reported, noted, now = _Reported(repository, rows), _Noted(repository, rows), timezone.now()
    acts: dict[tuple[str, str], str] = defaultdict(lambda: uuid.uuid4().hex)
    wanted, untold = [], []
    for row in rows:
        event = reported.of(row)
        if event is not None and event.is_ours:
            continue
        if event is None and row.digest in if_event:
            continue
        row.at = event.at if event is not None else now
        if noted.has(row, since=reported.since(row), is_reported=event is not None):
            continue
        is_push = event is not None and event.action == "push"
        row.how = TagTombstone.How.OVERWRITTEN if is_push else TagTombstone.How.DELETED
        row.keep_until = tombstones.kept_until(now)
        row.by, row.address = (event.actor, event.address) if event is not None else ("", "")
        row.act = "" if is_push else acts[row.by, row.address]
        wanted.append(row)
        if event is None:
            untold.append(row)
    tombstones.note(wanted)
    if untold:
        audit.record_entries([_entry(one) for one in untold])


class _Reported:
    """What events say of these rows. Four queries."""

    def __init__(self, repository: str, rows: Sequence[TagTombstone]) -> None:
        tags, digests = {row.tag for row in rows} - {""}, {row.digest for row in rows}
        events = RegistryEvent.objects.filter(repository=repository)
        deletes, pushes = events.filter(action="delete"), events.filter(action="push")
        fresh = pushes.filter(tag__in=tags, applied_at=None)  # the index does not know of these
        self._ends: dict[str, list[RegistryEvent]] = defaultdict(list)  # by tag or digest
        for one in (
            deletes.filter(tag__in=tags),
            deletes.filter(digest__in=digests, tag=""),
            fresh,
        ):
            for event in one:
                self._ends[event.tag or event.digest].append(event)
        set_on = pushes.filter(tag__in=tags, digest__in=digests).order_by()
        self._set: dict[tuple[str, str], datetime] = {
            (tag, digest): at
            for tag, digest, at in set_on.values_list("tag", "digest").annotate(at=Max("at"))
        }

    def since(self, row: TagTombstone) -> datetime:
        """When the tag was last set on the digest, as far as that is known."""
        return max(row.tagged_at, self._set.get((row.tag, row.digest), UNKNOWN))

    def of(self, row: TagTombstone) -> RegistryEvent | None:
        """What came first after that: a delete, or a push that took the tag away."""
        every = (
            [*self._ends[row.tag], *self._ends[row.digest]] if row.tag else self._ends[row.digest]
        )
        since = self.since(row)
        later = [
            one
            for one in every
            if one.at >= since and (one.action == "delete" or one.digest != row.digest)
        ]
        return min(later, key=lambda one: one.at, default=None)


class _Noted:
    """What undo keeps already. One query."""

    def __init__(self, repository: str, rows: Sequence[TagTombstone]) -> None:
        kept = TagTombstone.objects.kept(timezone.now()).filter(repository=repository)
        kept = kept.filter(digest__in={row.digest for row in rows})
        self._names: dict[tuple[str, str], datetime] = {}
        self._digests: dict[str, datetime] = {}
        for tag, digest, at in kept.order_by("at").values_list("tag", "digest", "at"):
            self._names[tag, digest] = self._digests[digest] = at

    def has(self, row: TagTombstone, *, since: datetime, is_reported: bool) -> bool:
        """Whether this very delete is noted; of a manifest without a tag, under any name."""
        if row.tag:
            at = self._names.get((row.tag, row.digest))
            return at is not None and at >= since
        at = self._digests.get(row.digest)
        return at is not None and (not is_reported or at >= row.at - SAME_ACT)


def _entry(row: TagTombstone) -> audit.Entry:
    """What the audit log says of a delete that only its result tells of."""
    act = "client.delete" if row.tag else "client.delete_manifest"
    details = {"digest": row.digest, "told": False}
    return audit.Entry(act, _name(row.repository, row.tag, row.digest), "", details=details)


def _name(repository: str, tag: str, digest: str) -> str:
    return f"{repository}:{tag}" if tag else f"{repository}@{digest}"


# -- manifests -------------------------------------------------------------------------------------


def bury(
    repository: Repository, keys: Sequence[int], digests: Collection[str]
) -> tuple[list[TagTombstone], set[str]]:
    """Keeps the bytes of these manifests (ids), whose rows are about to go with all `digests`.

    Returns what to `note`, and which digests of that only if an event tells of them: a manifest
    without a tag, that no image index lists, is missed by nobody.
    """
    rows = Manifest.objects.filter(pk__in=keys).exclude(artifact_type=throw_away.ARTIFACT_TYPE)
    manifests = list(rows.defer("config", "annotations"))
    keep(
        repository.name,
        [(Stored(one.digest, one.media_type, bytes(one.raw)), one.size) for one in manifests],
    )
    by_key = {one.pk: one for one in manifests}
    lost = []
    for tag in Tag.objects.filter(manifest__in=by_key):
        tag.repository, tag.manifest = repository, by_key[tag.manifest_id or 0]
        lost.append(tombstones.row(tag))
    tagged = {one.digest for one in lost}
    untagged = [one for one in manifests if one.digest not in tagged]
    entries = ImageIndexEntry.objects.filter(
        digest__in=[one.digest for one in untagged], image_index__repository=repository
    ).order_by()
    missed = {
        child
        for child, index in entries.values_list("digest", "image_index__digest")
        if index not in digests
    }
    lost += [
        TagTombstone(
            repository=repository.name,
            digest=one.digest,
            media_type=one.media_type,
            size=one.size,
            tagged_at=one.pushed_at,
            tagged_by=one.pushed_by,
        )
        for one in untagged
    ]
    return lost, {one.digest for one in untagged} - missed


def keep(repository: str, some: Iterable[tuple[Stored, int]]) -> None:
    """Writes down these manifests, each with its size, for as long as undo may want them."""
    wanted = list(some)
    if not wanted:
        return
    now = timezone.now()
    kept = TagTombstone.objects.kept(now).filter(repository=repository)
    longest = kept.aggregate(at=Max("keep_until"))["at"] or now
    until = max(tombstones.kept_until(now), longest)
    ManifestTombstone.objects.bulk_create(
        (
            ManifestTombstone(
                repository=repository,
                digest=one.digest,
                media_type=one.media_type,
                size=size,
                raw=one.raw,
                keep_until=until,
            )
            for one, size in wanted
        ),
        batch_size=500,
        update_conflicts=True,
        unique_fields=["repository", "digest"],
        update_fields=["keep_until"],
    )


def size_of(one: Stored) -> int:
    """Of a manifest that never had a row: its bytes, and what it says of its config and layers."""
    try:
        parsed = parse_manifest(one.raw, one.media_type)
    except ValueError:
        return len(one.raw)
    parts = (*((parsed.config,) if parsed.config else ()), *parsed.layers)
    return capped(len(one.raw) + sum(part.size for part in parts))


def stored(repository: str, digests: Collection[str]) -> dict[str, Stored]:
    """The bytes that are kept of these manifests."""
    rows = ManifestTombstone.objects.filter(repository=repository, digest__in=digests)
    return {row.digest: Stored(row.digest, row.media_type, bytes(row.raw)) for row in rows}


def prune() -> int:
    """Forgets bytes that no undo wants any more."""
    return ManifestTombstone.objects.filter(keep_until__lt=timezone.now()).delete()[0]


# -- what events tell ------------------------------------------------------------------------------


def tell(events: Iterable[RegistryEvent]) -> None:
    """Writes into the audit log what clients deleted, by these events that were just applied; gives
    each event of a tag the digest that it had, and rows of undo the name that they lack. Last in a
    transaction. A handful of queries for each repository."""
    by_repository: dict[str, list[RegistryEvent]] = defaultdict(list)
    for event in events:
        if event.action == "delete" and not event.is_ours:
            by_repository[event.repository].append(event)
    entries: list[audit.Entry] = []
    for repository, some in by_repository.items():
        _join(repository, some)
        manifests = _manifests(repository, {one.digest for one in some if not one.tag})
        entries += [_reported_entry(one, manifests) for one in some]
    if entries:
        audit.record_entries(entries)


def _join(repository: str, events: Sequence[RegistryEvent]) -> None:
    """Events of tags learn their digest from undo, undo learns from events who it was."""
    first = min(one.at for one in events) - SAME_ACT
    rows = TagTombstone.objects.filter(
        Q(tag__in={one.tag for one in events} - {""})
        | Q(digest__in={one.digest for one in events if not one.tag}),
        repository=repository,
        how=TagTombstone.How.DELETED,
        at__gte=first,
    )
    by_tag: dict[str, TagTombstone] = {}
    by_digest: dict[str, list[TagTombstone]] = defaultdict(list)
    for row in rows.order_by("at"):
        by_tag[row.tag] = row
        by_digest[row.digest].append(row)
    named, filled = [], []
    for event in events:
        found = [by_tag[event.tag]] if event.tag in by_tag and event.tag else []
        found += by_digest[event.digest] if not event.tag else []
        for row in found:
            if row.at < event.at - SAME_ACT:
                continue
            if event.tag and not event.digest:
                event.digest = row.digest
                filled.append(event)
            if not row.by and not row.address:
                row.by, row.address = event.actor, event.address
                named.append(row)
    RegistryEvent.objects.bulk_update(filled, ["digest"], batch_size=200)
    TagTombstone.objects.bulk_update(named, ["by", "address"], batch_size=200)


def _manifests(repository: str, digests: set[str]) -> set[str]:
    """Those of these digests that were manifests: events of blobs look the same."""
    if not digests:
        return set()
    where = {"repository": repository, "digest__in": digests}
    pushes = RegistryEvent.objects.filter(action="push", **where)
    return {
        *ManifestTombstone.objects.filter(**where).values_list("digest", flat=True),
        *TagTombstone.objects.filter(**where).values_list("digest", flat=True),
        *pushes.order_by().values_list("digest", flat=True).distinct(),
        *Manifest.objects.filter(repository__name=repository, digest__in=digests).values_list(
            "digest", flat=True
        ),
    }


def _reported_entry(event: RegistryEvent, manifests: Collection[str]) -> audit.Entry:
    act = "client.delete_manifest" if event.digest in manifests else "client.delete_blob"
    return audit.Entry(
        "client.delete" if event.tag else act,
        _name(event.repository, event.tag, event.digest),
        event.actor,
        details={
            "digest": event.digest,
            "client": event.client,
            "at": event.at.isoformat(timespec="seconds"),
        },
        address=event.address,
    )
