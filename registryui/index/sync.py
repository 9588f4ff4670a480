"""Reads the whole registry and makes the index equal to it.

A store is read directly (build.py, reconcile.py). Else the registry is asked, as follows.
Only what changed is fetched: a HEAD for a tag that the index has, one GET for a new one, and
manifests and configs once per digest ever. Each chunk of tags is one transaction, so a run that
was killed goes on where it was. Rows are dropped only when the registry said so: the list was read
to its end *and* the thing is still not there when looked at again. An error drops nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeGuard

from django.db import IntegrityError

from registryui import audit, runs
from registryui.models import UNKNOWN, Manifest, ManifestBlob, Repository, Run, Tag
from registryui.models.mirrored import Mirrors, mirrored_names
from registryui.oci.manifest import parse_manifest
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, TooLarge
from registryui.registry.files import shown
from registryui.registry.source import Source, Store, Stored, TagLink

from . import bulk, ingest, reconcile
from .contents import NewManifest
from .fetch import Known, TagProbe, complete, probe
from .progress import Result, State
from .push_history import reported_updates
from .reading import closure, complete_rows

_BY_ITSELF = ("schedule", "start")  # of these syncs the audit log would be full
AT_ONCE = 16  # requests in flight; more do not make the registry faster
CHUNK = 100  # tags of one transaction
AHEAD = 5 * CHUNK  # tags asked about before their turn to be written: no thread is ever idle


def sync(
    source: Source, *, by: str, full: bool = False, progress: runs.Progress | None = None
) -> Run | None:
    """One run over all repositories; None if another one is under way.

    `full` fetches tags again even if their digest is known. State FAILED means that the registry
    could not be read to its end; what was read is kept.
    """
    run = runs.begin(Run.Kind.SYNC, by=by, result=Result())
    if run is None:
        return None
    if by not in _BY_ITSELF:
        audit.record("sync.start", "", by=by, details={"full": full})
    with State(run, Result(), progress) as state:
        try:
            if is_store(source):
                repositories = reconcile.from_store(source, state, full=full)
            else:
                with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sync") as pool:
                    repositories = _walk(source, state, pool, full=full)
            state.result.repositories = repositories
            _fill_all(source, state)
        except RegistryError as error:
            state.failed("repositories", error)
        if state.result.errors and not state.result.repositories:
            state.state = Run.State.FAILED
        if is_store(source):
            _note_links(source, state.result)
    return run


def is_store(source: Source) -> TypeGuard[Store]:
    """Whether this source can be read without asking the registry."""
    return hasattr(source, "tag_links")


def _note_links(store: Store, result: Result) -> None:
    """The symbolic links that somebody should know of."""
    result.unfollowed = [shown(path) for path in store.unfollowed]
    with suppress(RegistryError):  # a disk that went away just now: the next sync says so
        result.elsewhere = [shown(path) for path in store.elsewhere]


def _walk(source: Source, state: State, pool: Executor, *, full: bool) -> int:
    """Syncs what the registry lists, then forgets what it no longer has; returns repositories."""
    listed: set[str] = set()
    present = set(Repository.objects.values_list("name", flat=True))
    _take(source, state, pool, _asked(source, state, pool, listed, present, full=full))
    if state.broken is not None:
        raise state.broken
    for name in Repository.objects.exclude(name__in=listed).values_list("name", flat=True):
        try:
            tags = source.tags(name)
        except NotFound:
            state.changes.removed += ingest.drop_repository(name, with_undo=True)
            state.note(f"{name}: the registry no longer has it")
        except RegistryError as error:
            state.failed(name, error)
        else:
            listed.add(name)
            if tags:  # pushed after the list was read
                probes = _probes(source, pool, name, tags, _known_tags(name), full=full)
                _take(source, state, pool, probes)
    return len(listed)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Tags of one repository that the registry was asked about."""

    repository: str
    probes: list[tuple[str, Future[TagProbe]]]
    is_new: bool = False  # all tags of a repository that the index does not have


def _take(source: Source, state: State, pool: Executor, chunks: Iterator[_Chunk]) -> None:
    """Brings and writes one chunk after the other.

    Taking a chunk from `chunks` asks the registry about it; that is done just before a write, so
    that it answers while we write.
    """
    ahead: deque[_Chunk] = deque()
    mirrors = Mirrors()
    while _ask_ahead(ahead, chunks):
        chunk = ahead.popleft()
        probes = _answers(state, chunk)
        try:
            manifests = bring(source, chunk.repository, probes, pool, mirrors)
        except RegistryError as error:  # a child or config did not come: the next run does it
            state.failed(chunk.repository, error)
        else:
            _ask_ahead(ahead, chunks)
            is_complete = chunk.is_new and len(probes) == len(chunk.probes)
            done = _save_new(chunk.repository, probes, manifests) if is_complete else None
            state.changes += done or save(chunk.repository, probes, manifests)
        state.advance(len(chunk.probes))


def _ask_ahead(ahead: deque[_Chunk], chunks: Iterator[_Chunk]) -> bool:
    """Asks about so many tags that no thread is idle; False if all chunks are done."""
    while sum(len(chunk.probes) for chunk in ahead) < AHEAD:
        chunk = next(chunks, None)
        if chunk is None:
            break
        ahead.append(chunk)
    return bool(ahead)


def _answers(state: State, chunk: _Chunk) -> list[TagProbe]:
    probes = []
    for tag, future in chunk.probes:
        try:
            probes.append(future.result())
        except RegistryError as error:
            state.failed(f"{chunk.repository}:{tag}", error)
    return probes


def _asked(
    source: Source,
    state: State,
    pool: Executor,
    listed: set[str],
    present: set[str],
    *,
    full: bool,
) -> Iterator[_Chunk]:
    """Chunks of all that the registry lists; each is asked about when it is taken. `present`: the
    repositories of the index."""
    for name, tags in _tag_lists(source, state, pool):
        listed.add(name)
        known = _known_tags(name)
        state.run.total += len(tags)
        if not tags and not known:
            ingest.save(name, [], [])  # an empty repository is shown too
        chunks = _probes(source, pool, name, tags, known, full=full)
        is_new = name not in present and len(tags) <= CHUNK
        yield from (replace(chunk, is_new=is_new) for chunk in chunks)


def _tag_lists(source: Source, state: State, pool: Executor) -> Iterator[tuple[str, list[str]]]:
    """Repositories with their tags; the lists are fetched some ahead of their use."""
    queue: list[tuple[str, Future[list[str]]]] = []
    try:
        for name in source.repositories():
            queue.append((name, pool.submit(source.tags, name)))
            if len(queue) > AT_ONCE * 2:
                yield from _finished(queue.pop(0), state)
    except RegistryError as error:
        state.broken = error  # raised when what it listed so far is written
    for waiting in queue:
        yield from _finished(waiting, state)


def _finished(
    waiting: tuple[str, Future[list[str]]], state: State
) -> Iterator[tuple[str, list[str]]]:
    name, future = waiting
    try:
        yield name, future.result()
    except NotFound:
        return  # in the catalogue, but gone: dropped below, after another look
    except RegistryError as error:
        state.failed(name, error)
        yield name, _names_of(name)  # look at what we know; nothing is dropped


def _names_of(repository: str) -> list[str]:
    return list(Tag.objects.filter(repository__name=repository).values_list("name", flat=True))


def _known_tags(repository: str) -> dict[str, tuple[str, str]]:
    """Tags that the index has: name to (digest or "", problem)."""
    rows = Tag.objects.filter(repository__name=repository)
    return {
        name: (digest or "", problem)
        for name, digest, problem in rows.values_list("name", "manifest__digest", "problem")
    }


def _probes(
    source: Source,
    pool: Executor,
    repository: str,
    tags: Sequence[str],
    known: Mapping[str, tuple[str, str]],
    *,
    full: bool,
) -> Iterator[_Chunk]:
    """Chunks of what the registry lists, and of what only the index has: look before dropping."""
    listed = set(tags)
    every = [*tags, *sorted(known.keys() - listed)]
    for start in range(0, len(every), CHUNK):
        probes = []
        for tag in every[start : start + CHUNK]:
            digest, problem = known.get(tag, ("", ""))
            future = pool.submit(
                probe,
                source,
                repository,
                tag,
                expected=digest,
                again=full or bool(problem),
                is_listed=tag in listed,
            )
            probes.append((tag, future))
        yield _Chunk(repository, probes)


def write(
    source: Source,
    repository: str,
    probes: Sequence[TagProbe],
    pool: Executor,
    *,
    updates: Mapping[str, ingest.TagUpdate] | None = None,
    mirrors: Mirrors | None = None,
) -> ingest.Changes:
    """Fetches what these probes need and saves them. Raises RegistryError before writing."""
    manifests = bring(source, repository, probes, pool, mirrors or Mirrors())
    return save(repository, probes, manifests, updates=updates)


def bring(
    source: Source,
    repository: str,
    probes: Sequence[TagProbe],
    pool: Executor,
    mirrors: Mirrors,
) -> list[NewManifest]:
    """Fetches what these probes need and the index lacks. Raises RegistryError."""
    stored = [one.stored for one in probes if one.stored is not None]
    again = {one.digest for one in probes if one.stored and one.digest == one.expected}
    fresh = {one.digest for one in stored} - known_here(repository, (s.digest for s in stored))
    if not fresh | again:
        return []
    is_mirrored = mirrors.have(repository)
    if is_store(source):  # its files are as near as our tables: nothing is worth asking these first
        wanted = sorted(fresh | again)
        found = closure(source, repository, wanted, have={}, of=set(), is_mirrored=is_mirrored)
        return found.manifests
    return complete(
        source,
        repository,
        [one for one in stored if one.digest in fresh | again],
        known=Known(lambda digests: known_here(repository, digests), known_elsewhere),
        pool=pool,
        is_mirrored=is_mirrored,
    )


def save(
    repository: str,
    probes: Sequence[TagProbe],
    manifests: Sequence[NewManifest],
    *,
    updates: Mapping[str, ingest.TagUpdate] | None = None,
) -> ingest.Changes:
    """Writes what was brought, with who pushed it where that is known."""
    if updates is None:
        updates = reported_updates(
            repository, [one for one in probes if one.digest != one.expected]
        )
    return ingest.save(repository, probes, manifests, updates=updates)


def _save_new(
    repository: str, probes: Sequence[TagProbe], manifests: Sequence[NewManifest]
) -> ingest.Changes | None:
    """Writes a repository that the index does not have, in a third of the time that `save` takes.

    None: nothing is written, because a tag is not well or somebody else wrote the repository.
    """
    if not all(one.digest for one in probes):
        return None
    links = [TagLink(one.tag, one.digest, UNKNOWN) for one in probes]
    reported = {tag: [update] for tag, update in reported_updates(repository, probes).items()}
    piece = complete_rows(
        repository, links, manifests, reported=reported, times_as_text=bulk.times_as_text()
    )
    try:
        bulk.write([piece], {})
    except (bulk.Taken, IntegrityError):
        return None
    return ingest.Changes(
        added=len(piece.tags), manifests=len(piece.manifests), problems=piece.problems
    )


def _fill_all(source: Source, state: State) -> None:
    """Looks again for what mirrored repositories had not pulled yet. Two queries where that is
    nothing."""
    edges = ManifestBlob.objects.filter(
        repository__namespace__in=mirrored_names(), blob__size=0
    ).order_by()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fill") as pool:
        for name in edges.values_list("repository__name", flat=True).distinct():
            try:
                fill(source, name, pool)
            except RegistryError as error:
                state.failed(name, error)


def fill(source: Source, repository: str, pool: Executor) -> bool:
    """Looks again for blobs of a mirrored repository that it had not pulled yet; True if some are
    still absent. One query if none is. Raises RegistryError."""
    edges = ManifestBlob.objects.filter(repository__name=repository, blob__size=0).order_by()
    digests = sorted(set(edges.values_list("manifest__digest", flat=True)))
    absent = False
    for start in range(0, len(digests), CHUNK):
        some = digests[start : start + CHUNK]
        if is_store(source):
            have = dict.fromkeys(known_here(repository, digests) - set(some))
            found = closure(source, repository, some, have=have, of=set(), is_mirrored=True)
            manifests = found.manifests
        else:
            stored = pool.map(lambda digest: _manifest(source, repository, digest), some)
            manifests = complete(
                source,
                repository,
                [one for one in stored if one is not None],
                known=Known(set, lambda digests: {}),
                pool=pool,
                is_mirrored=True,
            )
        ingest.save(repository, [], manifests)
        absent |= any(one.absent for one in manifests)
    return absent


def is_absent(repository: str) -> bool:
    """Whether a mirrored repository had not pulled everything when it was looked at. One query."""
    return ManifestBlob.objects.filter(repository__name=repository, blob__size=0).exists()


def _manifest(source: Source, repository: str, digest: str) -> Stored | None:
    try:
        return source.manifest(repository, digest)
    except (NotFound, BadAnswer, TooLarge):
        return None


def known_here(repository: str, digests: Iterable[str]) -> set[str]:
    """Which of these manifests the index has in this repository."""
    rows = Manifest.objects.filter(repository__name=repository, digest__in=list(digests))
    return set(rows.values_list("digest", flat=True))


def known_elsewhere(digests: Iterable[str]) -> dict[str, NewManifest]:
    """Manifests that the index has in any repository, with their configs: no need to ask."""
    found: dict[str, NewManifest] = {}
    for row in Manifest.objects.filter(digest__in=list(digests)).only(
        "digest", "media_type", "raw", "config"
    ):
        raw = bytes(row.raw)
        try:
            parsed = parse_manifest(raw, row.media_type)
        except ValueError:
            continue
        if parsed.entries:
            continue  # its children may lack here: fetch and walk it
        config = bytes(row.config) if row.config is not None else None
        found[row.digest] = NewManifest(row.digest, row.media_type, raw, parsed, config)
    return found
