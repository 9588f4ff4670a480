"""What keeps a manifest (graph.py), read from the index: what goes with a delete, what stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from django.db.models import Case, Count, Exists, OuterRef, QuerySet, When
from django.db.models.functions import Length
from django.utils import timezone

from registryui import graph
from registryui.chunks import chunks
from registryui.index import ingest
from registryui.models import (
    Blob,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
    TagTombstone,
)
from registryui.models.mirrored import PULLED_ALONE, Mirrors

Key = tuple[int, str]  # repository's id, digest


@dataclass(frozen=True, slots=True)
class ReferrerTag:
    """A tag that hangs on an image of this repository."""

    tag: str
    digest: str  # "": it dangles
    image: str


@dataclass(slots=True)
class Around:
    """Some manifests of one repository, all that they keep, and what keeps any of it."""

    keys: dict[str, int] = field(default_factory=dict)  # digest to its row's id; what may die
    sizes: dict[str, int] = field(default_factory=dict)  # Manifest.size
    tags: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # on them
    subjects: dict[str, str] = field(default_factory=dict)
    keeps: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # without tags
    referrer_tags: list[ReferrerTag] = field(default_factory=list)
    listed_by: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rooted: set[str] = field(default_factory=set)  # kept from outside
    outside: set[str] = field(default_factory=set)  # what keeps those, and is kept itself

    def reachable(self, *, going: Collection[str], forced: Collection[str] = ()) -> set[str]:
        """What of it is still kept without the tags `going`. `forced` die whatever keeps them."""
        referrer_tags = {one.tag: one for one in self.referrer_tags if one.image in self.keys}
        roots = {
            digest
            for digest, names in self.tags.items()
            if any(name not in going and name not in referrer_tags for name in names)
        }
        hanging = defaultdict(set)
        for one in referrer_tags.values():
            if one.tag not in going and one.digest:
                hanging[one.image].add(one.digest)

        def kept(level: set[str]) -> Iterator[str]:
            return (
                one for at in level for one in self.keeps[at] | hanging[at] if one not in forced
            )

        return graph.closure((roots | self.rooted).difference(forced), kept)


def around(
    repository: Repository,
    digests: Iterable[str],
    *,
    is_protected: Callable[[str], bool] = lambda tag: False,
    with_undo: bool = False,
) -> Around:
    """What hangs on these manifests and what keeps it. Protected referrer tags stay, like tags of
    their own. `with_undo`: what undo keeps is kept.

    A handful of queries for each level of nesting, whatever the number of digests.
    """
    found = Around()
    digests = graph.closure(digests, partial(_below, repository, found, is_protected))
    if with_undo:
        keys = {(repository.pk, digest) for digest in digests}
        found.rooted |= {digest for _repository, digest in _undoable(keys)}
    for some in chunks(list(found.keys.items())):
        by_key = {key: digest for digest, key in some}
        rows = Tag.objects.filter(manifest__in=by_key)
        for name, key in rows.order_by("-version_key", "-id").values_list("name", "manifest_id"):
            found.tags[by_key[key]].append(name)
    _add_outside(repository, found, digests, with_undo=with_undo)
    return found


def _below(
    repository: Repository, found: Around, is_protected: Callable[[str], bool], level: set[str]
) -> set[str]:
    """Adds these manifests; returns what they keep."""
    below: set[str] = set()
    listing: dict[int, str] = {}
    for some in chunks(sorted(level)):
        rows = repository.manifests.filter(digest__in=some)
        for key, digest, kind, subject, size in rows.values_list(
            "pk", "digest", "kind", "subject_digest", "size"
        ):
            found.keys[digest] = key
            found.sizes[digest] = size
            found.subjects[digest] = subject
            if kind in (Manifest.Kind.IMAGE_INDEX, Manifest.Kind.CACHE):
                listing[key] = digest
        # Said twice, that there is a subject: the index of those that have one is then used.
        rows = repository.manifests.filter(subject_digest__in=some).exclude(subject_digest="")
        for digest, subject in rows.values_list("digest", "subject_digest"):
            found.keeps[subject].add(digest)
            below.add(digest)
        for name, digest, image in repository.tags.filter(refers_to__in=some).values_list(
            "name", "manifest__digest", "refers_to"
        ):
            if not is_protected(name):
                found.referrer_tags.append(ReferrerTag(name, digest or "", image))
                below.add(digest or "")
    for keys in chunks(list(listing)):
        entries = ImageIndexEntry.objects.filter(image_index__in=keys).order_by()
        for key, child in entries.values_list("image_index_id", "digest"):
            found.keeps[listing[key]].add(child)
            found.listed_by[child].add(listing[key])
            below.add(child)
    return below - {""}


def _add_outside(
    repository: Repository, found: Around, digests: set[str], *, with_undo: bool
) -> None:
    """Fills `rooted`, and `listed_by` with what else lists these."""
    keepers: dict[str, set[str]] = defaultdict(set)  # outside, to what they keep
    for _repository, child, index in _listing(digests, image_index__repository=repository):
        found.listed_by[child].add(index)
        if index not in digests:
            keepers[index].add(child)
    for digest, subject in found.subjects.items():
        if subject and subject not in digests:
            keepers[subject].add(digest)
    living = reachable({(repository.pk, digest) for digest in keepers}, with_undo=with_undo)
    for keeper, kept in keepers.items():
        if (repository.pk, keeper) in living:
            found.outside.add(keeper)
            found.rooted |= kept


def reachable(keys: Collection[Key], *, with_undo: bool = False) -> set[Key]:
    """Those of these manifests that something keeps: a tag, or an image index or subject which is
    kept. Of any repositories; two or three queries for each level of nesting."""
    return graph.reachable(keys, partial(_above, with_undo=with_undo))


def _above(level: set[Key], *, with_undo: bool) -> tuple[set[Key], list[tuple[Key, Key]]]:
    """Those of these that a tag keeps, a pull or undo; and (keeper, kept) of the others."""
    rooted: set[Key] = set()
    mirrors = Mirrors()
    edges: list[tuple[Key, Key]] = []
    for some in chunks(sorted({digest for _repository, digest in level})):
        rows = Manifest.objects.filter(digest__in=some)
        for repository, digest, subject, untagged_at, is_alone, name in rows.annotate(
            is_alone=Case(When(PULLED_ALONE, then=True), default=False)
        ).values_list(
            *("repository_id", "digest", "subject_digest", "untagged_at", "is_alone"),
            "repository__name",
        ):
            if (repository, digest) not in level:
                continue
            if untagged_at is None or (is_alone and mirrors.have(name)):
                rooted.add((repository, digest))
            elif subject:
                edges.append(((repository, subject), (repository, digest)))
    if with_undo:
        rooted |= _undoable(level - rooted)
    for repository, digest, index in _listing({digest for _repository, digest in level - rooted}):
        if (repository, digest) in level:
            edges.append(((repository, index), (repository, digest)))
    return rooted, edges


def _listing(digests: Iterable[str], **of: object) -> Iterator[tuple[int, str, str]]:
    """Repository's id, digest and image index of what lists these."""
    for some in chunks(sorted(digests)):
        entries = ImageIndexEntry.objects.filter(digest__in=some, **of).order_by()
        yield from entries.values_list(
            "image_index__repository_id", "digest", "image_index__digest"
        )


def users_of(repository: str, digests: set[str]) -> set[str]:
    """These manifests and blobs, and all manifests of the repository that these are a part of."""
    edges = ManifestBlob.objects.filter(repository__name=repository, blob__digest__in=digests)
    holders = edges.order_by().values_list("manifest__digest", flat=True)
    return ingest.with_listing(repository, digests.union(holders))


def _undoable(keys: set[Key]) -> set[Key]:
    """Those of these manifests that somebody may still restore a tag to."""
    kept = TagTombstone.objects.kept(timezone.now())
    waiting: set[tuple[str, str]] = set()
    for some in chunks(sorted({digest for _repository, digest in keys})):
        waiting |= set(kept.filter(digest__in=some).values_list("repository", "digest"))
    names = {name for name, _digest in waiting}
    by_name = dict(Repository.objects.filter(name__in=names).values_list("name", "pk"))
    return {(by_name[name], digest) for name, digest in waiting if name in by_name} & keys


# -- bytes -----------------------------------------------------------------------------------------


def freed(dead: Collection[int], *, with_undo: bool = False) -> int:
    """Bytes that garbage collection takes from the disk with these manifests (ids): their own, and
    blobs that nothing reachable in the whole store names.

    What other dead manifests name counts as well: they go by the same time. `with_undo`: what undo
    keeps is reachable.
    """
    return _own_bytes(dead, with_undo=with_undo) + _blob_bytes(dead, with_undo=with_undo)


def _own_bytes(dead: Collection[int], *, with_undo: bool) -> int:
    sizes: dict[str, int] = {}
    for some in chunks(list(dead)):
        rows = Manifest.objects.filter(pk__in=some).annotate(length=Length("raw"))
        sizes.update(rows.values_list("digest", "length"))
    others: set[Key] = set()
    for digests in chunks(list(sizes)):
        elsewhere = Manifest.objects.filter(digest__in=digests)
        others |= {
            (repository, digest)
            for key, repository, digest in elsewhere.values_list("pk", "repository_id", "digest")
            if key not in dead
        }
    kept = {digest for _repository, digest in reachable(others, with_undo=with_undo)}
    return sum(size for digest, size in sizes.items() if digest not in kept)


def _blob_bytes(dead: Collection[int], *, with_undo: bool) -> int:
    users: dict[int, int] = defaultdict(int)
    blobs: dict[int, tuple[int, int]] = {}
    for some in chunks(list(dead)):
        edges = ManifestBlob.objects.filter(manifest__in=some).order_by()
        for blob, size, count, here in edges.values_list(
            "blob_id", "blob__size", "blob__manifest_count"
        ).annotate(here=Count("manifest_id", distinct=True)):
            users[blob] += here
            blobs[blob] = size, count
    shared = [blob for blob, (_size, count) in blobs.items() if count > users[blob]]
    kept = _reachable_blobs(shared, dead, with_undo=with_undo)
    return sum(size for blob, (size, _count) in blobs.items() if blob not in kept)


def _reachable_blobs(blobs: Sequence[int], dead: Collection[int], *, with_undo: bool) -> set[int]:
    """Those of these blobs that something reachable names. A base layer has a hundred thousand
    users, and one is enough: so the cheap questions come first, and end at their first answer."""
    kept: set[int] = set()
    for some in chunks(blobs):
        of_tags = _users(dead).filter(manifest__untagged_at=None)
        kept |= _that(some, of_tags)
        listing = ImageIndexEntry.objects.filter(
            digest=OuterRef("manifest__digest"),
            image_index__repository=OuterRef("repository"),
            image_index__untagged_at=None,
        ).exclude(image_index__in=dead)
        kept |= _that(
            [one for one in some if one not in kept], _users(dead).filter(Exists(listing))
        )
        left = [one for one in some if one not in kept]
        others = ManifestBlob.objects.filter(blob__in=left).exclude(manifest__in=dead)
        users = set(others.values_list("blob_id", "repository_id", "manifest__digest"))
        keys = {(repository, digest) for _blob, repository, digest in users}
        living = reachable(keys, with_undo=with_undo)
        kept |= {blob for blob, repository, digest in users if (repository, digest) in living}
    return kept


def _users(dead: Collection[int]) -> QuerySet[ManifestBlob]:
    return ManifestBlob.objects.filter(blob=OuterRef("pk")).exclude(manifest__in=dead).order_by()


def _that(blobs: Sequence[int], condition: QuerySet[ManifestBlob]) -> set[int]:
    if not blobs:
        return set()
    rows = Blob.objects.filter(Exists(condition), pk__in=blobs)
    return set(rows.values_list("pk", flat=True))
