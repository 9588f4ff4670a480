"""Blobs on their way here: one download for all clients that want it.

    upstream ──► thread ──► file in the spool ──┬─► client        each follows the growing file
                              │ verified        └─► client
                              ▼
                            the store

The last TAIL bytes are only sent when the digest was right: of wrong content no client gets all.
Clients that leave do not end a download. Where nothing may be written (a full disk, a write
freeze), or writing fails in the middle, each client goes on from the upstream by itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from registryui.registry.errors import RegistryError

from .content import Content
from .failures import Failure, Wrong
from .upstream import Answer, Upstream

log = logging.getLogger(__name__)

TAIL = 64 * 1024  # bytes that are held back until the digest is known to be right
CHECK_BYTES = 16 * 1024 * 1024  # after so many it is checked again whether there is space
SILENCE = 120.0  # seconds without a byte after which a client gives up


class NotStored(Exception):
    """There is no file to follow: the blob is here, or cannot be stored. Then clients ask the
    upstream themselves."""


class Download:
    """One blob. `size` is known when `wait_for_head` has returned."""

    def __init__(self, upstream: Upstream, name: str, digest: str) -> None:
        self.upstream = upstream
        self.name = name  # the upstream's name of the repository
        self.digest = digest
        self.size: int | None = None
        self._changed = threading.Condition()
        self._written = 0
        self._has_head = False
        self._is_verified = False
        self._failure: Exception | None = None
        self._handle = -1

    # -- clients -----------------------------------------------------------------------------------
    def wait_for_head(self) -> int:
        """The size of the blob; raises Failure or NotStored. Without a size from the upstream it
        takes the whole download."""
        with self._changed:
            while not self._is_verified:
                if self._has_head and self.size is not None:
                    return self.size
                if self._failure:
                    raise self._failure
                self._changed.wait()
            return self.size or 0

    def open(self) -> int:
        """A handle of its own of the file, to be closed. NotStored: there is none any more."""
        with self._changed:
            if self._handle < 0:
                raise NotStored
            return os.dup(self._handle)

    def available(self, position: int) -> int:
        """Waits until bytes after `position` may be sent, and returns how many; 0 at the end.
        Raises Failure or NotStored."""
        with self._changed:
            while True:
                end = self._written - (0 if self._is_verified else TAIL)
                if end > position:
                    return end - position
                if self._is_verified:
                    return 0
                if self._failure:
                    raise self._failure
                if not self._changed.wait(SILENCE):
                    raise Wrong(f"{self.upstream.mirror.url} stopped in the middle of a blob")

    # -- the thread --------------------------------------------------------------------------------
    def run(self, content: Content, repository: str) -> bool:
        """Downloads, verifies and stores it; whether it is here now. Clients get any error."""
        spooled = Path()
        try:
            if content.has_blob(repository, self.digest):  # the one before has just ended
                raise NotStored
            spooled = content.spooled()
            with self.upstream.blob("GET", self.name, self.digest) as answer:
                canonical = self._spool(content, answer, spooled)
            content.put_blob(repository, self.digest, canonical, spooled)
            return True
        except Failure as failure:
            if isinstance(failure, Wrong):
                self.upstream.state.refuse(f"{repository}@{self.digest}", str(failure))
            self._fail(failure)
        except NotStored as known:
            self._fail(known)
        except (RegistryError, OSError) as error:
            log.warning("%s@%s is not stored: %s", repository, self.digest, error)
            self._fail(NotStored())  # unless it was verified: then clients have it
        except Exception as error:
            self._fail(error)
            raise
        finally:
            with self._changed:
                handle, self._handle = self._handle, -1
            if handle >= 0:
                os.close(handle)
            with suppress(OSError):
                spooled.unlink()
        return False

    def _spool(self, content: Content, answer: Answer, spooled: Path) -> str:
        """Writes the file; its sha256. Raises Wrong, or OSError of the disk."""
        if not content.may_store(answer.size or 0):
            raise OSError("a write freeze, or too little space")
        handle = os.open(spooled, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
        with self._changed:
            self._handle = handle
            self.size = answer.size
            self._has_head = True
            self._changed.notify_all()
        check = Check(self.digest)
        checked_at = 0
        for piece in received(self.upstream, answer):
            check.update(piece)
            _write(handle, piece)
            with self._changed:
                self._written += len(piece)
                self._changed.notify_all()
            if self._written - checked_at > CHECK_BYTES:
                checked_at = self._written
                if not content.may_store():
                    raise OSError("too little space")
        check.finish()
        with self._changed:
            self.size = self._written
            self._is_verified = True
            self._changed.notify_all()
        return check.canonical

    def _fail(self, failure: Exception) -> None:
        with self._changed:
            if not self._is_verified:
                self._failure = failure
            self._changed.notify_all()


class Check:
    """The digests of content that comes in pieces."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        algorithm = digest.partition(":")[0]
        self._sha256 = hashlib.sha256()
        self._other = None if algorithm == "sha256" else hashlib.new(algorithm)

    def update(self, piece: bytes) -> None:
        """The next piece."""
        self._sha256.update(piece)
        if self._other:
            self._other.update(piece)

    def finish(self) -> None:
        """Wrong if the content does not have its digest."""
        algorithm = self._digest.partition(":")[0]
        found = (self._other or self._sha256).hexdigest()
        if f"{algorithm}:{found}" != self._digest:
            raise Wrong("the upstream sent a blob that does not have its digest")

    @property
    def canonical(self) -> str:
        """Its sha256, by which the store has it."""
        return f"sha256:{self._sha256.hexdigest()}"


class Downloads:
    """Those in progress. Safe for several threads."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._changed = threading.Condition()
        self._running: dict[tuple[str, str], Download] = {}
        self._of_clients: set[tuple[str, str]] = set()

    def join(
        self,
        upstream: Upstream,
        repository: str,
        name: str,
        digest: str,
        *,
        after: Callable[[], None] | None = None,
    ) -> Download:
        """The running download, or a new one. `after` is called when a new one is stored; without
        it, it is not for a client."""
        # Not by the digest alone: who may pull one repository may not pull all.
        key = (repository, digest)
        with self._changed:
            if after:
                self._of_clients.add(key)
            if key in self._running:
                return self._running[key]
            made = self._running[key] = Download(upstream, name, digest)
        threading.Thread(
            target=self._run, args=(key, made, after), name="download", daemon=True
        ).start()
        return made

    def wait_for_clients(self, seconds: float) -> None:
        """Until no client's download runs, or so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._of_clients, seconds)

    def _run(self, key: tuple[str, str], made: Download, after: Callable[[], None] | None) -> None:
        is_here = False
        try:
            is_here = made.run(self._content, key[0])
        finally:
            with self._changed:
                del self._running[key]
                self._of_clients.discard(key)
                self._changed.notify_all()
        if after and is_here:
            after()


def received(upstream: Upstream, answer: Answer) -> Iterator[bytes]:
    """The content of a blob, counted; Wrong if it is cut off."""
    try:
        for piece in answer.pieces():
            upstream.state.count(upstream_bytes=len(piece))
            yield piece
    except (OSError, HTTPException) as error:
        raise Wrong(f"the upstream broke off in the middle of a blob: {_word(error)}") from error


def passed_through(
    upstream: Upstream,
    name: str,
    digest: str,
    *,
    start: int = 0,
    before: Iterable[bytes] = (),
) -> tuple[int | None, Iterator[bytes]]:
    """The size of a blob, and its content from `start` on, without storing it; the last TAIL bytes
    come when the digest is right. `before` are the first bytes, if they are here. Raises Failure,
    also in the middle."""
    check = Check(digest)
    had = 0
    for piece in before:
        check.update(piece)
        had += len(piece)
    answer = upstream.blob("GET", name, digest, start=had)
    size = answer.size
    if answer.status == 206 and size is not None:
        size += had

    def pieces() -> Iterator[bytes]:
        position = had
        skipped = had if answer.status == 200 else 0
        held = b""
        with answer:
            for piece in received(upstream, answer):
                if skipped:  # an upstream without ranges
                    piece, skipped = piece[skipped:], max(0, skipped - len(piece))
                check.update(piece)
                held += piece
                if len(held) > TAIL:
                    out, held = held[:-TAIL], held[-TAIL:]
                    yield from _from(out, position, start)
                    position += len(out)
        try:
            check.finish()
        except Wrong as wrong:
            upstream.state.refuse(f"{name}@{digest}", str(wrong))
            raise
        yield from _from(held, position, start)

    return size, pieces()


def _from(piece: bytes, position: int, start: int) -> Iterator[bytes]:
    """What of it lies after `start`."""
    if rest := piece[max(0, start - position) :]:
        yield rest


def _write(handle: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(handle, view) :]


def _word(error: Exception) -> str:
    return "no more bytes in time" if isinstance(error, TimeoutError) else type(error).__name__
