"""Our own registry as the target of an import: what several threads share, and the repository that
one image is copied into.

All goes over its Unix sockets, writes where a write freeze sees them. A blob is stored when the
registry has computed its digest; a manifest only after all that it names.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection

from registryui import sockets, write_freeze
from registryui.models import ManifestBlob
from registryui.oci.manifest import digest_of
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError
from registryui.registry.forward import LONGEST
from registryui.registry.source import Stored
from registryui.runs import Stopped

from .source import Descriptor, Found

CONNECTIONS = 32
PAUSES = (0.5, 2.0, 8.0)  # seconds before a request that failed for a moment is sent again
_WAIT = 0.25  # seconds between two checks of a write freeze
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Job:
    """A tag on its way. Written by the threads that copy it, read by the run."""

    found: Found
    repository: str  # here
    tag: str  # "": only by its digest
    expected: int = 0  # bytes that it needs, as far as that is known
    there: int = 0  # of them, that were here already
    sent: int = 0
    notices: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """0–1: how far it is."""
        expected = self.expected or self.found.size
        return min((self.there + self.sent) / expected, 1.0) if expected else 0.0


class Pace:
    """So many bytes a second for all threads together (0: no limit), and the end of the run."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._due = 0.0  # when all that was sent may have been sent
        self.sent = 0
        self.is_over = threading.Event()

    def spend(self, count: int) -> None:
        """Waits until so many more may have been sent. Stopped: the run is to end."""
        with self._lock:
            self.sent += count
            now = time.monotonic()
            if self._limit:
                self._due = max(self._due, now) + count / self._limit
            wait = self._due - now
        self.wait(wait)

    def wait(self, seconds: float = 0.0) -> None:
        """Waits so long; Stopped if the run is to end."""
        if self.is_over.is_set() or (seconds > 0 and self.is_over.wait(seconds)):
            raise Stopped


class Registry:
    """Our registry, for all threads of one run."""

    def __init__(self, *, act: str, rate: int = 0, dry_run: bool = False) -> None:
        self.pace = Pace(rate)
        self.dry_run = dry_run
        self._stack = ExitStack()
        self.reads = self._opened(RegistryClient(settings.REGISTRY_URL, pool=CONNECTIONS))
        self.writes = {name: self._opened(_writer(name, act)) for name in sockets.SOURCES}
        self._holders: dict[str, str] = {}  # digest of a blob: a repository that has it
        self._locks = [threading.Lock() for _ in range(256)]

    def _opened(self, client: RegistryClient) -> RegistryClient:
        return self._stack.enter_context(client)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def target(self, job: Job) -> RegistryTarget:
        """The repository of that job."""
        return RegistryTarget(self, job)

    def put_tag(self, job: Job, stored: Stored) -> None:
        """Tags it: all that it names is stored."""
        self.write(
            "manifests",
            lambda client: client.put_manifest(
                job.repository, job.tag or stored.digest, stored.raw, stored.media_type
            ),
        )

    def write(self, gate: str, send: Callable[[RegistryClient], _T]) -> _T:
        """Sends it when writes are not frozen; again if the registry does not answer."""
        for pause in (*PAUSES, None):
            while (write_freeze.folder() / gate).exists():
                self.pace.wait(_WAIT)
            try:
                return send(self.writes[gate])
            except RegistryError as error:
                if pause is None or not error.temporary:
                    raise
                self.pace.wait(pause)
        raise AssertionError

    def lock(self, digest: str) -> threading.Lock:
        """One of some hundreds; the same for the same digest."""
        return self._locks[hash(digest) % len(self._locks)]

    def holder(self, digest: str) -> str:
        """A repository that has this blob, as this run knows; "" """
        return self._holders.get(digest, "")

    def note(self, digest: str, repository: str) -> None:
        """That repository has this blob."""
        self._holders[digest] = repository


class RegistryTarget:
    """See source.Target."""

    def __init__(self, registry: Registry, job: Job) -> None:
        self._registry = registry
        self._job = job
        self.repository = job.repository

    def expect(self, size: int) -> None:
        """See Target."""
        self._job.expected += size

    def alone(self, digest: str) -> AbstractContextManager[Any]:
        """See Target."""
        return self._registry.lock(digest)

    def has_blob(self, digest: str, size: int = 0) -> bool:
        """See Target."""
        registry = self._registry
        registry.pace.wait()
        holder = registry.holder(digest)
        if holder != self.repository and not registry.reads.has_blob(self.repository, digest):
            if registry.dry_run and not holder:
                self._job.sent += size
                registry.note(digest, self.repository)
                return True
            if not registry.dry_run and not (holder and self._mount(digest, holder)):
                return False
        registry.note(digest, self.repository)
        self._job.there += size
        return True

    def _mount(self, digest: str, holder: str) -> bool:
        return self._registry.write(
            "blobs", lambda client: client.mount(self.repository, digest, source=holder)
        )

    def find(self, digest: str) -> bool:
        """See Target."""
        registry = self._registry
        holder = registry.holder(digest)
        if holder == self.repository or registry.reads.has_blob(self.repository, digest):
            return True
        holder = holder or _indexed_holder(digest)
        if not holder or not registry.reads.has_blob(holder, digest):
            return False
        registry.note(digest, holder)
        return registry.dry_run or self.has_blob(digest)

    def upload(self, data: Iterable[bytes], *, digest: str = "", size: int = -1) -> Descriptor:
        """See Target. Sent once: `data` cannot be read again. A dry run only reads it."""
        registry = self._registry
        if registry.dry_run:
            found = _read_only(self._counted(data))
            registry.note(found.digest, self.repository)
            return found
        while (write_freeze.folder() / "blobs").exists():
            registry.pace.wait(_WAIT)
        stored = registry.writes["blobs"].upload(
            self.repository, self._counted(data), digest=digest, size=size
        )
        registry.note(stored[0], self.repository)
        return Descriptor(*stored)

    def put_manifest(self, raw: bytes, media_type: str) -> str:
        """See Target."""
        digest = digest_of(raw, media_type)
        if self._registry.dry_run:
            return digest
        return self._registry.write(
            "manifests",
            lambda client: client.put_manifest(self.repository, digest, raw, media_type),
        )

    def manifest(self, reference: str) -> Stored | None:
        """See Target."""
        return self._registry.reads.manifest(self.repository, reference)

    def notice(self, sentence: str) -> None:
        """See Target."""
        self._job.notices.append(sentence)

    def _counted(self, data: Iterable[bytes]) -> Iterator[bytes]:
        sent = 0
        try:
            for piece in data:
                self._registry.pace.spend(len(piece))
                self._job.sent += len(piece)
                sent += len(piece)
                yield piece
        except BaseException:
            self._job.sent -= sent  # it is sent again
            raise


def _indexed_holder(digest: str) -> str:
    """A repository that has this blob, as the index says; "" """
    rows = ManifestBlob.objects.filter(blob__digest=digest).order_by()
    try:
        return rows.values_list("repository__name", flat=True).first() or ""
    finally:
        connection.close()  # of this thread


def _read_only(data: Iterable[bytes]) -> Descriptor:
    seen, size = hashlib.sha256(), 0
    for piece in data:
        seen.update(piece)
        size += len(piece)
    return Descriptor(f"sha256:{seen.hexdigest()}", size)


def _writer(name: str, act: str) -> RegistryClient:
    url, source = sockets.for_writes(name)
    return RegistryClient(
        url,
        timeout=(3.05, LONGEST),
        pool=CONNECTIONS,
        act=act,
        source=source,
        is_kept_alive=False,
    )
