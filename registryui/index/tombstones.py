"""Tombstones: what undo must know of a tag when it leaves its digest.

A delete notes them before it acts (deletion/execute.py), ingest.py when a known tag is found on
another digest, client_deletes.py when a client deleted it, events.py for what a push set
and the index never saw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from registryui.models import (
    UNKNOWN,
    Manifest,
    ManifestTombstone,
    RegistryEvent,
    Tag,
    TagTombstone,
)
from registryui.oci import names


def kept_until(at: datetime) -> datetime:
    """When undo of what happened at that moment ends."""
    return at + timedelta(days=settings.UNDO_DAYS)


def row(tag: Tag) -> TagTombstone:
    """What the tag is now, not written yet: how, by whom and when it ends is for the caller."""
    manifest = tag.manifest
    return TagTombstone(
        repository=tag.repository.name,
        tag=tag.name,
        digest=manifest.digest if manifest else "",
        media_type=manifest.media_type if manifest else "",
        size=tag.size,
        refers_to=tag.refers_to,
        tagged_at=tag.tagged_at,
        tagged_by=tag.tagged_by,
    )


def overwritten(left: TagTombstone, *, at: datetime, by: str) -> TagTombstone:
    """The row of a tag that is on another digest since `at`; UNKNOWN: since some time ago."""
    left.how = TagTombstone.How.OVERWRITTEN
    left.at = at if at > UNKNOWN else timezone.now()
    left.by = by
    left.keep_until = kept_until(left.at)
    return left


def note(rows: Sequence[TagTombstone]) -> None:
    """Writes those that can be restored still. One query, none without rows."""
    now = timezone.now()
    wanted = [one for one in rows if one.keep_until > now]
    if wanted:
        TagTombstone.objects.bulk_create(wanted)


def note_passed(
    repository: str, pushes: Sequence[RegistryEvent], events: Sequence[RegistryEvent]
) -> None:
    """Notes tags that these pushes set and that the index never had so: another push, or a delete,
    came before the probe; `events` may say which one. Only what we have the manifest of can be
    restored.

    Three or four queries.
    """
    tags, digests = {one.tag for one in pushes}, {one.digest for one in pushes}
    columns = ("digest", "media_type", "size")
    buried = ManifestTombstone.objects.filter(repository=repository, digest__in=digests)
    here = Manifest.objects.filter(repository__name=repository, digest__in=digests)
    known = {
        digest: (media_type, size)
        for rows in (buried, here)
        for digest, media_type, size in rows.values_list(*columns)
    }
    rows = TagTombstone.objects.filter(repository=repository, tag__in=tags, digest__in=digests)
    noted: dict[tuple[str, str], datetime] = {}
    for tag, digest, at in rows.order_by("at").values_list("tag", "digest", "at"):
        noted[tag, digest] = at
    ends: dict[str, list[RegistryEvent]] = defaultdict(list)
    for event in events:
        if not event.is_ours:
            ends[event.tag or event.digest].append(event)
    found: dict[tuple[str, str], TagTombstone] = {}
    for one in sorted(pushes, key=lambda event: event.at):
        key = one.tag, one.digest
        if one.digest in known and noted.get(key, UNKNOWN) < one.at:
            end = _end(one, [*ends[one.tag], *ends[one.digest]])
            found[key] = _passed(one, end, *known[one.digest])
    note(list(found.values()))


def _end(push: RegistryEvent, events: Sequence[RegistryEvent]) -> RegistryEvent | None:
    """The first of these, of its tag or digest, that came later and took the tag off."""
    found = [
        one
        for one in events
        if one.at >= push.at
        and (
            one.action == "delete"
            or (one.action == "push" and one.tag and one.digest != push.digest)
        )
    ]
    return min(found, key=lambda one: one.at, default=None)


def _passed(
    push: RegistryEvent, end: RegistryEvent | None, media_type: str, size: int
) -> TagTombstone:
    left = TagTombstone(
        repository=push.repository,
        tag=push.tag,
        digest=push.digest,
        media_type=media_type,
        size=size,
        refers_to=names.referrer_subject(push.tag),
        tagged_at=push.at,
        tagged_by=push.actor,
    )
    if end is None:
        return overwritten(left, at=timezone.now(), by="")
    left = overwritten(left, at=end.at, by=end.actor)
    if end.action == "delete":
        left.how, left.address = TagTombstone.How.DELETED, end.address
        left.keep_until = kept_until(timezone.now())
    return left
