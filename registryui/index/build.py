"""The first build: repositories that the index does not have, from the store, in bulk.

    reading processes (reading.py) ── batches ─► this process: one short transaction each (bulk.py)

A repository is done when its row has a stamp: the last of its pieces brings it. So a build that was
killed goes on with what is not there; of what was begun, reconcile.py does the rest, and of what an
event wrote into meanwhile.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from django.db import IntegrityError, OperationalError, connection

from registryui.models import (
    Blob,
    ImageFact,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Repository,
    Tag,
)
from registryui.models.mirrored import Mirrors
from registryui.registry.source import Store

from . import bulk, counts, processes
from .progress import State
from .push_history import pushes, reported_repositories
from .reading import Batch, Task, batches, serve

log = logging.getLogger(__name__)

FEW = 40  # repositories that are not worth starting a process for
# What SQLite needs for this, in its own words: 128 MiB of pages, a log of 64 MiB.
_PRAGMAS = {"cache_size": -131_072, "wal_autocheckpoint": 16_384, "foreign_keys": 0}
_ALLOCATIONS = 200_000  # between two looks for cycles
GROUP = 96  # repositories that a process is sent at once: more than a transaction writes of most
_FILLED = (Repository, Tag, Manifest, ImageIndexEntry, Blob, ManifestBlob, ImageFact)


def build(store: Store, names: Sequence[str], state: State) -> list[str]:
    """Writes repositories that are not in the index; returns those that reconcile must look at.

    RegistryError: a reading process ended before its time. What is written stays.
    """
    left: list[str] = []
    begun: dict[str, bulk.Begun] = {}
    done = 0
    with _room():
        for batch in _batches(store, names, state):
            for name, error in batch.failed.items():
                state.failed(name, error)
            _write(batch, begun, left)
            counts.fold()
            tags = sum(len(piece.tags) for piece in batch.pieces)
            _count(state, batch, tags)
            done += sum(piece.is_last for piece in batch.pieces)
            # How many there will be is not known: as many in a repository as until now.
            so_far = state.run.done + tags
            state.advance(tags, total=so_far * len(names) // max(done, 1))
    if len(names) >= FEW:
        _tell_the_planner()
    return left


def _tell_the_planner() -> None:
    """PostgreSQL plans by what it last counted in a table, which is nothing yet: it would look
    again only minutes later, and pages would take up to five times as long until then."""
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return
    tables = ", ".join(one._meta.db_table for one in _FILLED)
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE, SKIP_LOCKED) {tables}")


def _count(state: State, batch: Batch, tags: int) -> None:
    state.changes.added += tags
    for piece in batch.pieces:
        state.changes.manifests += len(piece.manifests)
        state.changes.problems += piece.problems


def _write(batch: Batch, begun: dict[str, bulk.Begun], left: list[str]) -> None:
    """All in one transaction; if one repository is somebody else's by now, one after the other."""
    pieces = [piece for piece in batch.pieces if piece.repository not in left]
    if not pieces:
        return
    try:
        bulk.write(pieces, begun)
    except (bulk.Taken, IntegrityError, OperationalError) as error:
        log.info("build: %s", error)
        for name in dict.fromkeys(piece.repository for piece in pieces):
            try:
                bulk.write([piece for piece in pieces if piece.repository == name], begun)
            except (bulk.Taken, IntegrityError):
                begun.pop(name, None)
                left.append(name)


@contextmanager
def _room() -> Iterator[None]:
    """Room in memory for the pages of indexes, and for the log before it goes into the file.

    Digests come in no order: with little room SQLite writes the same pages again and again. Keys
    of other rows are not looked up: bulk.py has just made those rows in the same transaction. And
    Python looks for cycles less often: a batch has a hundred thousand tuples and none.
    """
    often = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *often[1:])
    try:
        with _room_of_database():
            yield
    finally:
        gc.set_threshold(*often)


@contextmanager
def _room_of_database() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = []
        for name, value in _PRAGMAS.items():
            cursor.execute(f"PRAGMA {name}")
            before.append((name, cursor.fetchone()[0]))
            cursor.execute(f"PRAGMA {name}={value}")
        try:
            yield
        finally:
            for name, value in before:
                cursor.execute(f"PRAGMA {name}={value}")


# -- who reads -------------------------------------------------------------------------------------


def _batches(store: Store, names: Sequence[str], state: State) -> Iterator[Batch]:
    reported = reported_repositories(names)
    mirrors = Mirrors()
    tasks = (
        Task(name, pushes(name) if name in reported else {}, mirrors.have(name)) for name in names
    )
    if len(names) < FEW:
        yield from batches(store, tasks, times_as_text=bulk.times_as_text())
    else:
        yield from _from_processes(store, tasks, state)


def _from_processes(store: Store, tasks: Iterable[Task], state: State) -> Iterator[Batch]:
    """The batches of the reading processes as they come; those of one repository in their order."""
    queue = iter(tasks)
    groups = iter(lambda: list(islice(queue, GROUP)), [])
    for answer in processes.answers(serve, (store, bulk.times_as_text()), groups):
        if isinstance(answer, Batch):
            yield answer
        else:
            for line in answer:
                state.note(line)
