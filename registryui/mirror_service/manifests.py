"""Manifests of mirrored repositories, by tag and by digest.

    tag ─┬ not here ───────────────────────────► GET, verify, write
         ├ checked less than fresh_seconds ago ─► from here
         └ else: HEAD ─┬ same digest ───────────► from here, fresh again
                       ├ another ───────────────► GET, verify, write
                       └ no answer in PATIENCE ─► from here, with a Warning; the check goes on
                         away, 429, 404 … ──────► from here, with a Warning

What is here never waits long for an upstream, and what is not says why.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from http.client import HTTPException

from registryui.oci.digest import alike, check_digest, is_digest, sha256
from registryui.oci.media_types import OF_SCHEMA_2, bare
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry.errors import RegistryError

from .content import Content
from .failures import Away, Failure, Unknown, Wrong
from .flights import Flights
from .upstream import Answer, Upstream

PATIENCE = 0.8  # seconds that a tag which is here waits for its upstream
COLD_PATIENCE = 60.0  # … and one that is not
MOST_TAGS = 20_000  # of which the time of the last check is remembered
ACCEPT = ", ".join(OF_SCHEMA_2)  # what the registry can serve again
STALE = '110 boathouse "Response is Stale"'
NOT_CHECKED = '111 boathouse "Revalidation Failed"'


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest, to be answered by the registry, or from `raw` if it could not be stored."""

    raw: bytes = b""
    media_type: str = ""
    digest: str = ""
    age: int | None = None  # seconds since the tag was checked
    warning: str = ""  # of a header


class Manifests:
    """Finds them, and fetches what lacks. Safe for several threads."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._flights: Flights[Found] = Flights()
        self._lock = threading.Lock()
        self._checked: OrderedDict[tuple[str, str], float] = OrderedDict()  # by time.monotonic

    def find(
        self,
        upstream: Upstream,
        repository: str,
        name: str,
        reference: str,
        *,
        is_here: bool = True,
    ) -> Found:
        """The manifest of a tag or digest. Raises Failure if it is neither here nor there. `name`:
        the upstream's name of the repository. `is_here`: False if the registry just said that it is
        not, whatever the store says."""
        by = self._by_digest if is_digest(reference) else self._by_tag
        return by(upstream, repository, name, reference, is_here=is_here)

    def _by_digest(
        self, upstream: Upstream, repository: str, name: str, digest: str, *, is_here: bool
    ) -> Found:
        def fetch() -> Found:
            if is_here and self._content.has_manifest(repository, digest):  # fetched just now
                return Found()
            return self._fetch(upstream, repository, name, digest)

        return _result(self._flights.join((repository, digest, is_here), fetch), upstream)

    def _by_tag(
        self, upstream: Upstream, repository: str, name: str, tag: str, *, is_here: bool
    ) -> Found:
        known = self._content.tag(repository, tag) if is_here else None
        key = (repository, tag)
        if known is None:
            return _result(
                self._flights.join(
                    (*key, is_here),
                    lambda: self._fetch_tag(upstream, repository, name, tag, is_lost=not is_here),
                ),
                upstream,
            )
        age = self._age(key)
        if age is not None and age < upstream.mirror.fresh_seconds:
            upstream.state.count(hits=1)
            return Found(age=int(age))
        if upstream.health.obstacle(is_manifest=True):
            return self._stale(upstream, key, NOT_CHECKED)
        running = self._flights.join(
            key, lambda: self._check(upstream, repository, name, tag, known)
        )
        try:
            return running.result(PATIENCE)
        except NotYet:
            return self._stale(upstream, key, STALE)
        except (Failure, RegistryError, OSError):
            return self._stale(upstream, key, NOT_CHECKED)

    def _check(self, upstream: Upstream, repository: str, name: str, tag: str, known: str) -> Found:
        key = (repository, tag)
        age = self._age(key)
        if age is not None and age < upstream.mirror.fresh_seconds:  # just now, by another request
            upstream.state.count(hits=1)
            return Found(age=int(age))
        try:
            with upstream.manifest("HEAD", name, tag, ACCEPT) as answer:
                told = answer.headers.get("Docker-Content-Digest", "")
        except Unknown as gone:
            upstream.state.note(error=str(gone))
            self._note_check(key)
            upstream.state.count(hits=1)
            return Found(age=0, warning=NOT_CHECKED)
        if told == known and self._content.has_manifest(repository, known):
            self._note_check(key)
            upstream.state.count(hits=1)
            return Found(age=0)
        return self._fetch(upstream, repository, name, tag)

    def _fetch_tag(
        self, upstream: Upstream, repository: str, name: str, tag: str, *, is_lost: bool
    ) -> Found:
        if not is_lost and self._content.tag(repository, tag):  # fetched just now
            return Found(age=0)
        return self._fetch(upstream, repository, name, tag)

    def _fetch(self, upstream: Upstream, repository: str, name: str, reference: str) -> Found:
        """GET, verify, write."""
        with upstream.manifest("GET", name, reference, ACCEPT) as answer:
            raw = _read(upstream, answer, name, reference)
        upstream.state.count(misses=1, upstream_bytes=len(raw))
        told = answer.headers.get("Docker-Content-Digest", "")
        wanted = reference if is_digest(reference) else told
        try:
            is_right = not wanted or alike(check_digest(wanted), raw) == wanted
        except ValueError:
            is_right = False
        if not is_right:
            words = "the upstream sent a manifest that does not have its digest"
            upstream.state.refuse(f"{repository}@{wanted}", words)
            raise Wrong(f"{upstream.mirror.url}: {name}: {words}; nothing was stored")
        found = Found(raw, bare(answer.headers.get("Content-Type", "")), sha256(raw), age=0)
        tag = "" if is_digest(reference) else reference
        if self._stored(repository, raw, tag) and tag:
            self._note_check((repository, tag))
        return found

    def _stored(self, repository: str, raw: bytes, tag: str) -> bool:
        """False: the disk is full, or there is a write freeze. Then the client has it anyway."""
        if not self._content.may_store(len(raw)):
            return False
        try:
            self._content.put_manifest(repository, raw, tag=tag)
        except (RegistryError, OSError):
            return False
        return True

    # -- when tags were checked --------------------------------------------------------------------
    def _age(self, key: tuple[str, str]) -> float | None:
        with self._lock:
            checked = self._checked.get(key)
        return None if checked is None else time.monotonic() - checked

    def _note_check(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._checked[key] = time.monotonic()
            self._checked.move_to_end(key)
            while len(self._checked) > MOST_TAGS:
                self._checked.popitem(last=False)

    def _stale(self, upstream: Upstream, key: tuple[str, str], warning: str) -> Found:
        upstream.state.count(hits=1, stale=1)
        age = self._age(key)
        if age is None:  # by an earlier process: it was checked when it was written, at least
            written = self._content.written_at(*key)
            age = max(0.0, time.time() - written) if written else None
        return Found(age=None if age is None else int(age), warning=warning)


def _read(upstream: Upstream, answer: Answer, name: str, reference: str) -> bytes:
    try:
        return answer.read(MANIFEST_LIMIT)
    except ValueError as error:
        raise Wrong(f"{upstream.mirror.url}: {name}: a manifest of more than 4 MiB") from error
    except (OSError, HTTPException) as error:
        words = "the upstream sent only a part of a manifest"
        upstream.state.refuse(f"{name}@{reference}", words)
        raise Wrong(f"{upstream.mirror.url}: {name}: {words}") from error


def _result(running: Future[Found], upstream: Upstream) -> Found:
    try:
        return running.result(COLD_PATIENCE)
    except NotYet as error:
        raise Away(f"{upstream.mirror.url} does not answer in time") from error
