"""Reads repositories from a store and makes them rows, in processes of its own, without Django.

    store ── closure ─► NewManifest, children first ── pieces ─► Piece … ─► bulk.write

A piece is what one short transaction writes: some tags with all manifests that they need. Pieces of
a repository come in order, and after each of them what is written is true in itself: every figure
counts what is there. Memory holds one piece, and per repository the names and sizes of its blobs.
"""

from __future__ import annotations

import gc
import json
import signal
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any

from registryui.oci import names
from registryui.oci.digest import is_canonical
from registryui.oci.manifest import parse_stored, stored_media_type
from registryui.oci.untrusted import MANIFEST_LIMIT, read_object
from registryui.registry.errors import RegistryError
from registryui.registry.source import Store, TagLink

from . import rows
from .contents import (
    CONFIG_LIMIT,
    NESTING_LIMIT,
    NewManifest,
    TagUpdate,
    children,
    config_of,
    label_expiry,
    resolved,
)

UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)  # models.UNKNOWN, which cannot be had without Django
DANGLING, UNREADABLE, INCOMPLETE = "dangling", "unreadable", "incomplete"  # Tag.Problem
ATTEMPT = 200  # manifests of one round: the fewer, the smaller a piece
# Rows of one transaction, some 300 ms: the more, the fewer pages of indexes come twice. A process
# begins with fewer, so that the writer need not wait.
WEIGHT = 128_000
FIRST = 8_000

# The columns of a piece's tuples that bulk.py cannot know otherwise.
TAG = (
    *("name", "manifest", "tagged_at", "tagged_by", "refers_to", "problem", "size"),
    *("version_key", "group_key", "label_expires_at"),
)


@dataclass(slots=True)
class Piece:
    """Rows for one repository. A manifest is named by its place among all of the repository."""

    repository: str
    first: int  # place of its first manifest
    manifests: list[tuple[Any, ...]] = field(default_factory=list)  # rows.MANIFEST, PUSHED
    entries: list[tuple[Any, ...]] = field(default_factory=list)  # place, rows.ENTRY
    # Sorted, and of each the place of the manifest that states it; without an object for each.
    facts: array[int] = field(default_factory=lambda: array("q"))
    fact_places: array[int] = field(default_factory=lambda: array("I"))
    edges: list[tuple[int, str, str, int]] = field(default_factory=list)  # place, blob, role, pos.
    blobs: dict[str, tuple[int, str, int]] = field(default_factory=dict)  # size, media type, users
    names: dict[str, str] = field(default_factory=dict)  # other digests of these, to their own
    tags: list[tuple[Any, ...]] = field(default_factory=list)  # TAG
    # Of the repository as far as it is written: tags, newest tag, when and by whom it was pushed.
    figures: tuple[int, str, datetime | str | None, str] = (0, "", UNKNOWN, "")
    stamp: str = ""  # of the last piece: all was read
    is_last: bool = False
    problems: int = 0  # tags with one

    @property
    def weight(self) -> int:
        """Rows, counting what takes as long as a row."""
        heavy = len(self.tags) + len(self.manifests)
        return 2 + 3 * heavy + len(self.edges) + len(self.facts) + len(self.entries)


PUSHED = ("pushed_at", "pushed_by", "is_tagged")  # behind rows.MANIFEST in a piece


@dataclass(slots=True)
class Found:
    """What `closure` brought."""

    manifests: list[NewManifest] = field(default_factory=list)  # children first
    problems: dict[str, str] = field(default_factory=dict)  # digest to DANGLING or UNREADABLE


def closure(
    store: Store,
    repository: str,
    digests: Iterable[str],
    *,
    have: Mapping[str, Any],
    of: set[str],
    is_mirrored: bool,
) -> Found:
    """These manifests and what they list, without those in `have`.

    `of` are the revisions of the repository: only what is linked there is in it. `is_mirrored`:
    nothing is missing there, but it may be absent. Raises RegistryError if the store does not
    answer; what cannot be read is a problem.
    """
    found = Found()
    levels: list[list[NewManifest]] = []
    seen: set[str] = set()
    level = [digest for digest in dict.fromkeys(digests) if digest not in have]
    while level and len(levels) < NESTING_LIMIT:
        seen |= set(level)
        read = _read(store, repository, level, found.problems, of)
        levels.append(resolved(store, repository, read))
        wanted = {child for one in levels[-1] for child in children(one)}
        level = sorted(child for child in wanted - seen if child not in have)
    flat = [one for some in reversed(levels) for one in some]
    found.manifests = _with_configs(store, repository, flat, found.problems)
    if is_mirrored:
        found.manifests = _with_absent(store, found.manifests)
    return found


def _read(
    store: Store,
    repository: str,
    digests: Sequence[str],
    problems: dict[str, str],
    of: set[str],
) -> list[NewManifest]:
    linked = [digest for digest in digests if digest in of and is_canonical(digest)]
    contents = dict(zip(linked, store.read_blobs(linked, limit=MANIFEST_LIMIT), strict=True))
    read = []
    for digest in digests:
        content = contents[digest] if digest in contents else _unlisted(store, repository, digest)
        if isinstance(content, RegistryError):
            if content.temporary:
                raise content
            problems[digest] = UNREADABLE
        elif content is None:
            problems[digest] = DANGLING
        elif (one := _parsed(digest, content)) is None:
            problems[digest] = UNREADABLE
        else:
            read.append(one)
    return read


def _unlisted(store: Store, repository: str, digest: str) -> bytes | RegistryError | None:
    """A manifest that came after the list of revisions, or that the registry finds otherwise."""
    try:
        stored = store.manifest(repository, digest)
    except RegistryError as error:
        return error
    return stored.raw if stored else None


def _parsed(digest: str, raw: bytes) -> NewManifest | None:
    """None: the registry itself could not read it."""
    try:
        parsed = parse_stored(raw)
    except ValueError:
        try:
            return NewManifest(digest, stored_media_type(read_object(raw)), raw, None)
        except ValueError:
            return None
    return NewManifest(digest, parsed.media_type, raw, parsed)


def _with_configs(
    store: Store,
    repository: str,
    manifests: Sequence[NewManifest],
    problems: Mapping[str, str],
) -> list[NewManifest]:
    wanted = list(dict.fromkeys(filter(None, (config_of(one.parsed) for one in manifests))))
    contents = store.read_blobs(wanted, limit=CONFIG_LIMIT, repository=repository)
    configs = dict(zip(wanted, contents, strict=True))
    done = []
    for one in manifests:
        config = configs.get(config_of(one.parsed), b"")
        if isinstance(config, RegistryError):
            if config.temporary:
                raise config
            config = b""
        missing = {child for child in children(one) if child in problems}
        if config is None:
            missing.add(config_of(one.parsed))
        done.append(
            NewManifest(
                one.digest,
                one.media_type,
                one.raw,
                one.parsed,
                config or None,
                tuple(sorted(missing)),
                one.stored,
            )
        )
    return done


def _with_absent(store: Store, manifests: Sequence[NewManifest]) -> list[NewManifest]:
    """The same, of a mirrored repository. One round."""
    wanted = list({digest for one in manifests for digest in rows.own_blobs(one)})
    absent = set()
    for digest, content in zip(wanted, store.read_blobs(wanted, limit=0), strict=True):
        if isinstance(content, RegistryError) and content.temporary:
            raise content
        if content is None:
            absent.add(digest)
    return [
        replace(one, missing=(), absent=frozenset(absent & rows.own_blobs(one).keys()))
        for one in manifests
    ]


# -- pieces ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Repository:
    """A repository while it is read. `reported` are updates that notifications reported."""

    name: str
    reported: Mapping[str, Sequence[TagUpdate]]
    times_as_text: bool  # as SQLite keeps them
    links: Sequence[TagLink]
    is_mirrored: bool = False
    groups: dict[str, bytes] = field(default_factory=dict)
    updates: dict[str, TagUpdate] = field(default_factory=dict)  # by tag
    pushed: dict[str, TagUpdate] = field(default_factory=dict)  # the newest move to each digest
    place: dict[str, int] = field(default_factory=dict)  # of each manifest that is made
    sizes: dict[str, int] = field(default_factory=dict)
    children: dict[str, rows.Child] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    tag_count: int = 0
    newest: tuple[datetime, bytes, bytes, str, str] = (UNKNOWN, b"", b"", "", "")


def pieces(
    store: Store,
    name: str,
    *,
    reported: Mapping[str, Sequence[TagUpdate]],
    times_as_text: bool,
    is_mirrored: bool = False,
) -> Iterator[Piece]:
    """Everything in a repository; at least one piece, the last of them with the stamp.

    RegistryError: the store does not answer.
    """
    stamp = store.stamp(name)  # before all else: what changes while we read, changes it again
    links = sorted(store.tag_links(name), key=lambda link: link.name)
    revisions = store.revisions(name)
    here = _begin(_Repository(name, reported, times_as_text, links, is_mirrored))
    of = set(revisions)
    waiting: Piece | None = None
    for some, digests in _portions(here, revisions):
        if waiting is not None:
            yield waiting
        waiting = _piece(here, some, _closure(store, here, digests, of))
    last = waiting or _piece(here, [], Found())
    last.stamp, last.is_last = stamp, True
    yield last


def complete_rows(
    name: str,
    links: Sequence[TagLink],
    manifests: Sequence[NewManifest],
    *,
    reported: Mapping[str, Sequence[TagUpdate]],
    times_as_text: bool,
) -> Piece:
    """A repository that was read in another way: all its tags, and the manifests that they need,
    children first. Without a stamp: nothing is known of manifests that no tag names."""
    here = _begin(_Repository(name, reported, times_as_text, links))
    piece = _piece(here, links, Found(list(manifests)))
    piece.is_last = True
    return piece


NEVER = TagUpdate("", UNKNOWN, "")


def _begin(here: _Repository) -> _Repository:
    here.groups = rows.group_keys((link.name, link.digest) for link in here.links)
    for link in here.links:
        update = here.updates[link.name] = _update(here, link)
        if update.at > here.pushed.get(link.digest, NEVER).at:
            here.pushed[link.digest] = update
    return here


def _update(here: _Repository, link: TagLink) -> TagUpdate:
    """When and by whom the tag was set: the event knows both, the link its time."""
    unknown = TagUpdate(link.digest, link.tagged_at, "")
    if link.name not in here.reported:
        return unknown
    reported = (one for one in here.reported[link.name] if one.digest == link.digest)
    return max(reported, key=lambda update: update.at, default=unknown)


def _portions(
    here: _Repository, revisions: Sequence[str]
) -> Iterator[tuple[Sequence[TagLink], list[str]]]:
    """Tags with their digests, then the manifests that no tag brought along."""
    for start in range(0, len(here.links), ATTEMPT):
        some = here.links[start : start + ATTEMPT]
        yield some, [link.digest for link in some if link.digest]
    rest = [digest for digest in revisions if digest not in here.place]
    for start in range(0, len(rest), ATTEMPT):
        yield [], rest[start : start + ATTEMPT]


def _closure(store: Store, here: _Repository, digests: Iterable[str], of: set[str]) -> Found:
    return closure(
        store,
        here.name,
        (digest for digest in digests if digest not in here.problems),
        have=here.place,
        of=of,
        is_mirrored=here.is_mirrored,
    )


def _piece(here: _Repository, links: Sequence[TagLink], found: Found) -> Piece:
    piece = Piece(here.name, len(here.place))
    here.problems |= found.problems
    fresh = {one.digest: one for one in found.manifests}
    made = {digest: rows.manifest_row(one) for digest, one in fresh.items()}
    edges = {digest: rows.edges(one) for digest, one in fresh.items()}
    _note_children(here, fresh, {digest: row for digest, (row, _facts) in made.items()}, edges)
    for one in fresh.values():
        row, _facts = made[one.digest]
        _add_manifest(here, piece, one, row, edges[one.digest])
    _add_facts(here, piece, {digest: facts for digest, (_row, facts) in made.items()})
    for link in links:
        _add_tag(here, piece, link)
    at, _group, _key, name, by = here.newest
    piece.figures = (here.tag_count, name, _time(here, at), by)
    return piece


def _note_children(
    here: _Repository,
    fresh: Mapping[str, NewManifest],
    made: Mapping[str, Sequence[Any]],
    edges: Mapping[str, Sequence[rows.Edge]],
) -> None:
    """Notes of each what an image index of it needs; of image indexes, whose columns do not say it,
    by what they list. `made`: rows.MANIFEST."""
    listed: dict[str, list[str]] = {}
    for digest, one in fresh.items():
        kind = one.parsed.kind if one.parsed else "unknown"
        if kind == "image index" and one.parsed:
            listed[digest] = list(dict.fromkeys(rows.entry_digests(one)))
            continue
        blobs = {
            edge.digest: here.sizes.setdefault(edge.digest, edge.size) for edge in edges[digest]
        }
        row = made[digest]
        here.children[digest] = rows.Child(kind, row[_SIZE], blobs, row[_EXPIRES], row[_OS])
    for digest in rows.inside_first(listed):
        below = [here.children[child] for child in listed[digest] if child in here.children]
        size = rows.image_index_size(len(fresh[digest].raw), below)
        after = made[digest][_EXPIRES]
        after = rows.image_index_expiry(below) if after is None else after
        here.children[digest] = rows.Child("image index", size, {}, after)


_SIZE, _CREATED, _ANNOTATIONS, _EXPIRES, _OS = (
    rows.MANIFEST.index(name)
    for name in ("size", "created_at", "annotations", "expires_after", "os")
)


def _add_manifest(
    here: _Repository,
    piece: Piece,
    one: NewManifest,
    columns: Sequence[Any],
    edges: Sequence[rows.Edge],
) -> None:
    """`columns`: rows.MANIFEST."""
    place = here.place[one.digest] = len(here.place)
    row = list(columns)
    noted = here.children[one.digest]
    row[_SIZE], row[_EXPIRES] = noted.size, noted.expires_after
    row[_CREATED] = _time(here, row[_CREATED])
    row[_ANNOTATIONS] = _json(row[_ANNOTATIONS])
    pushed = here.pushed.get(one.digest, NEVER)
    row += (_time(here, pushed.at), pushed.by[:255], one.digest in here.groups)
    piece.manifests.append(tuple(row))
    for entry in rows.entry_rows(one):
        piece.entries.append((place, *entry[:-1], _json(entry[-1])))
    piece.names |= one.stored
    piece.edges += [(place, digest, role, position) for role, position, digest, *_rest in edges]
    for edge in {edge.digest: edge for edge in reversed(edges)}.values():
        length, media_type, users = piece.blobs.get(edge.digest, (edge.size, edge.media_type, 0))
        piece.blobs[edge.digest] = (length, media_type, users + 1)
    if one.missing:
        here.incomplete.add(one.digest)


def _add_facts(here: _Repository, piece: Piece, stated: Mapping[str, Iterable[int]]) -> None:
    """`stated`: what each manifest states, by digest. Most facts are stated by all of them."""
    places: dict[int, list[int]] = {}
    for digest, facts in stated.items():
        place = here.place[digest]
        for fact in facts:
            if fact in places:
                places[fact].append(place)
            else:
                places[fact] = [place]
    for fact in sorted(places):
        here_stated = places[fact]
        piece.facts.extend([fact] * len(here_stated))
        piece.fact_places.extend(here_stated)


def _add_tag(here: _Repository, piece: Piece, link: TagLink) -> None:
    place = here.place.get(link.digest)
    problem = here.problems.get(link.digest, UNREADABLE if not link.digest else "")
    if place is not None:
        problem = INCOMPLETE if link.digest in here.incomplete else ""
    key = names.version_key(link.name)
    group = here.groups[link.digest] if place is not None else key
    update = here.updates[link.name] if place is not None else NEVER
    at = max(update.at, UNKNOWN)
    refers_to = names.referrer_subject(link.name)
    noted = here.children[link.digest] if place is not None else None
    size = noted.size if noted else 0
    expires = label_expiry(at, noted.expires_after) if noted and not refers_to else None
    by = update.by[:255]
    shown = (link.name, place, _time(here, at), by, refers_to, problem, size)
    piece.tags.append((*shown, key, group, _time(here, expires)))
    piece.problems += bool(problem)
    if not refers_to:
        here.tag_count += 1
        here.newest = max(here.newest, (at, group, key, link.name, by))


def _time(here: _Repository, moment: datetime | None) -> datetime | str | None:
    """As the database keeps it: SQLite has text, in UTC."""
    return _as_text(moment) if moment is not None and here.times_as_text else moment


@lru_cache(maxsize=1024)  # that of a tag stands in three rows
def _as_text(moment: datetime) -> str:
    return str(moment.astimezone(UTC))[:-6]  # without +00:00


def _json(value: object) -> str:
    return json.dumps(value) if value else "{}"


# -- a process that reads --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """A repository to read, with the updates of its tags that notifications reported."""

    name: str
    reported: Mapping[str, Sequence[TagUpdate]] = field(default_factory=dict)
    is_mirrored: bool = False


@dataclass(slots=True)
class Batch:
    """What one transaction writes, of one repository or many."""

    pieces: list[Piece] = field(default_factory=list)
    failed: dict[str, RegistryError] = field(default_factory=dict)  # by repository


def batches(
    store: Store, tasks: Iterable[Task], *, times_as_text: bool, first: int = 0
) -> Iterator[Batch]:
    """Everything in these repositories. One that cannot be read is in `failed`, and whatever came
    of it before has no last piece. `first`: the weight of the first batch; each after it may be
    twice as heavy, up to WEIGHT."""
    batch = Batch()
    weight, most = 0, first or WEIGHT
    for task in tasks:
        try:
            there = pieces(
                store,
                task.name,
                reported=task.reported,
                times_as_text=times_as_text,
                is_mirrored=task.is_mirrored,
            )
            for piece in there:
                batch.pieces.append(piece)
                weight += piece.weight
                if weight >= most:
                    yield batch
                    batch, weight, most = Batch(), 0, min(2 * most, WEIGHT)
        except RegistryError as error:
            batch.failed[task.name] = error
    if batch.pieces or batch.failed:
        yield batch


def serve(pipe: Connection, store: Store, times_as_text: bool) -> None:
    """The main function of a reading process. It is sent lists of tasks, and answers each with its
    batches and then None; to None it answers with the store's problems, and ends.

    It ends as well when the process that started it is gone: the pipe breaks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us
    gc.freeze()
    gc.disable()  # it takes a seventh of the time, and finds the cycle of an error at most
    first = FIRST
    try:
        while (tasks := pipe.recv()) is not None:
            for batch in batches(store, tasks, times_as_text=times_as_text, first=first):
                pipe.send(batch)
            pipe.send(None)
            first = 0
            gc.collect()
        pipe.send(store.problems)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
