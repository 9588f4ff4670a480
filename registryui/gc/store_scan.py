"""What garbage collection needs of a store, read in processes of their own. No Django here.

Everything is told small: a large store has millions of links. A blob is a key of 32 bytes.
"""

from __future__ import annotations

import os
import signal
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Literal, NamedTuple

from registryui.registry.errors import RegistryError
from registryui.registry.storage import FileStore

AT_ONCE = 20_000  # blobs of one answer
ELSEWHERE = "it is on another file system, and files cannot be moved between them"


class Task(NamedTuple):
    """A repository, a folder that no client can name, or a folder of blobs (ALGORITHM/HE)."""

    kind: Literal["repository", "unusable", "blobs"]
    name: str


@dataclass(slots=True)
class Links:
    """One repository."""

    name: str
    tags: set[str] = field(default_factory=set)  # digests that its tags stand for
    tag_count: int = 0
    manifests: list[str] = field(default_factory=list)  # digests by their links
    within_grace: set[str] = field(default_factory=set)  # of those, changed within the grace time
    layers: list[str] = field(default_factory=list)  # changed within it; all, if `why`
    newest: float = 0.0  # when the newest layer link changed
    why: str = ""  # nothing of it may go, because …
    is_usable: bool = True  # False: no client can name it


@dataclass(slots=True)
class Blobs:
    """Some blobs, each with its bytes and the time of its last change."""

    keys: list[bytes] = field(default_factory=list)
    sizes: array[int] = field(default_factory=lambda: array("q"))
    changed: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Ended:
    """What a process has to say at its end."""

    unfollowed: list[str]  # symbolic links among the repositories


Answer = Links | Blobs | RegistryError | Ended


def key_of(digest: str) -> bytes:
    """A digest, small; of other algorithms than sha256 the digest as it is."""
    algorithm, _, hexadecimal = digest.partition(":")
    return bytes.fromhex(hexadecimal) if algorithm == "sha256" else digest.encode()


def digest_of(key: bytes) -> str:
    """The other way."""
    return f"sha256:{key.hex()}" if len(key) == 32 else key.decode()


def scan(store: FileStore, tasks: Iterable[Task], *, before: float) -> Iterator[Answer]:
    """The answers to these tasks; what changed since `before` (seconds since 1970) is within the
    grace period. An error in the place of one that cannot be read."""
    for task in tasks:
        try:
            if task.kind == "blobs":
                yield from _blobs(store, task.name)
            elif task.kind == "unusable":
                yield _everything(store, task.name)
            else:
                yield _links(store, task.name, before)
        except RegistryError as error:
            yield error


def _links(store: FileStore, name: str, before: float) -> Links:
    # Tags first: a push writes its manifest's link and then the tag, so a tag that comes while we
    # read has a manifest within the grace period.
    tags = store.tag_links(name)
    manifests = store.manifest_links(name)
    layers = store.layer_links(name)
    found = Links(name, tag_count=len(tags))
    found.tags = {tag.digest for tag in tags if tag.digest}
    found.manifests = [one.digest for one in manifests]
    found.within_grace = {one.digest for one in manifests if one.changed >= before}
    found.newest = max((one.changed for one in layers), default=0.0)
    found.why = next(
        (f"tag {tag.name}: its link cannot be read" for tag in tags if not tag.digest),
        next(
            (
                f"{one.digest}: its link cannot be read"
                for one in manifests
                if one.target != one.digest
            ),
            ELSEWHERE if store.is_elsewhere(name) else "",
        ),
    )
    found.layers = [
        digest for one in layers if found.why or one.changed >= before for digest in one.digests
    ]
    return found


def _everything(store: FileStore, name: str) -> Links:
    """A folder of a name that no client can use, or one below it: what it links stays."""
    layers = store.layer_links(name, is_odd=True)
    manifests = store.manifest_links(name, is_odd=True)
    why = "a name that no client can use" if layers or manifests else ""
    found = Links(name, why=why, is_usable=False)
    found.layers = [digest for one in (*layers, *manifests) for digest in one.digests]
    return found


def _blobs(store: FileStore, folder: str) -> Iterator[Blobs]:
    found = Blobs()
    for digest, leaf in store.blobs_in(folder):
        found.keys.append(key_of(digest))
        found.sizes.append(leaf.size)
        found.changed.append(max(leaf.modified, leaf.changed))
        if len(found.keys) >= AT_ONCE:
            yield found
            found = Blobs()
    yield found


def serve(pipe: Connection, store: FileStore, before: float) -> None:
    """The main function of a reading process; see index/processes.py."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us
    os.nice(10)  # pushes and pulls first: the registry is on this machine, and a mark has time
    try:
        while (tasks := pipe.recv()) is not None:
            for answer in scan(store, tasks, before=before):
                pipe.send(answer)
            pipe.send(None)
        pipe.send(Ended(store.unfollowed))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
