"""What hangs together with an image, read from the index: aliases, referrers, users.

One or two queries each, whatever the number of rows; nothing here writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import CharField, Count, F, OuterRef, QuerySet, Subquery, Value, Window
from django.db.models.functions import RowNumber

from registryui.index.blob_names import remembered
from registryui.models import (
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
)
from registryui.models.paging import Page
from registryui.models.paging import page as keyset_page
from registryui.oci import manifest as oci
from registryui.views.plain_text import line

from . import image
from .tag_rows import Group

ALIAS_LIMIT = 24
EDGES_SHOWN = 1000  # blobs of one manifest whose other users are counted; Docker's limit is 127
REFERRER_LIMIT = 200  # that are looked at for "signed"; their tab is paged
CANDIDATE_LIMIT = 200  # images whose layers are compared for "used by"
EDGE_LIMIT = 50_000  # rows that the comparison may read
USER_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Aliases:
    """Other tags on the same manifest, highest version first."""

    names: tuple[str, ...]
    has_more: bool


def aliases(manifest: Manifest | None, tag: Tag | None) -> Aliases:
    """All tags of a manifest but this one, also such as a signature has: sha256-….sig."""
    if manifest is None:
        return Aliases((), False)
    rows = Tag.objects.filter(manifest=manifest).order_by("-version_key", "-id")
    if tag is not None:
        rows = rows.exclude(pk=tag.pk)
    names = tuple(rows.values_list("name", flat=True)[: ALIAS_LIMIT + 1])
    return Aliases(names[:ALIAS_LIMIT], len(names) > ALIAS_LIMIT)


def tag_groups(manifests: Sequence[int]) -> dict[int, Group]:
    """The tags on each of these manifests: some names, and their number. One query."""
    ranked = (
        Tag.objects.filter(manifest__in=set(manifests), refers_to="")
        .annotate(
            rank=Window(
                RowNumber(),
                partition_by="manifest",
                order_by=[F("version_key").desc(), F("pk").desc()],
            ),
            total=Window(Count("pk"), partition_by="manifest"),
        )
        .filter(rank__lte=6)
        .order_by("manifest", "rank")
    )
    names: dict[int, list[str]] = defaultdict(list)
    totals: dict[int, int] = {}
    for manifest, name, total in ranked.values_list("manifest_id", "name", "total"):
        names[manifest].append(name)
        totals[manifest] = total
    return {key: Group(tuple(names[key]), totals[key]) for key in names}


def entries(manifest: Manifest) -> list[image.Entry]:
    """Lines of an image index, in order, with the sizes of the children that are here."""
    return [entry(row) for row in _entry_rows(manifest).order_by("position")[: image.ENTRY_LIMIT]]


def entry_page(manifest: Manifest, after: str) -> Page[ImageIndexEntry]:
    """Lines of an image index in its order, however many; each with `child_size`. One query."""
    return keyset_page(_entry_rows(manifest), ("position",), after=after)


def _entry_rows(manifest: Manifest) -> QuerySet[ImageIndexEntry]:
    child = Manifest.objects.filter(
        repository=manifest.repository_id, digest=OuterRef("digest")
    ).values("size")[:1]
    rows = ImageIndexEntry.objects.filter(image_index=manifest)
    return rows.annotate(child_size=Subquery(child))


def entry(row: Any) -> image.Entry:
    """One of those rows as pages show it."""
    return image.Entry(
        row.digest, row.media_type, line(row.platform, 100), row.annotations, row.child_size
    )


@dataclass(frozen=True, slots=True)
class Blobs:
    """The blobs of one manifest: how many manifests need each, what nothing else needs. Of a
    manifest with more than EDGES_SHOWN only the first are counted, and nothing is said of all."""

    users: Mapping[str, int]
    only_here: int | None  # bytes; None: not counted
    top: tuple[int, int] | None  # (blob id, position) of the uppermost layer
    top_digest: str  # of it, if other manifests need it too
    layer_ids: tuple[int, ...]  # blob ids from the base up
    absent: frozenset[str] = frozenset()  # not in the registry: foreign, or not pulled yet


def blobs(manifest: Manifest | None) -> Blobs:
    """Reads the edges of a manifest with their blobs: one query."""
    if manifest is None:
        return Blobs({}, 0, None, "", ())
    rows = list(
        ManifestBlob.objects.filter(manifest=manifest)
        .order_by("position")
        .values_list(
            *("role", "position", "blob_id", "blob__digest", "blob__size", "blob__manifest_count")
        )[: EDGES_SHOWN + 1]
    )
    if is_cut := len(rows) > EDGES_SHOWN:
        rows.pop()
    own = {blob: size for _role, _at, blob, _digest, size, count in rows if count <= 1}
    layers = [row for row in rows if row[0] == ManifestBlob.Role.LAYER]
    stack = [(blob, at) for _role, at, blob, *_rest in layers]
    return Blobs(
        users={digest: count for *_rest, digest, _size, count in rows},
        only_here=None if is_cut else sum(own.values()),
        top=stack[-1] if stack and not is_cut else None,
        top_digest=layers[-1][3] if layers and layers[-1][5] > 1 and not is_cut else "",
        layer_ids=tuple(blob for blob, _at in stack),
        absent=frozenset(digest for _role, _at, _blob, digest, size, _count in rows if not size),
    )


def users_by_name(usage: Blobs, manifest: oci.Manifest | None) -> Mapping[str, int]:
    """`users` by the digests that the manifest itself names, too."""
    named = remembered(one.digest for one in manifest.layer_blobs) if manifest else {}
    found = {one: usage.users[stored] for one, stored in named.items() if stored in usage.users}
    return {**usage.users, **found}


# -- referrers -----------------------------------------------------------------------------------


def referrers(repository: Repository, digests: Sequence[str]) -> list[image.Referrer]:
    """Manifests whose subject is one of these, and what cosign's tags attach to them, by digest;
    no more than REFERRER_LIMIT + 1.

    The fallback tags of the referrers API are left out: they only list what is found here anyway.
    """
    by_subject = (
        _with_subject(repository, digests)
        .order_by()
        .annotate(by_tag=Value("", output_field=CharField()))
        .values_list("by_tag", "digest", "artifact_type", "size", "pushed_at")
    )
    rows = by_subject.union(_by_tag(repository, digests), all=True)[: REFERRER_LIMIT + 1]
    found = {row[1]: _referrer(*row) for row in rows}
    return sorted(found.values(), key=_signatures_first)


def _with_subject(repository: Repository, digests: Sequence[str]) -> QuerySet[Manifest]:
    """Said twice, that there is a subject: the index of those that have one is then used."""
    found = Manifest.objects.filter(repository=repository, subject_digest__in=digests)
    return found.exclude(subject_digest="")


def referrer_page(
    repository: Repository, digests: Sequence[str], after: str
) -> tuple[list[image.Referrer], Page[Manifest]]:
    """Referrers of these digests by pages; what cosign attached by a tag is on the first one.

    Two queries.
    """
    page = keyset_page(
        _with_subject(repository, digests).only(
            "subject_digest", "digest", "artifact_type", "size", "pushed_at"
        ),
        ("subject_digest", "id"),
        after=after,
    )
    found = (
        []
        if page.previous
        else [_referrer(*row) for row in _by_tag(repository, digests)[:REFERRER_LIMIT]]
    )
    found += [
        _referrer("", row.digest, row.artifact_type, row.size, row.pushed_at) for row in page.rows
    ]
    by_digest = {one.digest: one for one in found}
    return sorted(by_digest.values(), key=_signatures_first), page


def _by_tag(repository: Repository, digests: Sequence[str]) -> QuerySet[Tag, Any]:
    """What cosign's tags attach: tag, digest, artifact type, size, time."""
    tags = Tag.objects.filter(repository=repository, refers_to__in=digests, name__contains=".")
    return (
        tags.order_by()
        .exclude(manifest=None)
        .values_list(
            *("name", "manifest__digest", "manifest__artifact_type", "manifest__size", "tagged_at")
        )
    )


def _referrer(tag: str, digest: str, kind: str, size: int, at: datetime) -> image.Referrer:
    return image.referrer(artifact_type=kind, tag=tag, digest=digest, size=size, at=at)


def _signatures_first(one: image.Referrer) -> tuple[bool, str, str]:
    return not one.is_signature, one.words, one.digest


def signed(repository: Repository, digests: Iterable[str]) -> set[str]:
    """Those of the digests that carry a signature: one query."""
    wanted = list(digests)
    if not wanted:
        return set()
    subjects = (
        _with_subject(repository, wanted)
        .order_by()
        .annotate(by_tag=Value("", output_field=CharField()))
        .values_list("subject_digest", "artifact_type", "by_tag")
    )
    tags = (
        Tag.objects.filter(repository=repository, refers_to__in=wanted, name__endswith=".sig")
        .order_by()
        .annotate(no_type=Value("", output_field=CharField()))
        .values_list("refers_to", "no_type", "name")
    )
    return {
        digest
        for digest, kind, tag in subjects.union(tags, all=True)
        if image.is_signing(kind, tag)
    }


# -- used by -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """An image based on this one, or an image index that lists it."""

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


def used_by(manifest: Manifest | None, usage: Blobs, *, top_digest: str) -> Users:
    """Images of the whole registry whose first layers are all of this image's layers, and image
    indexes that list it; `top_digest` is the page's own image index. Two queries."""
    if manifest is None:
        return Users((), False)
    sizes, is_partial = _standing_on(manifest, usage)
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


def _standing_on(manifest: Manifest, usage: Blobs) -> tuple[dict[tuple[int, str], int], bool]:
    """{(repository id, digest): size} of manifests with this one's layers below their own."""
    if usage.top is None:
        return {}, False
    blob, position = usage.top
    count = len(usage.layer_ids)
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
        fitting[repository, digest] += usage.layer_ids[at] == found
    return (
        {key: sizes[key] for key, fits in fitting.items() if fits == count},
        len(sizes) >= limit,
    )


def _names(digests: Iterable[str]) -> Iterator[tuple[int, str, str, str, str | None]]:
    """(repository id, digest, repository, tagged digest, tag) of manifests with a tag of their own
    or within an image index: one query."""
    wanted = list(digests)
    own = (
        Tag.objects.filter(manifest__digest__in=wanted, refers_to="")
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
