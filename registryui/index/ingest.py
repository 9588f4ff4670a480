"""The only writer of the index: repositories, tags, manifests, blobs and the edges between them.

Each function is one transaction. The registry is the truth: what is passed in was just looked at.
A tag is written only if the index still has what it had when we looked (compare and set), so that
a slow sync cannot undo what an event has changed since; it is looked at again next time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Sum
from django.utils import timezone

from registryui.chunks import chunks
from registryui.graph import closure
from registryui.models import (
    NEVER,
    UNKNOWN,
    Blob,
    ImageFact,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
    TagTombstone,
)
from registryui.models.mirrored import is_mirrored
from registryui.oci import names, throw_away

from . import bulk, client_deletes, tombstones
from . import rows as made
from .contents import NewManifest, TagUpdate, label_expiry
from .fetch import TagProbe
from .rows import capped

__all__ = [
    "Changes",
    "TagUpdate",
    "drop_manifest",
    "drop_manifests",
    "drop_repository",
    "let_go",
    "lose_blobs",
    "refresh",
    "save",
    "set_broken",
    "set_stamp",
]

CHUNK = 500  # digests of one statement


@dataclass(slots=True)
class Changes:
    """What one save did; `skipped` names tags that changed while we looked."""

    added: int = 0
    moved: int = 0
    removed: int = 0
    manifests: int = 0
    problems: int = 0
    skipped: tuple[str, ...] = ()
    lost: list[TagTombstone] = field(default_factory=list)  # what tags were that lead nowhere now

    def __iadd__(self, other: Changes) -> Changes:
        for name in ("added", "moved", "removed", "manifests", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@transaction.atomic
def save(
    name: str,
    probes: Sequence[TagProbe],
    manifests: Sequence[NewManifest],
    *,
    updates: Mapping[str, TagUpdate] | None = None,
) -> Changes:
    """Writes what was found in one repository; makes the repository if it is new."""
    repository, is_new = _alone().get_or_create(
        name=name, defaults={"namespace": names.namespace_of(name)}
    )
    created = _add_manifests(repository, manifests)
    filled = _fill(repository, manifests, {one.digest for one in created})
    changes = _set_tags(repository, probes, manifests, updates or {})
    changes.manifests = len(created)
    is_changed = changes.added or changes.moved or changes.removed or changes.problems
    if is_new or created or filled or is_changed:
        refresh(repository)
    if changes.lost and not is_mirrored(name):
        client_deletes.note(name, changes.lost)
    return changes


def _alone() -> QuerySet[Repository]:
    """Repositories, of which each is written by one at a time until the end of its transaction: on
    PostgreSQL a sync and an event would else add the same manifest twice."""
    return Repository.objects.select_for_update(no_key=True)


@transaction.atomic
def drop_repository(name: str, *, with_undo: bool = False) -> int:
    """Forgets a repository that the registry no longer has; returns the number of its tags.
    `with_undo`: somebody else deleted it, so its tags can be restored while their blobs are there.
    """
    repository = _alone().filter(name=name).first()
    if repository is None:
        return 0
    tags = repository.tags.count()
    with_undo = with_undo and not is_mirrored(name)
    digests = set(repository.manifests.values_list("digest", flat=True)) if with_undo else set()
    lost: list[TagTombstone] = []
    for some in chunks(sorted(digests), CHUNK):
        keys = list(repository.manifests.filter(digest__in=some).values_list("pk", flat=True))
        lost += [one for one in client_deletes.bury(repository, keys, digests)[0] if one.tag]
    _forget_edges(Manifest.objects.filter(repository=repository))
    repository.delete()
    for rows in chunks(lost, CHUNK):
        client_deletes.note(name, rows)
    return tags


def drop_manifest(name: str, digest: str) -> bool:
    """Forgets a manifest that was deleted by its digest; its tags dangle until looked at."""
    return drop_manifests(name, [digest]) > 0


@transaction.atomic
def drop_manifests(name: str, digests: Sequence[str], *, with_undo: bool = False) -> int:
    """Forgets manifests that are in the repository no more; returns how many it knew. Tags on image
    indexes that list them are incomplete.

    `with_undo`: not the portal deleted them, so their bytes, and what names they had, are kept.
    """
    repository = _alone().filter(name=name).first()
    if repository is None:
        return 0
    every = set(digests)
    is_sparse = is_mirrored(name)
    with_undo = with_undo and not is_sparse
    children: set[str] = set()
    lost: list[TagTombstone] = []
    if_event: set[str] = set()
    dropped = 0
    for chunk in chunks(digests, CHUNK):
        some = repository.manifests.filter(digest__in=chunk)
        keys = list(some.values_list("pk", flat=True))
        if with_undo:
            rows, doubtful = client_deletes.bury(repository, keys, every)
            lost += rows
            if_event |= doubtful
        found = Manifest.objects.filter(pk__in=keys)
        _forget_edges(found)
        entries = ImageIndexEntry.objects.filter(image_index__in=found)
        children |= set(entries.values_list("digest", flat=True))
        Tag.objects.filter(manifest__in=found).update(problem=Tag.Problem.DANGLING, size=0)
        dropped += found.delete()[1].get(Manifest._meta.label, 0)
    if dropped:
        if is_sparse:
            let_go(name, children)
        else:
            _mark_incomplete(repository, every)
        mark_listed(repository, children)
        repository.size = _measure(repository)
        refresh(repository)
    client_deletes.note(name, lost, if_event=if_event)
    return dropped


def _mark_incomplete(repository: Repository, digests: Iterable[str]) -> None:
    """Tags on image indexes that list these manifests."""
    for some in chunks(sorted(with_listing(repository.name, digests)), CHUNK):
        tags = repository.tags.filter(manifest__digest__in=some, problem=Tag.Problem.NONE)
        tags.update(problem=Tag.Problem.INCOMPLETE)


def with_listing(repository: str, digests: Iterable[str]) -> set[str]:
    """These manifests and the image indexes that list them, at any depth. One query a level."""

    def above(level: set[str]) -> Iterator[str]:
        for some in chunks(sorted(level), CHUNK):
            entries = ImageIndexEntry.objects.filter(
                digest__in=some, image_index__repository__name=repository
            ).order_by()
            yield from entries.values_list("image_index__digest", flat=True)

    return closure(digests, above)


def lose_blobs(name: str, digests: Collection[str]) -> list[str]:
    """Marks tags broken whose images need one of these blobs (by sha256), which the repository has
    no more. Returns their names."""
    repository = Repository.objects.filter(name=name).first()
    if repository is None:
        return []
    if is_mirrored(name):  # whoever pulls them fetches them again
        return []
    edges = ManifestBlob.objects.filter(repository=repository, blob__digest__in=digests)
    users = set(edges.order_by().values_list("manifest__digest", flat=True))
    broken: dict[str, str] = {}
    for some in chunks(sorted(with_listing(name, users)), CHUNK):
        tags = repository.tags.filter(manifest__digest__in=some)
        broken |= {
            tag: digest or "" for tag, digest in tags.values_list("name", "manifest__digest")
        }
    return set_broken(name, broken, {})[0] if broken else []


@transaction.atomic
def set_broken(
    name: str, broken: Mapping[str, str], complete: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Marks tags that the integrity check found broken, and unmarks those found complete: tag
    to the digest that it was looked at with (or "", if it had none). A tag that was moved since, or
    that has another problem already, stays as it is. Returns the names of both."""
    tags = Tag.objects.filter(repository__name=name)
    healthy = tags.filter(problem=Tag.Problem.NONE)
    marked = _still_at(healthy, broken)
    unmarked = _still_at(tags.filter(problem=Tag.Problem.BROKEN), complete)
    _set_problem(tags, marked, Tag.Problem.BROKEN)
    _set_problem(tags, unmarked, Tag.Problem.NONE)
    repository = Repository.objects.filter(name=name).first()
    if repository is not None and (marked or unmarked):
        refresh(repository)
    return marked, unmarked


def _still_at(tags: QuerySet[Tag], wanted: Mapping[str, str]) -> list[str]:
    found = []
    for some in chunks(sorted(wanted), CHUNK):
        rows = tags.filter(name__in=some)
        for tag, digest in rows.values_list("name", "manifest__digest"):
            if (digest or "") == wanted[tag] or not wanted[tag]:
                found.append(tag)
    return found


def _set_problem(tags: QuerySet[Tag], wanted: Sequence[str], problem: Tag.Problem) -> None:
    for some in chunks(wanted, CHUNK):
        tags.filter(name__in=some).update(problem=problem)


def set_stamp(name: str, stamp: str) -> None:
    """Notes that all of the repository was read when the store said this of it.

    A first build that was killed may have left manifests whose tags never came.
    """
    Manifest.objects.filter(repository__name=name, untagged_at=None, tags=None).update(
        untagged_at=timezone.now()
    )
    Repository.objects.filter(name=name).update(stamp=stamp)


def refresh(repository: Repository) -> None:
    """Brings the repository's own figures up to date and tells open pages that it changed."""
    tags = repository.tags.filter(refers_to="")
    newest = tags.order_by("-tagged_at", "-group_key", "-version_key").first()
    repository.tag_count = tags.count()
    repository.manifest_count = repository.manifests.count()
    repository.newest_tag = newest.name if newest else ""
    if newest and newest.tagged_at > repository.pushed_at:
        repository.pushed_at, repository.pushed_by = newest.tagged_at, newest.tagged_by
    repository.changed_at = timezone.now()
    repository.save(
        update_fields=[
            *("tag_count", "manifest_count", "newest_tag", "pushed_at", "pushed_by"),
            *("changed_at", "size"),
        ]
    )


def let_go(name: str, digests: Collection[str]) -> int:
    """Ends that these untagged manifests of a mirrored repository stay because they were pulled by
    their digest (models/mirrored.py); how many these were."""
    count = 0
    for some in chunks(sorted(digests), CHUNK):
        rows = Manifest.objects.filter(repository__name=name, digest__in=some)
        count += rows.filter(untagged_at__isnull=False).update(untagged_at=timezone.now())
    return count


# -- manifests ---------------------------------------------------------------------------------


def _add_manifests(repository: Repository, manifests: Sequence[NewManifest]) -> list[Manifest]:
    """Rows for manifests that the repository lacks, with their blobs, edges and entries."""
    digests = [one.digest for one in manifests]
    have = set(repository.manifests.filter(digest__in=digests).values_list("digest", flat=True))
    fresh = {one.digest: one for one in manifests if one.digest not in have}
    if not fresh:
        return []
    now = timezone.now()
    columns = {digest: made.manifest_row(one) for digest, one in fresh.items()}
    rows = Manifest.objects.bulk_create(
        Manifest(
            repository=repository,
            untagged_at=now,
            **dict(zip(made.MANIFEST, row, strict=True)),
        )
        for row, _facts in columns.values()
    )
    _add_edges(repository, rows, fresh)
    entries = [
        ImageIndexEntry(image_index=row, **dict(zip(made.ENTRY, entry, strict=True)))
        for row in rows
        for entry in made.entry_rows(fresh[row.digest])
    ]
    ImageIndexEntry.objects.bulk_create(entries)
    mark_listed(repository, {entry.digest for entry in entries} | fresh.keys())
    bulk.insert(
        ImageFact,
        ("fact", "manifest"),
        sorted((fact, row.pk) for row in rows for fact in columns[row.digest][1]),
    )
    _size_image_indexes(repository, [row for row in rows if row.kind == Manifest.Kind.IMAGE_INDEX])
    if any(one.absent is not None for one in fresh.values()):
        _size_listing(repository, fresh.keys())
    return rows


def _add_edges(
    repository: Repository, rows: Sequence[Manifest], fresh: Mapping[str, NewManifest]
) -> None:
    wanted: dict[str, Blob] = {}
    edges: list[tuple[Manifest, str, str, int]] = []
    for row in rows:
        for edge in made.edges(fresh[row.digest]):
            edges.append((row, edge.digest, edge.role, edge.position))
            blob = Blob(digest=edge.digest, size=edge.size, media_type=edge.media_type)
            wanted.setdefault(edge.digest, blob)
    # In one order: two that wait for each other's new blobs would be a deadlock.
    Blob.objects.bulk_create([wanted[one] for one in sorted(wanted)], ignore_conflicts=True)
    blobs = {blob.digest: blob for blob in Blob.objects.filter(digest__in=wanted)}
    _grow(repository, blobs.values(), {one.digest: one.size for one in wanted.values()})
    bulk.add_names(
        (named, blobs[stored].pk)
        for one in fresh.values()
        for named, stored in one.stored.items()
        if stored in blobs
    )
    held = set(
        ManifestBlob.objects.filter(
            repository=repository, blob__in=[blob.pk for blob in blobs.values()]
        ).values_list("blob_id", flat=True)
    )
    repository.size = capped(
        repository.size
        + sum(len(row.raw) for row in rows)
        + sum(blob.size for blob in blobs.values() if blob.pk not in held)
    )
    bulk.insert(
        ManifestBlob,
        ("manifest", "repository", "blob", "role", "position"),
        (
            (row.pk, repository.pk, blobs[digest].pk, role, position)
            for row, digest, role, position in edges
        ),
    )
    _count_manifests({(row.pk, blobs[digest].pk) for row, digest, *_rest in edges}, by=1)


def _grow(repository: Repository, blobs: Iterable[Blob], sizes: Mapping[str, int]) -> list[Blob]:
    """Writes the size of those of these blobs that are in the registry now and were not before.
    Returns them. No query if there are none."""
    grown = [one for one in blobs if not one.size and sizes.get(one.digest)]
    if not grown:
        return []
    for one in grown:
        one.size = sizes[one.digest]
    Blob.objects.bulk_update(grown, ["size"], batch_size=200)
    by_id = {one.pk: one.size for one in grown}
    gained: dict[int, int] = defaultdict(int)
    holders = ManifestBlob.objects.filter(blob__in=by_id).order_by()
    for holder, blob in holders.values_list("repository_id", "blob_id").distinct():
        gained[holder] += by_id[blob]
    repository.size = capped(repository.size + gained.pop(repository.pk, 0))
    for holder, size in gained.items():
        Repository.objects.filter(pk=holder).update(size=F("size") + size)
    return grown


def _fill(
    repository: Repository, manifests: Sequence[NewManifest], created: Collection[str]
) -> bool:
    """Writes what a mirrored repository has pulled of manifests that the index knew: sizes of
    blobs, and configs. No query for others."""
    known = {
        one.digest: one for one in manifests if one.absent is not None and one.digest not in created
    }
    if not known:
        return False
    sizes = {edge.digest: edge.size for one in known.values() for edge in made.edges(one)}
    grown = _grow(repository, Blob.objects.filter(digest__in=sizes, size=0), sizes)
    rows = repository.manifests.filter(digest__in=known, config=None, kind=Manifest.Kind.IMAGE)
    found: list[Manifest] = []
    stated: list[tuple[int, int]] = []
    for row in rows.only("pk", "digest"):
        one = known[row.digest]
        if one.config is None:
            continue
        columns, facts = made.manifest_row(one)
        told = dict(zip(made.MANIFEST, columns, strict=True))
        for name in _OF_CONFIG:
            setattr(row, name, told[name])
        found.append(row)
        stated += [(fact, row.pk) for fact in facts]
    Manifest.objects.bulk_update(found, _OF_CONFIG, batch_size=200)
    bulk.insert(ImageFact, ("fact", "manifest"), sorted(stated))
    return bool(grown or found)


_OF_CONFIG = ("config", "os", "architecture", "variant", "created_at", "expires_after")


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


def _forget_edges(manifests: QuerySet[Manifest]) -> None:
    """Takes these manifests' edges and facts away, and the blobs that nothing needs any more."""
    images = manifests.filter(kind=Manifest.Kind.IMAGE)
    configs = images.values_list("pk", "config").iterator(CHUNK)
    while some := list(islice(configs, CHUNK)):
        bulk.remove_facts(
            [(fact, pk) for pk, config in some for fact in made.facts_of(bytes(config or b""))]
        )
    edges = ManifestBlob.objects.filter(manifest__in=manifests)
    pairs = set(edges.values_list("manifest_id", "blob_id"))
    edges.delete()
    _count_manifests(pairs, by=-1)
    Blob.objects.filter(pk__in={blob for _manifest, blob in pairs}, manifest_count=0).delete()


def mark_listed(repository: Repository, digests: Iterable[str] | None = None) -> None:
    """Brings Manifest.is_listed up to date, of these digests or (None) of the whole repository."""
    listed = ImageIndexEntry.objects.filter(
        image_index__repository=repository, digest=OuterRef("digest")
    )
    rows = repository.manifests.annotate(now=Exists(listed)).exclude(is_listed=F("now"))
    if digests is None:
        rows.update(is_listed=~F("is_listed"))
        return
    for some in chunks(sorted(digests), CHUNK):
        rows.filter(digest__in=some).update(is_listed=~F("is_listed"))


def _size_image_indexes(repository: Repository, rows: Sequence[Manifest]) -> None:
    """Writes the size of new image indexes, nested ones first."""
    if not rows:
        return
    listed: dict[str, list[str]] = {row.digest: [] for row in rows}
    for index, digest in ImageIndexEntry.objects.filter(image_index__in=rows).values_list(
        "image_index__digest", "digest"
    ):
        if digest not in listed[index]:
            listed[index].append(digest)
    by_digest = {row.digest: row for row in rows}
    children = _children(repository, {one for some in listed.values() for one in some})
    for digest in made.inside_first(listed):
        row = by_digest[digest]
        below = [children[child] for child in listed[digest] if child in children]
        row.size = made.image_index_size(len(row.raw), below)
        if row.expires_after is None:
            row.expires_after = made.image_index_expiry(below)
        children[digest] = made.Child(row.kind, row.size, {}, row.expires_after)
    Manifest.objects.bulk_update(rows, ["size", "expires_after"])


def _size_listing(repository: Repository, digests: Collection[str]) -> None:
    """Writes the size of image indexes that list these, which came after them."""
    above = with_listing(repository.name, digests).difference(digests)
    if not above:
        return
    rows = list(repository.manifests.filter(digest__in=above).defer("config", "annotations"))
    _size_image_indexes(repository, rows)
    for row in rows:
        Tag.objects.filter(manifest=row).exclude(size=row.size).update(size=row.size)


def _children(repository: Repository, digests: set[str]) -> dict[str, made.Child]:
    """Those of these manifests that the repository has, with their blobs."""
    found = {
        pk: facts
        for pk, *facts in repository.manifests.filter(digest__in=digests).values_list(
            *("pk", "digest", "kind", "size", "expires_after", "os")
        )
    }
    blobs: dict[int, dict[int, int]] = defaultdict(dict)
    edges = ManifestBlob.objects.filter(manifest__in=list(found))
    for manifest, blob, size in edges.values_list("manifest_id", "blob_id", "blob__size"):
        blobs[manifest][blob] = size
    return {
        digest: made.Child(kind, size, blobs[pk], expires_after, os)
        for pk, (digest, kind, size, expires_after, os) in found.items()
    }


def _measure(repository: Repository) -> int:
    """Bytes of the distinct blobs and manifests of a repository, counted anew."""
    blobs = Blob.objects.filter(
        pk__in=ManifestBlob.objects.filter(repository=repository).values("blob_id")
    ).aggregate(total=Sum("size"))["total"]
    raws = sum(len(raw) for raw in repository.manifests.values_list("raw", flat=True).iterator())
    return capped((blobs or 0) + raws)


# -- tags --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _TagState:
    """What a tag is on ("": nothing), since when, by whom, and what is wrong with it."""

    digest: str
    tagged_at: datetime
    tagged_by: str
    problem: str


def _set_tags(
    repository: Repository,
    probes: Sequence[TagProbe],
    manifests: Sequence[NewManifest],
    updates: Mapping[str, TagUpdate],
) -> Changes:
    present, targets = _present(repository, probes), _targets(repository, probes)
    incomplete = _incomplete(repository, targets, manifests)
    changes, skipped, touched = Changes(), list[str](), set[int]()
    removed, to_save, overwritten = list[int](), list[Tag](), list[TagTombstone]()
    for one in probes:
        tag = present.get(one.tag) or _new_tag(repository, one.tag)
        before, target = _state(tag), targets.get(one.digest)
        if before.digest not in (one.expected, one.digest):
            skipped.append(one.tag)
            continue
        touched |= {pk for pk in (tag.manifest_id, target and target.pk) if pk}
        if one.is_gone or one.problem == Tag.Problem.DANGLING:
            changes.lost += _lost(tag)
        if one.is_gone:
            removed += [tag.pk] if tag.pk else []
            continue
        update = updates.get(one.tag)
        after = _decide(before, one, target, update, incomplete)
        is_restored = update is not None and update.is_restored
        if after != before or tag.pk is None or is_restored:
            overwritten += _overwritten(tag, target, after)
            _count(changes, before, after, is_new=tag.pk is None)
            _point(tag, target, after)
            if is_restored and tag.label_expires_at is not None:
                tag.expires_at = NEVER
            to_save.append(tag)
    Tag.objects.filter(pk__in=removed).delete()
    changes.removed, changes.skipped = len(removed), tuple(skipped)
    _write_tags(to_save)
    if overwritten and not is_mirrored(repository.name):  # there its upstream moved it
        tombstones.note(overwritten)
    _mark_pushed(targets.values(), probes, updates)
    _regroup(repository, touched)
    return changes


def _present(repository: Repository, probes: Sequence[TagProbe]) -> dict[str, Tag]:
    """By name, the tags that the index has already."""
    tags = repository.tags.select_related("manifest").filter(name__in=[one.tag for one in probes])
    unread = ("manifest__raw", "manifest__config", "manifest__annotations")
    return {tag.name: tag for tag in tags.defer(*unread)}


def _targets(repository: Repository, probes: Sequence[TagProbe]) -> dict[str, Manifest]:
    """By digest, the manifests that tags are to be on."""
    rows = repository.manifests.filter(digest__in={one.digest for one in probes if one.digest})
    read = ("id", "digest", "artifact_type", "size", "pulled_at", "pushed_at", "repository")
    return {row.digest: row for row in rows.only(*read, "expires_after")}


def _incomplete(
    repository: Repository, targets: Mapping[str, Manifest], manifests: Sequence[NewManifest]
) -> set[str]:
    """Digests with a part missing: as it was just seen, else as the index has it."""
    tags = repository.tags.filter(manifest__in=targets.values(), problem=Tag.Problem.INCOMPLETE)
    known = set(tags.values_list("manifest__digest", flat=True))
    seen = {one.digest for one in manifests}
    return (known - seen) | {one.digest for one in manifests if one.missing}


def _new_tag(repository: Repository, name: str) -> Tag:
    key = names.version_key(name)
    subject = names.referrer_subject(name)
    return Tag(repository=repository, name=name, refers_to=subject, version_key=key, group_key=key)


def _state(tag: Tag) -> _TagState:
    digest = tag.manifest.digest if tag.manifest is not None else ""
    return _TagState(digest, tag.tagged_at, tag.tagged_by, tag.problem)


def _decide(
    before: _TagState,
    one: TagProbe,
    target: Manifest | None,
    update: TagUpdate | None,
    incomplete: Collection[str],
) -> _TagState:
    """What the tag is by this probe. Pure. A move that nobody told us of has no known time."""
    is_same = before.digest == one.digest
    at, by = (before.tagged_at, before.tagged_by) if is_same else (UNKNOWN, "")
    if update is not None and update.digest == one.digest and update.at > at:
        is_same, at, by = False, update.at, update.by[:255]
    problem = _problem(before, one, incomplete, is_same=is_same)
    return _TagState(one.digest if target else "", at, by, problem)


def _problem(
    before: _TagState, one: TagProbe, incomplete: Collection[str], *, is_same: bool
) -> str:
    if one.problem:
        return one.problem
    if one.stored is not None and one.digest in incomplete:
        return Tag.Problem.INCOMPLETE
    # Only the integrity check looks at layers. A push does, too: the registry checked them.
    is_kept = is_same if before.problem == Tag.Problem.BROKEN else one.stored is None
    return before.problem if is_kept else Tag.Problem.NONE


def _count(changes: Changes, before: _TagState, after: _TagState, *, is_new: bool) -> None:
    is_moved = (before.digest, before.tagged_at) != (after.digest, after.tagged_at)
    changes.added += is_new
    changes.moved += is_moved and not is_new
    changes.problems += before.problem != after.problem


def _overwritten(tag: Tag, target: Manifest | None, after: _TagState) -> list[TagTombstone]:
    """What undo should know of a tag that moves. Nothing where a throw-away is on either side: that
    is a delete of ours, which has noted the tag itself."""
    before = tag.manifest
    if before is None or target is None or before.digest == target.digest:
        return []
    if throw_away.ARTIFACT_TYPE in (before.artifact_type, target.artifact_type):
        return []
    return [tombstones.overwritten(tombstones.row(tag), at=after.tagged_at, by=after.tagged_by)]


def _lost(tag: Tag) -> list[TagTombstone]:
    """What undo should know of a tag whose image is gone; of a throw-away nothing, see above."""
    before = tag.manifest
    if before is None or before.artifact_type == throw_away.ARTIFACT_TYPE:
        return []
    return [tombstones.row(tag)]


def _point(tag: Tag, target: Manifest | None, after: _TagState) -> None:
    if _state(tag).digest != after.digest:
        tag.group_key = tag.version_key  # until _regroup has seen its new neighbours
        tag.expires_at = None  # it was set for the digest of before
    tag.manifest = target
    tag.size = target.size if target else 0
    tag.pulled_at = target.pulled_at if target else UNKNOWN
    tag.tagged_at, tag.tagged_by, tag.problem = after.tagged_at, after.tagged_by, after.problem
    expires_after = target.expires_after if target and not tag.refers_to else None
    tag.label_expires_at = label_expiry(tag.tagged_at, expires_after)


def _write_tags(tags: Sequence[Tag]) -> None:
    _stand_together(tags)
    known = [tag for tag in tags if tag.pk is not None]  # asked first: creating gives a key
    Tag.objects.bulk_create([tag for tag in tags if tag.pk is None])
    Tag.objects.bulk_update(
        known,
        [
            *("manifest", "tagged_at", "tagged_by", "problem", "size", "pulled_at", "group_key"),
            *("expires_at", "label_expires_at"),
        ],
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
    targets: Iterable[Manifest], probes: Sequence[TagProbe], updates: Mapping[str, TagUpdate]
) -> None:
    newest: dict[str, TagUpdate] = {}
    for one in probes:
        update = updates.get(one.tag)
        if update and update.digest == one.digest:
            latest = newest.get(one.digest, update)
            newest[one.digest] = max(latest, update, key=lambda each: each.at)
    for target in targets:
        found = newest.get(target.digest)
        if found and found.at > target.pushed_at:
            Manifest.objects.filter(pk=target.pk).update(
                pushed_at=found.at, pushed_by=found.by[:255]
            )


def _regroup(repository: Repository, manifests: set[int]) -> None:
    """Tags on one digest share a group_key, so that they are adjacent in natural order."""
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
