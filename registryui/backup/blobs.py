"""Contents of blobs as streams of tar, and which are in the streams of a chain already.

    sha256/ab/abcd…   the name of a member; `restic dump ID blobs.tar | tar x` reads it without us

restic takes a third of a millisecond for a file that has not changed, and a store has several small
ones for each tag: so it gets one stream of what is new. What is in the earlier ones is noted in the
data folder; without that note the next backup begins a new chain, of which restic stores only what
it does not have.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from registryui import files
from registryui.oci.digest import is_digest
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.storage import FileStore

FILE = "blobs.tar"
PART_BYTES = 8 * 2**30  # of a stream: what a backup that is killed does not have to read again
MOST_PARTS = 400
WASTE = 2**30  # bytes of a chain, over twice what is needed, from which on a new one begins
PIECE = 1024 * 1024
_NAME = re.compile(r"([a-z0-9]+)/([0-9a-f]{2})/([0-9a-f]{32,})\Z")


@dataclass(slots=True)
class Chain:
    """The streams so far, and what is in them."""

    id: str
    parts: list[str] = field(default_factory=list)  # ids of snapshots, oldest first
    stored: dict[str, int] = field(default_factory=dict)  # digests, and bytes

    @classmethod
    def new(cls) -> Chain:
        """One that begins."""
        return cls(secrets.token_hex(8))

    @classmethod
    def read(cls, path: Path) -> Chain:
        """The one of that note; a new one if there is none."""
        try:
            first, *lines = path.read_text().splitlines()
            head = json.loads(first)
            stored = dict(line.split(" ") for line in lines)
            sizes = {digest: int(size) for digest, size in stored.items()}
            return cls(str(head["chain"]), [str(one) for one in head["parts"]], sizes)
        except (OSError, ValueError, KeyError, TypeError):
            return cls.new()

    def write(self, path: Path) -> None:
        """Notes it."""
        head = json.dumps({"chain": self.id, "parts": self.parts})
        lines = (f"{digest} {size}" for digest, size in self.stored.items())
        files.write(path, "\n".join((head, *lines)))

    def missing(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """What of these is in no stream, or was with another size."""
        stored = self.stored
        return {
            digest: wanted[digest]
            for digest in sorted(wanted)
            if stored.get(digest) != wanted[digest]
        }

    def is_usable(self, known: Iterable[str], needed_bytes: int) -> bool:
        """Whether to go on with it: all of it is in the repository, and most of it is needed."""
        ids = list(known)
        are_there = all(any(one.startswith(part) for one in ids) for part in self.parts)
        is_lean = sum(self.stored.values()) <= 2 * needed_bytes + WASTE
        return are_there and is_lean and len(self.parts) < MOST_PARTS


def in_parts(missing: Mapping[str, int], size: int = PART_BYTES) -> Iterator[dict[str, int]]:
    """These blobs in groups of about so many bytes."""
    part: dict[str, int] = {}
    total = 0
    for digest, length in missing.items():
        part[digest] = length
        total += length
        if total >= size:
            yield part
            part, total = {}, 0
    if part:
        yield part


def write_tar(
    store: FileStore, wanted: Mapping[str, int], file: IO[bytes], beat: Callable[[int], None]
) -> dict[str, int]:
    """Writes these blobs; returns those that were still there. `beat` gets bytes. RegistryError:
    the store does not answer, or a blob has changed."""
    written = {}
    for digest, size in wanted.items():
        pieces = store.pieces(digest)
        try:
            first = next(pieces, b"")
        except NotFound:  # garbage collection has taken it
            continue
        file.write(_head(digest, size))
        length = 0
        for piece in _all(first, pieces):
            length += len(piece)
            if length > size:
                break
            file.write(piece)
            beat(len(piece))
        if length != size:
            raise RegistryError(f"{digest} has changed while it was read")
        file.write(b"\0" * (-size % tarfile.BLOCKSIZE))
        written[digest] = size
    file.write(b"\0" * (2 * tarfile.BLOCKSIZE))
    return written


def read_tar(file: IO[bytes]) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """The blobs of a stream: digest, bytes, content in pieces, which are to be read before the
    next. ValueError: it is none of ours, or is cut."""
    while head := _exactly(file, tarfile.BLOCKSIZE):
        if not head.strip(b"\0"):
            return
        try:
            member = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except tarfile.TarError as error:
            raise ValueError(f"is no tar ({error})") from error
        found = _NAME.match(member.name)
        digest = f"{found[1]}:{found[3]}" if found else ""
        if not is_digest(digest) or member.type != tarfile.REGTYPE:
            raise ValueError("has a member that is no blob")
        yield digest, member.size, _pieces(file, member.size)
        _exactly(file, -member.size % tarfile.BLOCKSIZE)


def hasher(digest: str) -> hashlib._Hash:
    """What computes a digest of that algorithm."""
    return hashlib.new(digest.partition(":")[0])


def _head(digest: str, size: int) -> bytes:
    algorithm, _colon, name = digest.partition(":")
    member = tarfile.TarInfo(f"{algorithm}/{name[:2]}/{name}")
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.GNU_FORMAT)


def _all(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, PIECE))
        if not piece:
            raise ValueError("ends in the middle of a blob")
        size -= len(piece)
        yield piece


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) not in (0, size):
        raise ValueError("ends in the middle of a blob")
    return data
