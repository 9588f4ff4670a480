"""The only writer of the index: repositories, tags, manifests, blobs and the edges between them.

Each function is one transaction. The registry is the truth: what is passed in was just looked at.
A tag is written only if the index still has what it had when we looked (compare and set), so that
a slow sync cannot put back what an event has changed since; it is looked at again next time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Sum
from django.utils import timezone

from registryui.models import (
    UNKNOWN,
    Blob,
    ImageFact,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
)
from registryui.oci import manifest as oci
from registryui.oci import names
from registryui.oci.config import ImageConfig, parse_config
from registryui.oci.facts import facts

from .fetch import Look, NewManifest

LARGEST = 2**62  # bytes; descriptors may claim anything, columns have 64 bits


@dataclass(frozen=True, slots=True)
class Move:
    """Who set a tag, when: known from an event only."""

    digest: str
    at: datetime
    by: str


@dataclass(slots=True)
class Changes:
    """What one save did; `skipped` names tags that changed while we looked."""

    added: int = 0
    moved: int = 0
    removed: int = 0
    manifests: int = 0
    problems: int = 0
    skipped: tuple[str, ...] = ()

    def __iadd__(self, other: Changes) -> Changes:
        for name in ("added", "moved", "removed", "manifests", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@transaction.atomic
def save(
    name: str,
    looks: Sequence[Look],
    manifests: Sequence[NewManifest],
    *,
    moves: Mapping[str, Move] | None = None,
) -> Changes:
    """Writes what was found in one repository; makes the repository if it is new."""
    repository, is_new = Repository.objects.get_or_create(
        name=name, defaults={"namespace": names.namespace_of(name)}
    )
    created = _add_manifests(repository, manifests)
    changes = _set_tags(repository, looks, manifests, moves or {})
    changes.manifests = len(created)
    if is_new or created or changes.added or changes.moved or changes.removed or changes.problems:
        refresh(repository)
    return changes


@transaction.atomic
def drop_repository(name: str) -> int:
    """Forgets a repository that the registry no longer has; returns the number of its tags."""
    repository = Repository.objects.filter(name=name).first()
    if repository is None:
        return 0
    tags = repository.tags.count()
    _forget_edges(Manifest.objects.filter(repository=repository))
    repository.delete()
    return tags


@transaction.atomic
def drop_manifest(name: str, digest: str) -> bool:
    """Forgets a manifest that was deleted by its digest; its tags dangle until looked at."""
    manifest = Manifest.objects.filter(repository__name=name, digest=digest).first()
    if manifest is None:
        return False
    _forget_edges(Manifest.objects.filter(pk=manifest.pk))
    repository = manifest.repository
    manifest.tags.update(problem=Tag.Problem.DANGLING, size=0)
    manifest.delete()
    repository.size = _measure(repository)
    refresh(repository)
    return True


def refresh(repository: Repository) -> None:
    """Brings the repository's own figures up to date and tells open pages that it changed."""
    tags = repository.tags.filter(attached_to="")
    newest = tags.order_by("-moved_at", "-group_key", "-version_key").first()
    repository.tag_count = tags.count()
    repository.manifest_count = repository.manifests.count()
    repository.newest_tag = newest.name if newest else ""
    if newest and newest.moved_at > repository.pushed_at:
        repository.pushed_at, repository.pushed_by = newest.moved_at, newest.moved_by
    repository.changed_at = timezone.now()
    repository.save(
        update_fields=[
            *("tag_count", "manifest_count", "newest_tag", "pushed_at", "pushed_by"),
            *("changed_at", "size"),
        ]
    )


# -- manifests ---------------------------------------------------------------------------------


def _add_manifests(repository: Repository, manifests: Sequence[NewManifest]) -> list[Manifest]:
    """Rows for manifests that the repository lacks, with their blobs, edges and entries."""
    digests = [one.digest for one in manifests]
    have = set(repository.manifests.filter(digest__in=digests).values_list("digest", flat=True))
    fresh = {one.digest: one for one in manifests if one.digest not in have}
    if not fresh:
        return []
    rows = Manifest.objects.bulk_create(_manifest_row(repository, one) for one in fresh.values())
    _add_edges(repository, rows, fresh)
    entries = [
        entry for row in rows for entry in _entry_rows(row, fresh[row.digest].parsed) if entry
    ]
    ImageIndexEntry.objects.bulk_create(entries)
    ImageFact.objects.bulk_create(
        ImageFact(fact=fact, manifest=row)
        for row in rows
        if (config := _config_of(row)) is not None
        for fact in facts(config)
    )
    _size_image_indexes(repository, [row for row in rows if row.kind == Manifest.Kind.IMAGE_INDEX])
    return rows


def _manifest_row(repository: Repository, one: NewManifest) -> Manifest:
    row = Manifest(
        repository=repository,
        digest=one.digest,
        media_type=one.media_type[:255],
        kind=Manifest.Kind.UNKNOWN,
        raw=one.raw,
        config=one.config,
        size=len(one.raw),
        untagged_at=timezone.now(),
    )
    if one.parsed is None:
        return row
    row.kind = one.parsed.kind
    row.media_type = one.parsed.media_type[:255] or row.media_type
    row.artifact_type = one.parsed.artifact_type[:255]
    row.subject_digest = one.parsed.subject
    row.annotations = dict(one.parsed.annotations)
    row.layer_count = len(one.parsed.layers)
    row.size = _capped(len(one.raw) + sum(blob.size for blob in _own_blobs(one.parsed).values()))
    _describe_platform(row)
    return row


def _describe_platform(row: Manifest) -> None:
    """Platform and date from an image's config; a config that cannot be read leaves them empty."""
    config = _config_of(row)
    if config is None:
        return
    row.os, row.architecture = config.os[:64], config.architecture[:64]
    row.variant, row.created_at = config.variant[:64], config.created


def _config_of(row: Manifest) -> ImageConfig | None:
    """The config of an image; None for anything else and for one that cannot be read."""
    if not row.config or row.kind != Manifest.Kind.IMAGE:
        return None
    try:
        return parse_config(bytes(row.config))
    except ValueError:
        return None


def _own_blobs(parsed: oci.Manifest) -> dict[str, oci.Descriptor]:
    """Blobs that lie in the registry, each once: config and layers; not foreign ones."""
    every = [*([parsed.config] if parsed.config else []), *parsed.layer_blobs]
    return {blob.digest: blob for blob in every if not blob.urls}


def _entry_rows(row: Manifest, parsed: oci.Manifest | None) -> list[ImageIndexEntry]:
    if parsed is None or parsed.kind == "cache":
        return []
    return [
        ImageIndexEntry(
            image_index=row,
            position=position,
            digest=entry.digest,
            media_type=entry.media_type[:255],
            size=_capped(entry.size),
            os=entry.platform.os[:64] if entry.platform else "",
            architecture=entry.platform.architecture[:64] if entry.platform else "",
            variant=entry.platform.variant[:64] if entry.platform else "",
            annotations=dict(entry.annotations),
        )
        for position, entry in enumerate(parsed.entries)
    ]


def _add_edges(
    repository: Repository, rows: Sequence[Manifest], fresh: Mapping[str, NewManifest]
) -> None:
    wanted: dict[str, Blob] = {}
    edges: list[tuple[Manifest, str, str, int]] = []
    for row in rows:
        parsed = fresh[row.digest].parsed
        if parsed is None:
            continue
        own = [("config", parsed.config, 0)] if parsed.config else []
        layers = [("layer", blob, position) for position, blob in enumerate(parsed.layer_blobs)]
        for role, blob, position in [*own, *layers]:
            edges.append((row, blob.digest, role, position))
            size = 0 if blob.urls else _capped(blob.size)
            wanted.setdefault(
                blob.digest, Blob(digest=blob.digest, size=size, media_type=blob.media_type[:255])
            )
    Blob.objects.bulk_create(wanted.values(), ignore_conflicts=True)
    blobs = {blob.digest: blob for blob in Blob.objects.filter(digest__in=wanted)}
    held = set(
        ManifestBlob.objects.filter(
            repository=repository, blob__in=[blob.pk for blob in blobs.values()]
        ).values_list("blob_id", flat=True)
    )
    repository.size = _capped(
        repository.size
        + sum(len(row.raw) for row in rows)
        + sum(blob.size for blob in blobs.values() if blob.pk not in held)
    )
    ManifestBlob.objects.bulk_create(
        ManifestBlob(
            manifest=row, repository=repository, blob=blobs[digest], role=role, position=position
        )
        for row, digest, role, position in edges
    )
    _count_manifests({(row.pk, blobs[digest].pk) for row, digest, *_rest in edges}, by=1)


def _count_manifests(pairs: Iterable[tuple[int, int]], *, by: int) -> None:
    """Adds `by` to Blob.manifest_count for each (manifest, blob): one UPDATE per count."""
    users: dict[int, int] = defaultdict(int)
    for _manifest, blob in pairs:
        users[blob] += 1
    blobs_by_count: dict[int, list[int]] = defaultdict(list)
    for blob, count in users.items():
        blobs_by_count[count].append(blob)
    for count, blobs in blobs_by_count.items():
        Blob.objects.filter(pk__in=blobs).update(manifest_count=F("manifest_count") + by * count)


def _forget_edges(manifests: Iterable[Manifest]) -> None:
    """Takes these manifests' edges away, and the blobs that nothing needs any more."""
    edges = ManifestBlob.objects.filter(manifest__in=manifests)
    pairs = set(edges.values_list("manifest_id", "blob_id"))
    edges.delete()
    _count_manifests(pairs, by=-1)
    Blob.objects.filter(pk__in={blob for _manifest, blob in pairs}, manifest_count=0).delete()


def _size_image_indexes(repository: Repository, rows: Sequence[Manifest]) -> None:
    """Size of an image index: its children with every blob once. Nested ones add their own size."""
    if not rows:
        return
    children: dict[int, set[str]] = defaultdict(set)
    for index, digest in ImageIndexEntry.objects.filter(image_index__in=rows).values_list(
        "image_index_id", "digest"
    ):
        children[index].add(digest)
    digests = set().union(*children.values())
    manifests = {
        digest: (pk, kind, size)
        for pk, digest, kind, size in repository.manifests.filter(digest__in=digests).values_list(
            "pk", "digest", "kind", "size"
        )
    }
    blobs: dict[int, dict[int, int]] = defaultdict(dict)
    edges = ManifestBlob.objects.filter(manifest__in=[pk for pk, *_rest in manifests.values()])
    for manifest, blob, size in edges.values_list("manifest_id", "blob_id", "blob__size"):
        blobs[manifest][blob] = size
    for row in rows:
        held: dict[int, int] = {}
        total = len(row.raw)
        for digest in children[row.pk] & manifests.keys():
            pk, kind, size = manifests[digest]
            if kind == Manifest.Kind.IMAGE_INDEX:
                total += size
            else:
                total += max(size - sum(blobs[pk].values()), 0)  # the child manifest itself
                held |= blobs[pk]
        row.size = _capped(total + sum(held.values()))
    Manifest.objects.bulk_update(rows, ["size"])


def _measure(repository: Repository) -> int:
    """Bytes of the distinct blobs and manifests of a repository, counted anew."""
    blobs = Blob.objects.filter(
        pk__in=ManifestBlob.objects.filter(repository=repository).values("blob_id")
    ).aggregate(total=Sum("size"))["total"]
    raws = sum(len(raw) for raw in repository.manifests.values_list("raw", flat=True).iterator())
    return _capped((blobs or 0) + raws)


def _capped(size: int) -> int:
    return min(size, LARGEST)


# -- tags --------------------------------------------------------------------------------------


def _set_tags(
    repository: Repository,
    looks: Sequence[Look],
    manifests: Sequence[NewManifest],
    moves: Mapping[str, Move],
) -> Changes:
    changes = Changes()
    present = {
        tag.name: tag
        for tag in repository.tags.select_related("manifest")
        .defer("manifest__raw", "manifest__config", "manifest__annotations")
        .filter(name__in=[one.tag for one in looks])
    }
    targets = {
        row.digest: row
        for row in repository.manifests.filter(
            digest__in={one.digest for one in looks if one.digest}
        ).only("id", "digest", "size", "pulled_at", "pushed_at", "repository")
    }
    looked_into = {one.digest for one in manifests}
    incomplete = {one.digest for one in manifests if one.missing} | (
        set(
            repository.tags.filter(
                manifest__in=targets.values(), problem=Tag.Problem.INCOMPLETE
            ).values_list("manifest__digest", flat=True)
        )
        - looked_into
    )
    touched: set[int] = set()
    to_save: list[Tag] = []
    skipped: list[str] = []
    for one in looks:
        tag = present.get(one.tag)
        if _digest_of(tag) not in (one.expected, one.digest):
            skipped.append(one.tag)
            continue
        if one.is_gone:
            if tag is not None:
                touched |= {tag.manifest_id} if tag.manifest_id else set()
                tag.delete()
                changes.removed += 1
            continue
        target = targets.get(one.digest)
        if tag is not None and tag.manifest_id:
            touched.add(tag.manifest_id)
        before = (_digest_of(tag), tag.problem if tag else "", tag.moved_at if tag else UNKNOWN)
        if tag is None:
            tag = Tag(
                repository=repository,
                name=one.tag,
                attached_to=names.attachment_of(one.tag),
                version_key=names.version_key(one.tag),
            )
            tag.group_key = tag.version_key
        _point(tag, target, one, moves.get(one.tag))
        if one.stored is not None or one.problem:
            tag.problem = one.problem or (
                Tag.Problem.INCOMPLETE if one.digest in incomplete else Tag.Problem.NONE
            )
        if target is not None:
            touched.add(target.pk)
        if tag.pk is None:
            changes.added += 1
        elif before == (_digest_of(tag), tag.problem, tag.moved_at):
            continue
        elif before[0] != _digest_of(tag) or before[2] != tag.moved_at:
            changes.moved += 1
        changes.problems += tag.problem != before[1]
        to_save.append(tag)
    _write_tags(to_save)
    _mark_pushed(targets.values(), looks, moves)
    _regroup(repository, touched)
    changes.skipped = tuple(skipped)
    return changes


def _digest_of(tag: Tag | None) -> str:
    return tag.manifest.digest if tag is not None and tag.manifest is not None else ""


def _point(tag: Tag, target: Manifest | None, one: Look, move: Move | None) -> None:
    """Sets the tag on its manifest. A move that nobody told us of has no known time."""
    if _digest_of(tag) != one.digest:
        tag.moved_at, tag.moved_by = UNKNOWN, ""
        tag.group_key = tag.version_key  # until _regroup has seen its new neighbours
    tag.manifest = target
    tag.size = target.size if target else 0
    tag.pulled_at = target.pulled_at if target else UNKNOWN
    if move is not None and move.digest == one.digest and move.at > tag.moved_at:
        tag.moved_at, tag.moved_by = move.at, move.by[:255]


def _write_tags(tags: Sequence[Tag]) -> None:
    _stand_together(tags)
    known = [tag for tag in tags if tag.pk is not None]  # asked first: creating gives a key
    Tag.objects.bulk_create([tag for tag in tags if tag.pk is None])
    Tag.objects.bulk_update(
        known,
        ["manifest", "moved_at", "moved_by", "problem", "size", "pulled_at", "group_key"],
        batch_size=200,
    )


def _stand_together(tags: Sequence[Tag]) -> None:
    """What _regroup would find for these tags alone: a new repository needs no second write."""
    highest: dict[int | None, bytes] = {}
    for tag in tags:
        highest[tag.manifest_id] = max(highest.get(tag.manifest_id, b""), bytes(tag.version_key))
    for tag in tags:
        if tag.manifest_id is not None:
            tag.group_key = max(bytes(tag.group_key), highest[tag.manifest_id])


def _mark_pushed(
    targets: Iterable[Manifest], looks: Sequence[Look], moves: Mapping[str, Move]
) -> None:
    by_digest = {target.digest: target for target in targets}
    for one in looks:
        move, target = moves.get(one.tag), by_digest.get(one.digest)
        if move and target and move.digest == target.digest and move.at > target.pushed_at:
            Manifest.objects.filter(pk=target.pk).update(pushed_at=move.at, pushed_by=move.by[:255])


def _regroup(repository: Repository, manifests: set[int]) -> None:
    """Tags on one digest share a group_key, so that they stand together in natural order."""
    groups: dict[int, list[Tag]] = defaultdict(list)
    for tag in repository.tags.filter(manifest__in=manifests).only(
        "id", "manifest_id", "version_key", "group_key", "repository_id"
    ):
        groups[tag.manifest_id or 0].append(tag)
    changed = []
    for tags in groups.values():
        highest = max(bytes(tag.version_key) for tag in tags)
        for tag in tags:
            if bytes(tag.group_key) != highest:
                tag.group_key = highest
                changed.append(tag)
    Tag.objects.bulk_update(changed, ["group_key"], batch_size=200)
    tagged = Manifest.objects.filter(pk__in=groups.keys(), untagged_at__isnull=False)
    tagged.update(untagged_at=None)
    Manifest.objects.filter(pk__in=manifests - groups.keys(), untagged_at__isnull=True).update(
        untagged_at=timezone.now()
    )
