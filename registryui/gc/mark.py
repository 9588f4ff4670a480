"""What of a store is needed, and what is not: one full look, from the store's own links.

    kept          what tags on the disk (not in the index) and undo keep: see graph.py
    within_grace  what is not kept, and changed within the grace time, with all that it keeps
    the rest      candidates

What a manifest needs is read from its bytes in the index, checked against its digest; a link that
the index does not know is indexed first. Blobs are stored by sha256: what is named by another
digest is what the repository's link for it says. Where a repository cannot be understood, or has
no such link, all of it stays. Of a mirrored repository parts are not pulled yet: they have no link.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from django.utils import timezone
from django.utils.translation import gettext as _

from registryui.graph import closure
from registryui.index import processes, reconcile
from registryui.index.blob_names import remembered
from registryui.models import Manifest, ManifestTombstone, Repository, Tag, TagTombstone
from registryui.models.mirrored import PULLED_ALONE, Mirrors
from registryui.oci.digest import alike, is_canonical, matches
from registryui.oci.references import References, references
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry import paths
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.files import shown
from registryui.registry.quarantine import Quarantined
from registryui.registry.storage import FileStore

from .store_scan import Answer, Blobs, Ended, Links, Task, key_of, scan, serve

TOGETHER = 2000  # manifests, or so many repositories, that are looked at at once
GROUP = 40  # tasks that a process is sent at once
LARGE = 5000  # manifests in the index from which on processes are worth their start
LISTS = frozenset((Manifest.Kind.IMAGE, Manifest.Kind.ARTIFACT))  # these list no manifests


class Impossible(Exception):
    """Nothing may go, because: one sentence."""


@dataclass(slots=True)
class Mark:
    """What one look found. Digests of blobs are keys (links.key_of): there are many."""

    began: datetime
    needed: set[bytes] = field(default_factory=set)  # blobs, manifests too, by what is kept
    # By what is within the grace period, or has such a link.
    within_grace: set[bytes] = field(default_factory=set)
    manifests: list[tuple[str, str]] = field(default_factory=list)  # candidates: repository, digest
    blobs: list[tuple[bytes, int]] = field(default_factory=list)  # candidates, with bytes
    wanted: set[tuple[str, str]] = field(default_factory=set)  # needed, and without a link now
    living: set[str] = field(default_factory=set)  # repositories with a tag or manifest
    empty: list[str] = field(default_factory=list)  # those with nothing at all
    skipped: dict[str, str] = field(default_factory=dict)  # repository to why
    repositories: int = 0
    manifest_count: int = 0
    blob_count: int = 0  # of the store: layers, configs and manifests
    manifest_keys: set[bytes] = field(
        default_factory=set
    )  # of those, the manifests that are linked
    kept_manifests: int = 0  # blobs, too
    stored_manifests: int = 0
    size: int = 0  # bytes of all blobs
    kept_count: int = 0
    kept_size: int = 0
    grace_size: int = 0  # of blobs that nothing kept needs, and that may not go yet


@dataclass(slots=True)
class Marker:
    """One look at the store while it goes on. `go_on` is called again and again, with how much was
    looked at; it raises to end the look."""

    store: FileStore
    grace: timedelta
    go_on: Callable[[int], None]
    quarantined: Sequence[Quarantined] = ()  # what waits in the quarantine
    found: Mark = field(init=False)
    _tombstones: dict[str, set[str]] = field(init=False)
    _mirrors: Mirrors = field(init=False)
    _away: dict[str, set[str]] = field(init=False)  # quarantined manifests of each repository

    def mark(self) -> Mark:
        """A full look. RegistryError: the store does not answer; Impossible: see there."""
        self.found = Mark(timezone.now())
        # Before the disk is read: an image that undo brings back meanwhile is in one of the two.
        self._tombstones = defaultdict(set)
        kept = TagTombstone.objects.kept(self.found.began)
        for name, digest in kept.values_list("repository", "digest"):
            self._tombstones[name].add(digest)
        self._mirrors = Mirrors()
        self._away = defaultdict(set)
        for one in self.quarantined:
            place = paths.place_of(one.path)
            if place is not None and place.kind == "revision":
                self._away[place.repository].add(place.digest)
        folders = self.store.folders()
        names = [name for name, inside in folders.items() if inside]
        self._check(names)
        self.found.repositories = sum(
            not inside.isdisjoint(paths.MARKERS) for inside in folders.values()
        )
        self._links(names)
        self._sum()
        return self.found

    def _check(self, names: Sequence[str]) -> None:
        """Impossible: this is not the store that the index is of, or not all of it."""
        if self.store.unfollowed:
            raise Impossible(_behind(self.store.unfollowed[0]))
        known = set(Repository.objects.values_list("name", flat=True))
        if names and not known:
            raise Impossible(_("The index is empty, but the store is not: ./boathouse sync"))
        if known and known.isdisjoint(names):
            raise Impossible(
                _("The store contains none of the indexed repositories. Is its disk mounted?")
            )
        lost = Tag.objects.filter(repository__name__in=list(known.difference(names))[:500])
        for name in lost.values_list("repository__name", flat=True).distinct():
            if self._is_gone(name):
                raise Impossible(
                    _(
                        "The index has tags of %(name)s, but the store has no such "
                        "repository. If all disks are mounted: ./boathouse sync"
                    )
                    % {"name": name}
                )

    def _is_gone(self, name: str) -> bool:
        """Asked again: it may have been pushed since the folders were listed."""
        try:
            self.store.tags(name)
        except NotFound:
            return True
        return False

    @property
    def _before(self) -> float:
        return (self.found.began - self.grace).timestamp()

    # -- what the store says -----------------------------------------------------------------------
    def _answers(self, tasks: Iterator[Task]) -> Iterator[Answer]:
        """From processes if that is worth it. What cannot be read ends it: nothing is known."""
        groups = iter(lambda: list(islice(tasks, GROUP)), [])
        answers: Iterable[Answer]
        if Manifest.objects.order_by().values("pk")[LARGE : LARGE + 1].exists():
            answers = processes.answers(serve, (self.store, self._before), groups)
        else:
            answers = (
                answer
                for group in groups
                for answer in scan(self.store, group, before=self._before)
            )
        for answer in answers:
            if isinstance(answer, RegistryError):
                raise answer
            yield answer
        if self.store.unfollowed:
            raise Impossible(_behind(self.store.unfollowed[0]))

    def _links(self, names: Sequence[str]) -> None:
        tasks = [
            *(Task("repository", name) for name in names),
            *(Task("unusable", name) for name in self.store.unusable),
        ]
        waiting: list[Links] = []
        weight = 0
        for answer in self._answers(iter(tasks)):
            if isinstance(answer, Ended) and answer.unfollowed:
                raise Impossible(_behind(answer.unfollowed[0]))
            if not isinstance(answer, Links):
                continue
            waiting.append(answer)
            weight += 1 + len(answer.manifests)
            if weight >= TOGETHER:
                self._judge(waiting)
                waiting, weight = [], 0
        self._judge(waiting)

    def _sum(self) -> None:
        """Each blob of the store: kept, within the grace period or a candidate."""
        mark, before = self.found, self._before
        tasks = (Task("blobs", folder) for folder in self.store.blob_folders())
        for answer in self._answers(tasks):
            if not isinstance(answer, Blobs):
                continue
            mark.blob_count += len(answer.keys)
            mark.size += sum(answer.sizes)
            for key, size, changed in zip(answer.keys, answer.sizes, answer.changed, strict=True):
                is_manifest = key in mark.manifest_keys
                mark.stored_manifests += is_manifest
                if key in mark.needed:
                    mark.kept_count += 1
                    mark.kept_manifests += is_manifest
                    mark.kept_size += size
                elif changed >= before or key in mark.within_grace:
                    mark.grace_size += size
                else:
                    mark.blobs.append((key, size))
            self.go_on(len(answer.keys))

    # -- what is needed ----------------------------------------------------------------------------
    def _judge(self, group: Sequence[Links]) -> None:
        """Decides about all manifests of some repositories."""
        known = self._known(group)
        for here in known.values():
            here.kept = closure(self._roots(here), here.keeps)
            here.within_grace = closure(self._within_grace(here), here.keeps) - here.kept
            self._skip(here)
        self._expand(known)
        for here in known.values():
            self._skip(here)
            self._note(here)
        self.go_on(sum(len(links.manifests) for links in group))

    def _skip(self, here: _Known) -> None:
        """Where there is a reason: nothing of this repository goes, and nothing that it links."""
        links = here.links
        if here.why and not links.why:
            links.why = here.why
            layers = self.store.layer_links(links.name)
            links.layers = [digest for one in layers for digest in one.digests]
        if links.why:
            here.kept |= here.within_grace | set(links.manifests)
            here.within_grace = set()

    def _known(self, group: Sequence[Links]) -> dict[str, _Known]:
        """The index of these repositories; what is on the disk and not in it is indexed first."""
        known = _known(self.store, group, self._mirrors)
        late = [one.links for one in known.values() if set(one.links.manifests) - one.rows.keys()]
        for links in late:
            reconcile.read_again(self.store, links.name)
            self.go_on(0)
        return known | _known(self.store, late, self._mirrors)

    def _roots(self, here: _Known) -> set[str]:
        links = here.links
        roots = links.tags | self._tombstones.get(links.name, set()) | here.pulled_alone
        return roots | set(links.manifests) if links.why else roots

    def _within_grace(self, here: _Known) -> set[str]:
        """Manifests that may not go yet: pushed, or without a tag, only within the grace time. One
        that has a tag in the index and none on the disk is looked at again by a sync first."""
        limit = self.found.began - self.grace
        # A row without a link: a client deleted it, and the index will learn that, for undo.
        return {
            digest
            for digest in (here.rows.keys() | set(here.links.manifests)) - here.kept
            if (row := here.rows.get(digest)) is None
            or digest in here.links.within_grace
            or row.untagged_at is None
            or row.untagged_at >= limit
        }

    def _expand(self, known: dict[str, _Known]) -> None:
        """Marks what these manifests name."""
        others: dict[tuple[str, bool], set[str]] = defaultdict(set)
        for name, digest, named in self._named(known):
            is_kept = digest in known[name].kept
            self._add(named.digests, is_kept=is_kept)
            others[name, is_kept].update(one for one in named.digests if not is_canonical(one))
        for (name, is_kept), digests in others.items():
            self._add(known[name].stored(digests), is_kept=is_kept)

    def _named(self, known: dict[str, _Known]) -> Iterator[tuple[str, str, References]]:
        """Repository and digest of each manifest that stays, and what it names. Where one cannot be
        read anywhere, `why` of its repository says so."""
        rows = Manifest.objects.filter(repository__name__in=list(known)).order_by()
        for name, digest, raw in rows.values_list("repository__name", "digest", "raw").iterator(
            chunk_size=500
        ):
            here = known[name]
            if digest not in here.kept and digest not in here.within_grace:
                continue
            content: bytes | RegistryError | None = bytes(raw)
            if not matches(digest, bytes(raw)):  # signed schema 1, read over HTTP
                content = here.content(digest)
            if isinstance(content, bytes):
                yield name, digest, references(content)
            else:
                here.why = here.why or f"{digest}: cannot be read"
        for name, here in known.items():
            for digest, named in here.read.items():  # no row has it, but a layer link
                if named is not None:
                    yield name, digest, named

    def _note(self, here: _Known) -> None:
        """Adds what was decided about a repository to what the look found."""
        mark, links, name = self.found, here.links, here.links.name
        linked, away = set(links.manifests), self._away.get(name, set())
        staying = here.kept | here.within_grace
        mark.manifest_count += len(linked)
        others = [one for one in linked if not is_canonical(one)]
        stored = remembered(others).values() if others else ()
        mark.manifest_keys.update(map(key_of, (*linked, *stored)))
        mark.manifests += [(name, digest) for digest in linked - staying]
        mark.wanted |= {(name, digest) for digest in away & staying - linked}
        self._add(here.kept, is_kept=True)
        self._add(here.within_grace, is_kept=False)
        self._add(links.layers, is_kept=bool(links.why))
        if links.why:
            mark.skipped[name] = links.why
        if linked or staying or links.tag_count or links.newest >= self._before:
            mark.living.add(name)
        elif links.is_usable and not links.why and not away:
            mark.empty.append(name)

    def _add(self, digests: Iterable[str], *, is_kept: bool) -> None:
        """Marks blobs."""
        (self.found.needed if is_kept else self.found.within_grace).update(map(key_of, digests))


@dataclass(slots=True)
class _Row:
    untagged_at: datetime | None
    lists_nothing: bool


@dataclass(slots=True)
class _Known:
    """A repository in the index, and what is decided about it."""

    links: Links
    store: FileStore
    is_mirrored: bool = False
    pulled_alone: set[str] = field(default_factory=set)  # see models/mirrored.py
    kept: set[str] = field(default_factory=set)
    within_grace: set[str] = field(default_factory=set)  # and not kept
    rows: dict[str, _Row] = field(default_factory=dict)
    referrers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lists: dict[str, References] = field(default_factory=dict)  # of image indexes and the like
    buried: dict[str, References] = field(default_factory=dict)  # clients deleted them
    read: dict[str, References | None] = field(default_factory=dict)  # from the store: no row
    why: str = ""  # nothing of the repository may go, because …

    def stored(self, digests: Iterable[str]) -> set[str]:
        """What those of these that are no sha256 are stored under: by the repository's links, and
        as the index remembers it. One without such a link may be any blob: then `why` says so, but
        where a mirror may not have pulled it yet."""
        others = [one for one in digests if not is_canonical(one)]
        linked = self.store.stored_as(self.links.name, others)
        lost = sorted(set(others) - linked.keys())
        if lost and not self.is_mirrored:
            self.why = self.why or f"{lost[0]}: no link says which blob that is"
        return {*linked.values(), *remembered(others).values()}

    def keeps(self, digests: set[str]) -> Iterator[str]:
        """What image indexes among these list, and what refers to any of these."""
        yield from self.stored(digests)
        for digest in digests:
            yield from self._listed_by(digest)
            yield from self.referrers.get(digest, ())

    def _listed_by(self, digest: str) -> Iterable[str]:
        """The manifests that it lists. What has no row is read from the store, as it may be there
        by a layer link only."""
        row = self.rows.get(digest)
        if row is not None and row.lists_nothing:
            return ()
        named = self.lists.get(digest) if row is not None else self._read(digest)
        if named is None:
            return ()
        others = (one for one in (*named.blobs, *named.others) if one in self.rows)
        return (*named.manifests, *others)

    def _read(self, digest: str) -> References | None:
        if digest not in self.read and digest in self.buried:
            self.read[digest] = self.buried[digest]
        if digest not in self.read:
            content = self.content(digest)
            if isinstance(content, RegistryError):
                self.why = self.why or f"{digest}: cannot be read"
            self.read[digest] = references(content) if isinstance(content, bytes) else None
        return self.read[digest]

    def content(self, digest: str) -> bytes | RegistryError | None:
        """The bytes of a manifest in the store. Raises RegistryError if it does not answer."""
        name = self.links.name
        content = self.store.read_blobs([digest], limit=MANIFEST_LIMIT, repository=name)[0]
        if isinstance(content, RegistryError) and content.temporary:
            raise content
        return content


def _known(store: FileStore, group: Sequence[Links], mirrors: Mirrors) -> dict[str, _Known]:
    """What the index has of these repositories."""
    known = {links.name: _Known(links, store, mirrors.have(links.name)) for links in group}
    rows = Manifest.objects.filter(repository__name__in=list(known)).order_by()
    for name, digest, subject, untagged_at, kind in rows.values_list(
        "repository__name", "digest", "subject_digest", "untagged_at", "kind"
    ).iterator(chunk_size=2000):
        here = known[name]
        here.rows[digest] = _Row(untagged_at, kind in LISTS)
        if subject:
            here.referrers[subject].append(digest)
    lists = rows.exclude(kind__in=LISTS).values_list("repository__name", "digest", "raw")
    for name, digest, raw in lists.iterator(chunk_size=500):
        known[name].lists[digest] = references(bytes(raw))
    tombstones = ManifestTombstone.objects.filter(repository__in=list(known)).order_by()
    for name, digest, raw in tombstones.values_list("repository", "digest", "raw").iterator():
        known[name].buried[digest] = references(bytes(raw))
    mirrored = [name for name, here in known.items() if here.is_mirrored]
    alone = rows.filter(PULLED_ALONE, repository__name__in=mirrored)
    for name, digest in alone.values_list("repository__name", "digest"):
        known[name].pulled_alone.add(digest)
    for name, here in known.items():
        if others := [subject for subject in here.referrers if not is_canonical(subject)]:
            for subject, digest in named_otherwise(name, others).items():
                here.referrers[digest] += here.referrers[subject]
    return known


def named_otherwise(repository: str, digests: Collection[str]) -> dict[str, str]:
    """Of those of these digests that are no sha256 the manifest of the repository that they name,
    found by its bytes: no link tells what a subject is. Reads all manifests of the repository."""
    others = {one for one in digests if not is_canonical(one)}
    examples = {one.partition(":")[0]: one for one in others}.values()
    found: dict[str, str] = {}
    if not others:
        return found
    rows = Manifest.objects.filter(repository__name=repository).order_by()
    for digest, raw in rows.values_list("digest", "raw").iterator(chunk_size=500):
        found |= {name: digest for one in examples if (name := alike(one, bytes(raw))) in others}
    return found


def _behind(path: str) -> str:
    return _(
        "%(path)s is a symbolic link that is not followed: its target may use any content."
    ) % {"path": shown(path)}
