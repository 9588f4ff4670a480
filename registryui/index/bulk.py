"""Writes whole repositories that the index does not have, in bulk: COPY or executemany.

The first build's writer; every change after it is ingest.py's. Both make the same rows
(tests/index/test_bulk.py builds one store both ways), because both take the columns from rows.py.
The lists of columns come from the models: a new one gets its default here or is an error at once.

    transaction ├ blobs        taken or made, and counted, in one statement
                ├ repositories, manifests      with ids that we take beforehand
                └ entries, facts, edges, tags  name them
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any

from django.db import connection, models, transaction
from django.utils import timezone

from registryui.models import (
    Blob,
    BlobName,
    ImageFact,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
)
from registryui.oci import names

from . import reading, rows
from .reading import Piece

_REPOSITORY = (
    *("id", "name", "namespace", "tag_count", "manifest_count", "size", "newest_tag"),
    *("pushed_at", "pushed_by", "changed_at", "stamp"),
)
_MANIFEST = (
    *("id", "repository", *rows.MANIFEST, "pushed_at", "pushed_by"),
    *("is_listed", "untagged_at", "seen_at"),
)
_DIGEST = rows.MANIFEST.index("digest")
_ENTRY_DIGEST = 1 + rows.ENTRY.index("digest")  # behind the place of its image index
AT_ONCE = 100  # rows of one statement on SQLite, which takes as long to start as to write three
_BLOB = ("digest", "size", "media_type", "manifest_count")


@dataclass(slots=True)
class Begun:
    """A repository of which a piece is written and others are to come."""

    id: int
    manifests: list[int] = field(default_factory=list)  # ids by place
    blobs: set[int] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)  # digests that its image indexes list
    size: int = 0
    changed_at: datetime | None = None  # as we wrote it

    def copy(self) -> Begun:
        """With lists of its own: a transaction may fail."""
        return replace(
            self,
            manifests=self.manifests.copy(),
            blobs=self.blobs.copy(),
            listed=self.listed.copy(),
        )


@dataclass(frozen=True, slots=True)
class _Table:
    """How rows with these columns get into the table of a model."""

    name: str
    columns: tuple[str, ...]  # those given, then those that have their default
    defaults: tuple[Any, ...]

    def insert(self, cursor: Any, some: Iterable[tuple[Any, ...]]) -> None:
        quoted = ", ".join(connection.ops.quote_name(column) for column in self.columns)
        table = connection.ops.quote_name(self.name)
        whole = [row + self.defaults for row in some] if self.defaults else list(some)
        if connection.vendor == "postgresql":
            with (
                connection.wrap_database_errors,
                cursor.copy(f"COPY {table} ({quoted}) FROM STDIN") as copy,
            ):
                for row in whole:
                    copy.write_row(row)
        else:
            head = f"INSERT INTO {table} ({quoted}) VALUES"
            one = f"({', '.join(['%s'] * len(self.columns))})"
            many = len(whole) // AT_ONCE * AT_ONCE
            places = range(0, many, AT_ONCE)
            cursor.executemany(
                f"{head} {', '.join([one] * AT_ONCE)}",
                ([*chain.from_iterable(whole[at : at + AT_ONCE])] for at in places),
            )
            cursor.executemany(f"{head} {one}", whole[many:])


@cache
def _table(model: type[models.Model], given: tuple[str, ...]) -> _Table:
    """TypeError: the model has a column without a default that nobody gives."""
    by_name = {one.name: one for one in model._meta.concrete_fields}
    rest = [one for one in by_name.values() if one.name not in given and not _is_made(one)]
    return _Table(
        model._meta.db_table,
        tuple(str(one.column) for one in (*(by_name[name] for name in given), *rest)),
        tuple(_default(one) for one in rest),
    )


def _is_made(one: models.Field[Any, Any]) -> bool:
    """A key that the database counts up itself."""
    return isinstance(one, models.AutoField)


def _default(one: models.Field[Any, Any]) -> Any:
    if not (one.has_default() or one.null or one.empty_strings_allowed):
        raise TypeError(f"{one.model.__name__}.{one.name} has no default: bulk.py must fill it")
    value = one.get_db_prep_save(one.get_default(), connection)
    return bytes(value) if isinstance(value, memoryview) else value


def times_as_text() -> bool:
    """Whether the database keeps times as text (SQLite)."""
    return connection.vendor == "sqlite"


def write(pieces: Sequence[Piece], begun: dict[str, Begun]) -> None:
    """One transaction. `begun` holds the repositories whose last piece is still to come; pass the
    same one again for the next pieces.

    Taken: one of the repositories is not ours alone; IntegrityError: it became so just now.
    Nothing is written then, and `begun` is as before.
    """
    names_here = {piece.repository for piece in pieces}
    state = {name: begun[name].copy() for name in names_here & begun.keys()}
    with transaction.atomic():
        _write(pieces, state)
    begun |= state
    for piece in pieces:
        if piece.is_last:
            del begun[piece.repository]


def _write(pieces: Sequence[Piece], begun: dict[str, Begun]) -> None:
    if taken := _taken({piece.repository for piece in pieces}, begun):
        raise Taken(", ".join(sorted(taken)))
    now = timezone.now()
    with connection.cursor() as cursor:
        blobs = _take_blobs(cursor, pieces)
        add_names(
            (named, blobs[stored][0])
            for piece in pieces
            for named, stored in piece.names.items()
            if stored in blobs
        )
        fresh = [name for name in dict.fromkeys(p.repository for p in pieces) if name not in begun]
        for name, key in zip(fresh, _take_ids(cursor, Repository, len(fresh)), strict=True):
            begun[name] = Begun(key)
        keys = iter(_take_ids(cursor, Manifest, sum(len(piece.manifests) for piece in pieces)))
        for piece in pieces:
            begun[piece.repository].manifests += [next(keys) for _row in piece.manifests]
        with _names_at_once(cursor):
            _add_manifests(cursor, pieces, begun, now)
            _add_what_names_them(cursor, pieces, begun, blobs)
            _add_repositories(cursor, pieces, begun, blobs, now, fresh)


class Taken(Exception):
    """Somebody else wrote into a repository that this writer began, or made it first."""


def _taken(wanted: set[str], begun: Mapping[str, Begun]) -> set[str]:
    found = Repository.objects.select_for_update().filter(name__in=wanted)
    present = dict(found.values_list("name", "changed_at"))
    ours = {name: begun[name].changed_at for name in wanted & begun.keys()}
    return {name for name in wanted if present.get(name) != ours.get(name)}


def stored(moment: datetime) -> datetime | str:
    """A time as `insert` takes it."""
    return str(moment.astimezone(UTC).replace(tzinfo=None)) if times_as_text() else moment


def insert(
    model: type[models.Model], columns: tuple[str, ...], some: Iterable[tuple[Any, ...]]
) -> None:
    """Rows with these fields, the others at their default, in a tenth of bulk_create's time: for
    tables of which an image has dozens of rows. Foreign keys are ids. In the transaction of the
    caller; values are as the database keeps them."""
    with connection.cursor() as cursor:
        _table(model, columns).insert(cursor, some)


def add_names(pairs: Iterable[tuple[str, int]]) -> None:
    """Notes other digests of blobs: (digest, id of the blob). In the transaction of the caller."""
    found = dict(pairs)
    if found:  # almost never
        some = [BlobName(digest=digest, blob_id=blob) for digest, blob in sorted(found.items())]
        BlobName.objects.bulk_create(some, ignore_conflicts=True)


def remove_facts(pairs: Sequence[tuple[int, int]]) -> None:
    """Facts of manifests that go: (fact, id of the manifest). In the transaction of the caller."""
    table = ImageFact._meta.db_table
    with connection.cursor() as cursor:
        cursor.executemany(
            f"DELETE FROM {table} WHERE fact = %s AND manifest_id = %s",  # noqa: S608
            pairs,
        )


@contextmanager
def _names_at_once(cursor: Any) -> Iterator[None]:
    """On SQLite the letters of new names are noted by one statement afterwards, in a tenth of the
    time that a trigger for each row takes (migration 0009). PostgreSQL's indexes need nothing."""
    if connection.vendor != "sqlite":
        yield
        return
    tables = (Tag._meta.db_table, Repository._meta.db_table)
    before = []
    for table in tables:
        cursor.execute(f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608
        before.append(cursor.fetchone()[0])
    cursor.execute("UPDATE registryui_names_quiet SET is_quiet = 1")
    yield
    for table, last in zip(tables, before, strict=True):
        cursor.execute(
            f"INSERT INTO {table}_names(rowid, name) SELECT id, name FROM {table} WHERE id > %s",  # noqa: S608
            [last],
        )
    cursor.execute("UPDATE registryui_names_quiet SET is_quiet = 0")


def _take_ids(cursor: Any, model: type[models.Model], count: int) -> Sequence[int]:
    """Ids that nobody else gets (SQLite: nobody else writes until this transaction ends)."""
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
            [connection.ops.quote_name(table), count],
        )
        return [key for (key,) in cursor.fetchall()]
    cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
    found = cursor.fetchone()
    first = (found[0] if found else 0) + 1
    return range(first, first + count)


def _take_blobs(cursor: Any, pieces: Sequence[Piece]) -> dict[str, tuple[int, int]]:
    """Id and size of every blob that is named here; missing ones are made, all are counted."""
    wanted: dict[str, tuple[int, str, int]] = {}
    for piece in pieces:
        for digest, (size, media_type, users) in piece.blobs.items():
            first = wanted.get(digest, (size, media_type, 0))
            wanted[digest] = (first[0], first[1], first[2] + users)
    if not wanted:
        return {}
    # In one order, so that two who take the same blobs on PostgreSQL do not wait for each other.
    table = _table(Blob, _BLOB)
    some = [(digest, *wanted[digest], *table.defaults) for digest in sorted(wanted)]
    columns = ", ".join(connection.ops.quote_name(name) for name in table.columns)
    found: dict[str, tuple[int, int]] = {}
    for source, parameters in _sources(some):
        cursor.execute(
            f"INSERT INTO {table.name} ({columns}) {source} ON CONFLICT (digest) DO UPDATE SET"
            f" manifest_count = {table.name}.manifest_count + excluded.manifest_count"
            " RETURNING digest, id, size",
            parameters,
        )
        found |= {digest: (key, size) for digest, key, size in cursor.fetchall()}
    return found


def _sources(some: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    """Rows of _BLOB and the same defaults, as something to insert with its parameters."""
    if connection.vendor == "postgresql":
        lists = [list(column) for column in zip(*some, strict=True)][: len(_BLOB)]
        given = "unnest(%s::text[], %s::bigint[], %s::text[], %s::integer[]) AS given"
        more = some[0][len(_BLOB) :]
        yield f"SELECT given.*{', %s' * len(more)} FROM {given}", [*more, *lists]  # noqa: S608
        return
    one = f"({', '.join(['%s'] * len(some[0]))})"
    for at in range(0, len(some), AT_ONCE):
        part = some[at : at + AT_ONCE]
        yield f"VALUES {', '.join([one] * len(part))}", [*chain.from_iterable(part)]


def _add_manifests(
    cursor: Any, pieces: Sequence[Piece], begun: Mapping[str, Begun], now: datetime
) -> None:
    found = []
    at = stored(now)
    for piece in pieces:
        of = begun[piece.repository]
        listed = {entry[_ENTRY_DIGEST] for entry in piece.entries}
        before = listed - of.listed - {row[_DIGEST] for row in piece.manifests}
        of.listed |= listed
        ids = of.manifests[piece.first : piece.first + len(piece.manifests)]
        for key, row in zip(ids, piece.manifests, strict=True):
            is_listed = row[_DIGEST] in of.listed
            found.append((key, of.id, *row[:-1], is_listed, None if row[-1] else at, at))
        if before and piece.first:  # children that an earlier piece brought
            Manifest.objects.filter(repository=of.id, digest__in=before).update(is_listed=True)
    _table(Manifest, _MANIFEST).insert(cursor, found)


def _add_what_names_them(
    cursor: Any,
    pieces: Sequence[Piece],
    begun: Mapping[str, Begun],
    blobs: Mapping[str, tuple[int, int]],
) -> None:
    entries: list[tuple[Any, ...]] = []
    facts: list[tuple[int, int]] = []
    edges: list[tuple[Any, ...]] = []
    tags: list[tuple[Any, ...]] = []
    for piece in pieces:
        of, ids = begun[piece.repository].id, begun[piece.repository].manifests
        entries += [(ids[place], *entry) for place, *entry in piece.entries]
        facts += zip(piece.facts, map(ids.__getitem__, piece.fact_places), strict=True)
        edges += [
            (ids[place], of, blobs[digest][0], role, position)
            for place, digest, role, position in piece.edges
        ]
        tags += [
            (of, name, None if place is None else ids[place], *rest)
            for name, place, *rest in piece.tags
        ]
    _table(ImageIndexEntry, ("image_index", *rows.ENTRY)).insert(cursor, entries)
    facts.sort()  # neighbours in the table are written together
    _table(ImageFact, ("fact", "manifest")).insert(cursor, facts)
    _table(ManifestBlob, _EDGE).insert(cursor, edges)
    _table(Tag, ("repository", *reading.TAG)).insert(cursor, tags)


_EDGE = ("manifest", "repository", "blob", "role", "position")


def _add_repositories(
    cursor: Any,
    pieces: Sequence[Piece],
    begun: Mapping[str, Begun],
    blobs: Mapping[str, tuple[int, int]],
    now: datetime,
    fresh: Iterable[str],
) -> None:
    """Figures of what is written so far: new repositories get a row, the others new figures."""
    found: dict[str, tuple[Any, ...]] = {}
    raw = rows.MANIFEST.index("raw")
    for piece in pieces:
        of = begun[piece.repository]
        held = {blobs[digest] for digest in piece.blobs}
        of.size += sum(size for key, size in held if key not in of.blobs)
        of.size = rows.capped(of.size + sum(len(row[raw]) for row in piece.manifests))
        of.blobs |= {key for key, _size in held}
        tag_count, newest_tag, pushed_at, pushed_by = piece.figures
        found[piece.repository] = (
            *(tag_count, len(of.manifests), of.size, newest_tag),
            *(pushed_at, pushed_by, stored(now), piece.stamp),
        )
        of.changed_at = now
    new = set(fresh)
    _table(Repository, _REPOSITORY).insert(
        cursor,
        [
            (begun[name].id, name, names.namespace_of(name), *figures)
            for name, figures in found.items()
            if name in new
        ],
    )
    changed = [(*figures, begun[name].id) for name, figures in found.items() if name not in new]
    if changed:
        sets = ", ".join(f"{connection.ops.quote_name(name)} = %s" for name in _REPOSITORY[3:])
        cursor.executemany(
            f"UPDATE {Repository._meta.db_table} SET {sets} WHERE id = %s",  # noqa: S608
            changed,
        )
