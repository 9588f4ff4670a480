"""What hangs together with an image, read from the index: aliases, referrers, users.

One or two queries each, whatever the number of rows; nothing here writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import CharField, F, OuterRef, QuerySet, Subquery, Value

from registryui.models import (
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
)

from . import image
from .plain_text import line

ALIAS_LIMIT = 24
REFERRER_LIMIT = 200
CANDIDATE_LIMIT = 200  # images whose layers are compared for "used by"
EDGE_LIMIT = 50_000  # rows that the comparison may read
USER_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Aliases:
    """Other tags on the same manifest, highest version first."""

    names: tuple[str, ...]
    has_more: bool


def aliases(manifest: Manifest | None, tag: Tag | None) -> Aliases:
    """All tags of a manifest but this one."""
    if manifest is None:
        return Aliases((), False)
    rows = Tag.objects.filter(manifest=manifest, attached_to="").order_by("-version_key", "-id")
    if tag is not None:
        rows = rows.exclude(pk=tag.pk)
    names = tuple(rows.values_list("name", flat=True)[: ALIAS_LIMIT + 1])
    return Aliases(names[:ALIAS_LIMIT], len(names) > ALIAS_LIMIT)


def entries(manifest: Manifest) -> list[image.Entry]:
    """Lines of an image index, in order, with the sizes of the children that are here."""
    child = Manifest.objects.filter(
        repository=manifest.repository_id, digest=OuterRef("digest")
    ).values("size")[:1]
    rows = ImageIndexEntry.objects.filter(image_index=manifest).annotate(child_size=Subquery(child))
    return [
        image.Entry(
            row.digest, row.media_type, line(row.platform, 100), row.annotations, row.child_size
        )
        for row in rows.order_by("position")[: image.ENTRY_LIMIT]
    ]


@dataclass(frozen=True, slots=True)
class Blobs:
    """The blobs of one manifest: how many manifests need each, what nothing else needs."""

    users: Mapping[str, int]
    only_here: int  # bytes
    top: tuple[int, int] | None  # (blob id, position) of the uppermost layer
    layer_ids: tuple[int, ...]  # blob ids from the base up


def blobs(manifest: Manifest | None) -> Blobs:
    """Reads the edges of a manifest with their blobs: one query."""
    if manifest is None:
        return Blobs({}, 0, None, ())
    rows = list(
        ManifestBlob.objects.filter(manifest=manifest)
        .order_by("position")
        .values_list(
            *("role", "position", "blob_id", "blob__digest", "blob__size", "blob__manifest_count")
        )
    )
    own = {blob: size for _role, _at, blob, _digest, size, count in rows if count <= 1}
    stack = [(blob, at) for role, at, blob, *_rest in rows if role == ManifestBlob.Role.LAYER]
    return Blobs(
        users={digest: count for *_rest, digest, _size, count in rows},
        only_here=sum(own.values()),
        top=stack[-1] if stack else None,
        layer_ids=tuple(blob for blob, _at in stack),
    )


# -- referrers -----------------------------------------------------------------------------------


def referrers(repository: Repository, digests: Sequence[str]) -> list[image.Referrer]:
    """Manifests whose subject is one of these, and what cosign's tags attach to them, by digest.

    The fallback tags of the referrers API are left out: they only list what is found here anyway.
    """
    by_subject = (
        _with_subject(repository, digests)
        .order_by()
        .annotate(attached_by=Value("", output_field=CharField()))
        .values_list("attached_by", "digest", "artifact_type", "size", "pushed_at")
    )
    by_tag = (
        Tag.objects.filter(repository=repository, attached_to__in=digests, name__contains=".")
        .order_by()
        .exclude(manifest=None)
        .values_list(
            "name", "manifest__digest", "manifest__artifact_type", "manifest__size", "moved_at"
        )
    )
    rows = by_subject.union(by_tag, all=True)[:REFERRER_LIMIT]
    found = {
        digest: image.referrer(artifact_type=kind, tag=tag, digest=digest, size=size, at=at)
        for tag, digest, kind, size, at in rows
    }
    return sorted(found.values(), key=lambda one: (not one.is_signature, one.words, one.digest))


def _with_subject(repository: Repository, digests: Sequence[str]) -> QuerySet[Manifest]:
    """Said twice, that there is a subject: the index of those that have one is then used."""
    found = Manifest.objects.filter(repository=repository, subject_digest__in=digests)
    return found.exclude(subject_digest="")


def signed(repository: Repository, digests: Iterable[str]) -> set[str]:
    """Those of the digests that carry a signature: one query."""
    wanted = list(digests)
    if not wanted:
        return set()
    subjects = (
        _with_subject(repository, wanted)
        .order_by()
        .annotate(attached_by=Value("", output_field=CharField()))
        .values_list("subject_digest", "artifact_type", "attached_by")
    )
    tags = (
        Tag.objects.filter(repository=repository, attached_to__in=wanted, name__endswith=".sig")
        .order_by()
        .annotate(no_type=Value("", output_field=CharField()))
        .values_list("attached_to", "no_type", "name")
    )
    return {
        digest
        for digest, kind, tag in subjects.union(tags, all=True)
        if image.is_signing(kind, tag)
    }


# -- used by -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """An image that stands on this one, or an image index that lists it."""

    repository: str
    digest: str
    tags: tuple[str, ...]
    added: int  # bytes on top of this image
    is_listing: bool  # lists this very manifest

    @property
    def reference(self) -> str:
        return self.tags[0] if self.tags else ""

    @property
    def more_tags(self) -> int:
        return max(len(self.tags) - 1, 0)


@dataclass(frozen=True, slots=True)
class Users:
    rows: tuple[User, ...]
    is_partial: bool  # there may be more: only so many images were compared


def used_by(manifest: Manifest | None, held: Blobs, *, top_digest: str) -> Users:
    """Images of the whole registry whose first layers are all of this image's layers, and image
    indexes that list it; `top_digest` is the page's own image index. Two queries."""
    if manifest is None:
        return Users((), False)
    sizes, is_partial = _standing_on(manifest, held)
    wanted = {(manifest.repository_id, manifest.digest), *sizes}
    found: dict[tuple[str, str], tuple[list[str], int, bool]] = {}
    for repository_id, digest, repository, target, tag in _names({key[1] for key in wanted}):
        is_self = (repository_id, target) == (manifest.repository_id, manifest.digest)
        is_page = repository_id == manifest.repository_id and target == top_digest
        if (repository_id, digest) not in wanted or is_self or is_page:
            continue
        added = max(sizes.get((repository_id, digest), manifest.size) - manifest.size, 0)
        tags, *_rest = found.setdefault(
            (repository, target), ([], added, digest == manifest.digest)
        )
        if tag and tag not in tags:
            tags.append(tag)
    rows = [
        User(repository, target, tuple(sorted(tags)), added, is_listing)
        for (repository, target), (tags, added, is_listing) in sorted(found.items())
    ]
    return Users(tuple(rows[:USER_LIMIT]), is_partial or len(rows) > USER_LIMIT)


def _standing_on(manifest: Manifest, held: Blobs) -> tuple[dict[tuple[int, str], int], bool]:
    """{(repository id, digest): size} of manifests with this one's layers below their own."""
    if held.top is None:
        return {}, False
    blob, position = held.top
    count = len(held.layer_ids)
    limit = max(min(CANDIDATE_LIMIT, EDGE_LIMIT // count), 1)
    layers: QuerySet[ManifestBlob] = ManifestBlob.objects.filter(role=ManifestBlob.Role.LAYER)
    candidates = layers.filter(blob=blob, position=position).exclude(manifest=manifest)
    rows = (
        layers.filter(
            manifest__in=candidates.order_by().values("manifest_id")[:limit],
            position__lt=count,
        )
        .order_by()
        .values_list(
            *("manifest__repository_id", "manifest__digest", "manifest__size"),
            *("position", "blob_id"),
        )
    )
    fitting: dict[tuple[int, str], int] = defaultdict(int)
    sizes: dict[tuple[int, str], int] = {}
    for repository, digest, size, at, found in rows:
        sizes[repository, digest] = size
        fitting[repository, digest] += held.layer_ids[at] == found
    return (
        {key: sizes[key] for key, fits in fitting.items() if fits == count},
        len(sizes) >= limit,
    )


def _names(digests: Iterable[str]) -> Iterator[tuple[int, str, str, str, str | None]]:
    """(repository id, digest, repository, tagged digest, tag) of manifests with a tag of their own
    or within an image index: one query."""
    wanted = list(digests)
    own = (
        Tag.objects.filter(manifest__digest__in=wanted, attached_to="")
        .order_by()
        .annotate(target=F("manifest__digest"))
        .values_list("repository_id", "manifest__digest", "repository__name", "target", "name")
    )
    listed = (
        ImageIndexEntry.objects.filter(digest__in=wanted)
        .order_by()
        .annotate(target=F("image_index__digest"))
        .values_list(
            *("image_index__repository_id", "digest", "image_index__repository__name"),
            *("target", "image_index__tags__name"),
        )
    )
    yield from own.union(listed, all=True)[: USER_LIMIT * 20]
