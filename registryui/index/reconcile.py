"""Makes the index equal to a store, and reads only what changed.

    a repository ├ not in the index      build.py, in bulk
                 ├ its tag links         read always: a moved tag leaves no trace in a folder's time
                 └ its manifests         listed if its stamp is another one than last time

Repairs lost events, hand deletions and restored backups. A row is dropped only when the thing is
still not there when looked at again; what could not be read drops nothing. What differed is in the
run's counts and lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from registryui.chunks import chunks
from registryui.models import UNKNOWN, Manifest, Repository, Run, Tag
from registryui.models.mirrored import Mirrors
from registryui.registry.errors import NotFound, RegistryError, Unreachable
from registryui.registry.source import Store, Stored, TagLink

from . import build, ingest
from .contents import NewManifest, TagUpdate
from .fetch import TagProbe
from .progress import Result, State
from .push_history import reported_updates
from .reading import DANGLING, UNREADABLE, Found, closure

TOGETHER = 500  # repositories whose rows are fetched at once
CHUNK = 100  # tags, or manifests, of one transaction


@dataclass(slots=True)
class Known:
    """A repository as the index has it."""

    stamp: str
    tags: dict[str, tuple[str, str]] = field(default_factory=dict)  # digest or "", problem
    undated: set[str] = field(default_factory=set)  # tags whose push nobody told of


def from_store(store: Store, state: State, *, full: bool) -> int:
    """Builds what is new, looks at all else, drops what is gone; returns the repositories listed.

    `full` reads every manifest again. RegistryError: the store could not be listed to its end;
    what was read is written, nothing is dropped.
    """
    listed = _listed(store, state)
    known = set(Repository.objects.values_list("name", flat=True))
    if known and not listed and not full and state.broken is None:
        raise Unreachable(
            f"the store is empty, and the index has {len(known)} repositories: nothing was"
            " dropped. Is its disk mounted? If it was emptied on purpose: ./boathouse sync --full"
        )
    left = build.build(store, [name for name in listed if name not in known], state)
    _reconcile(store, [*(name for name in listed if name in known), *left], state, full=full)
    if state.broken is not None:
        raise state.broken
    _drop_lost(store, known.difference(listed), state)
    for line in store.problems:
        state.note(line)
    return len(listed)


def read_again(store: Store, name: str) -> None:
    """Makes the index of one repository equal to the store. RegistryError: it does not answer."""
    known = replace(known_of([name])[name], stamp="")
    quiet = State(Run(), Result(), written_at=math.inf)  # nobody asks how far it is
    reconcile(store, name, known, quiet, full=False)


def _listed(store: Store, state: State) -> list[str]:
    """What the store lists; if that has no end, why is in `state.broken`."""
    names: list[str] = []
    try:
        names.extend(store.repositories())
    except RegistryError as error:
        state.broken = error
    return names


def _reconcile(store: Store, names: Sequence[str], state: State, *, full: bool) -> None:
    queue, mirrors = iter(names), Mirrors()
    total = state.run.done + Tag.objects.filter(repository__name__in=names).count()
    while some := list(islice(queue, TOGETHER)):
        for name, known in known_of(some).items():
            try:
                looked = reconcile(store, name, known, state, full=full, mirrors=mirrors)
            except RegistryError as error:
                state.failed(name, error)
                looked = len(known.tags)
            state.advance(looked, total=total)


def known_of(names: Sequence[str]) -> dict[str, Known]:
    """What the index has of these repositories, in their order."""
    stamps = Repository.objects.filter(name__in=names).values_list("pk", "name", "stamp")
    by_pk = {pk: (name, Known(stamp)) for pk, name, stamp in stamps}
    rows = Tag.objects.filter(repository__in=by_pk)
    for pk, tag, digest, problem, tagged_at in rows.values_list(
        "repository_id", "name", "manifest__digest", "problem", "tagged_at"
    ):
        by_pk[pk][1].tags[tag] = (digest or "", problem)
        if digest and tagged_at == UNKNOWN:
            by_pk[pk][1].undated.add(tag)
    found = dict(by_pk.values())
    return {name: found.get(name, Known("")) for name in names}


def reconcile(
    store: Store,
    name: str,
    known: Known,
    state: State,
    *,
    full: bool,
    mirrors: Mirrors | None = None,
) -> int:
    """Looks at one repository and writes what differs; returns how many tags were looked at."""
    stamp = store.stamp(name)  # first: what changes while we read, changes it again
    links = {link.name: link for link in store.tag_links(name)}
    changed = [link for link in links.values() if full or _differs(link, known)]
    gone = _gone(store, name, known.tags.keys() - links.keys())
    is_same = bool(stamp) and stamp == known.stamp and not full
    if is_same and not changed and not gone:
        return len(links)
    revisions = set(store.revisions(name))
    reader = _Reader(store, name, revisions, (mirrors or Mirrors()).have(name))
    for some in chunks(changed, CHUNK):
        _save(reader, some, known, state)
        state.advance(0)
    for tags in chunks(gone, CHUNK):
        probes = [TagProbe(tag, known.tags[tag][0], "", is_gone=True) for tag in tags]
        state.changes += ingest.save(name, probes, [])
        for tag in tags:
            state.note(f"{name}:{tag}: only the index had it")
    if not is_same:
        _untagged(reader, state)
        ingest.set_stamp(name, stamp)
    return len(links)


def _differs(link: TagLink, known: Known) -> bool:
    """Also a tag that was read over HTTP, which does not tell when it was pushed."""
    is_dated = link.tagged_at > UNKNOWN
    return known.tags.get(link.name) != (link.digest, "") or (
        is_dated and link.name in known.undated
    )


def _gone(store: Store, name: str, references: Iterable[str]) -> list[str]:
    """Those of these tags or digests that are still not there when looked at again."""
    return [one for one in sorted(references) if not _is_there(store, name, one)]


def _is_there(store: Store, name: str, reference: str) -> bool:
    """Whether the store has something for the reference, readable or not."""
    try:
        return store.resolve(name, reference) is not None
    except NotFound:
        return False
    except RegistryError as error:
        if error.temporary:
            raise
        return True


@dataclass(frozen=True, slots=True)
class _Reader:
    """A repository of a store."""

    store: Store
    name: str
    revisions: set[str]
    is_mirrored: bool

    def closure(self, digests: Iterable[str], have: Mapping[str, object]) -> Found:
        """See reading.py."""
        return closure(
            self.store,
            self.name,
            digests,
            have=have,
            of=self.revisions,
            is_mirrored=self.is_mirrored,
        )


def _save(reader: _Reader, links: Sequence[TagLink], known: Known, state: State) -> None:
    """Writes some tags with the manifests that the index lacks."""
    name = reader.name
    found = reader.closure([link.digest for link in links if link.digest], {})
    by_digest = {one.digest: one for one in found.manifests}
    probes = [_probe(link, known, by_digest, found.problems) for link in links]
    updates = {
        link.name: TagUpdate(link.digest, link.tagged_at, "") for link in links if link.digest
    }
    reported = reported_updates(name, probes)
    changes = ingest.save(name, probes, found.manifests, updates=updates | reported)
    state.changes += changes
    for one in probes:
        if one.tag in changes.skipped:
            continue
        if one.digest != one.expected:
            state.note(f"{name}:{one.tag}: {_change(one)}")


def _probe(
    link: TagLink,
    known: Known,
    manifests: Mapping[str, NewManifest],
    problems: Mapping[str, str],
) -> TagProbe:
    expected = known.tags.get(link.name, ("", ""))[0]
    one = manifests.get(link.digest)
    if one is None:
        problem = problems.get(link.digest, DANGLING) if link.digest else UNREADABLE
        return TagProbe(link.name, expected, "", problem=problem)
    return TagProbe(link.name, expected, one.digest, Stored(one.digest, one.media_type, one.raw))


def _change(one: TagProbe) -> str:
    if not one.expected:
        return "the index did not have it" if one.digest else f"{one.problem}, and new"
    return f"moved to {one.digest}" if one.digest else f"is {one.problem} now"


def _untagged(reader: _Reader, state: State) -> None:
    """Manifests that no tag brought along come in, those that the store no longer has go."""
    name, revisions = reader.name, reader.revisions
    have = set(Manifest.objects.filter(repository__name=name).values_list("digest", flat=True))
    for digests in chunks(sorted(revisions - have), CHUNK):
        found = reader.closure(digests, dict.fromkeys(have))
        changes = ingest.save(name, [], found.manifests)
        have |= {one.digest for one in found.manifests}
        state.changes += changes
        state.advance(0)
        if changes.manifests:
            state.note(f"{name}: {changes.manifests} manifests without a tag were not in the index")
    gone = _gone(reader.store, name, have - revisions)
    if ingest.drop_manifests(name, gone, with_undo=True):
        for digest in gone:
            state.note(f"{name}@{digest}: only the index had it")


def _drop_lost(store: Store, names: Iterable[str], state: State) -> None:
    for name in sorted(names):
        try:
            store.tags(name)
        except NotFound:
            state.changes.removed += ingest.drop_repository(name, with_undo=True)
            state.note(f"{name}: the store no longer has it")
        except RegistryError as error:
            state.failed(name, error)
