"""What a push needs goes back at once, if garbage collection took it out in that very moment.

A push that was told that something is there, and is written only when that is gone, is broken until
it is back. The review of the run brings it back; a large store is read for minutes before that.

    Watch                 a thread of the run: whatever it hears of while the run goes on
    restore_pending       the worker, before it applies events: what it hears of later

An event may come before its thing is in quarantine or after: Watch looks twice, and a run asks it
for each thing right before that goes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from django.db import DatabaseError, connection
from django.db.models import Max, Q
from django.utils import timezone

from registryui.graph import closure
from registryui.index import reconcile
from registryui.integrity.completeness import NESTING, references_of
from registryui.integrity.repair import repair_data
from registryui.models import RegistryEvent, Run
from registryui.models.mirrored import mirrored_names
from registryui.oci.digest import is_canonical
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.refused import Refused
from registryui.registry import choose, paths
from registryui.registry.errors import RegistryError
from registryui.registry.quarantine import LocalQuarantine, Quarantine
from registryui.registry.storage import FileStore
from registryui.registry.storages import of_settings

log = logging.getLogger(__name__)

PAUSE = 0.05  # seconds between two looks at what was pushed
OVERLAP = 10.0  # seconds in which an event may become visible after one with a higher number
LATELY = timedelta(hours=1)  # a push that looked before a run took something has ended by then
PUSHES = 1000  # looked at together
AT_ONCE = 16  # requests to an object store


@dataclass(slots=True)
class Watch:
    """Follows what is pushed while a run goes on. `needed`: paths that may not go any more."""

    store: FileStore
    quarantine: Quarantine  # one of its own: for several threads
    needed: set[str] = field(default_factory=set)
    _after: int = 0
    _next_after: int = 0
    _advanced_at: float = 0.0
    _seen: set[int] = field(default_factory=set)
    _again: dict[str, set[str]] = field(default_factory=dict)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._after = self._next_after = RegistryEvent.objects.aggregate(Max("pk"))["pk__max"] or 0
        self._advanced_at = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        is_well = True
        while not self._is_over.wait(PAUSE):
            try:
                self._poll()
                is_well = True
            except (DatabaseError, RegistryError) as error:
                if is_well:
                    log.warning("pushes beside garbage collection are not followed: %s", error)
                is_well = False
        connection.close()

    def _poll(self) -> None:
        rows = RegistryEvent.objects.filter(_may_need(), pk__gt=self._after).exclude(digest="")
        pushed: dict[str, set[str]] = defaultdict(set)
        for pk, name, digest in rows.values_list("pk", "repository", "digest"):
            if pk not in self._seen:
                self._seen.add(pk)
                pushed[name].add(digest)
        # Again those of the last look: a thing may have been on its way out while we looked.
        again, self._again = self._again, dict(pushed)
        for name, digests in (*pushed.items(), *again.items()):
            paths_needed = needed_by(self.store, name, digests)
            self.needed |= paths_needed
            restore(self.store, self.quarantine, {name: digests})
        if time.monotonic() - self._advanced_at > OVERLAP:
            self._after, self._next_after = self._next_after, max(self._seen, default=self._after)
            self._seen = {pk for pk in self._seen if pk > self._after}
            self._advanced_at = time.monotonic()


def _may_need() -> Q:
    """Events of what may be in use since: pushes, and pulls through mirrors, whose service writes
    past the registry what is not there, and relies on what is. One query."""
    wanted = Q(action="push")
    for name in mirrored_names():
        wanted |= Q(action="pull", repository__startswith=f"{name}/")
    return wanted


def restore_pending() -> None:
    """Restores what pushes need whose events wait to be applied; and makes data good that the
    registry could not read for one of them. Two queries where nothing was freed lately."""
    waiting = RegistryEvent.objects.filter(applied_at=None).exclude(digest="")
    lately = Run.objects.filter(kind=Run.Kind.GC, heartbeat_at__gt=timezone.now() - LATELY).exists()
    if lately:
        waiting = waiting.filter(_may_need())
    else:
        waiting = waiting.filter(action="push", attempts__gt=0)
    pushed: dict[str, set[str]] = defaultdict(set)
    unread: set[str] = set()
    rows = waiting.order_by("-pk").values_list("repository", "digest", "attempts")[:PUSHES]
    for name, digest, attempts in rows:
        pushed[name].add(digest)
        if attempts:
            unread.add(digest)
    if not pushed:
        return
    with suppress(Refused):  # nothing is written to this store from here
        store, quarantine = choose.open_store(of_settings()), choose.open_quarantine()
        try:
            for name in restore(store, quarantine, pushed) if lately else ():
                reconcile.read_again(store, name)
            for line in repair_data(store, quarantine, unread):
                log.warning("%s", line)
        except RegistryError as error:
            log.warning("what was pushed is not looked at: %s", error)


def restore(
    store: FileStore, quarantine: Quarantine, pushed: Mapping[str, Iterable[str]]
) -> set[str]:
    """Restores what these manifests, by repository, need and the quarantine has; the repositories
    with links that came back. RegistryError: the store does not answer.

    The index may have forgotten these. Nothing waits for it here: whoever took them forgets only
    what is still away, and the worker looks at each push afterwards."""
    linked = set()
    for name, digests in pushed.items():
        came: set[str] = set()
        for _attempt in range(NESTING):  # what came back may need more
            missing = _missing(quarantine, needed_by(store, name, digests))
            back = _restore(quarantine, name, missing) if missing else set()
            if not back:
                break
            came |= back
        if any(path.startswith(paths.REPOSITORIES) for path in came):
            linked.add(name)
        for path in sorted(came):
            log.info("restored, because %s was pushed: %s", name, path)
    return linked


def _missing(quarantine: Quarantine, needed: set[str]) -> set[str]:
    if isinstance(quarantine, LocalQuarantine):
        return {path for path in needed if quarantine.age(path) is None}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pushed") as pool:
        ages = pool.map(quarantine.age, wanted := sorted(needed))
        return {path for path, age in zip(wanted, ages, strict=True) if age is None}


def _restore(quarantine: Quarantine, name: str, missing: set[str]) -> set[str]:
    came = set()
    for one in quarantine.contents():
        place = paths.place_of(one.path)
        is_folder = place is not None and (place.kind, place.repository) == ("repository", name)
        if not one.is_damaged and (one.path in missing or is_folder) and quarantine.restore(one):
            came.add(one.path)
    return came


def needed_by(store: FileStore, repository: str, digests: Iterable[str]) -> set[str]:
    """The files of the store that whoever pulls these manifests reads, as far as they can be
    followed now."""
    found: set[str] = set()

    def below(level: set[str]) -> set[str]:
        named, children = sorted(level), set[str]()
        found.update(paths.revision_link(repository, one) for one in named if is_canonical(one))
        for raw in store.read_blobs(named, limit=MANIFEST_LIMIT, repository=repository):
            if isinstance(raw, RegistryError) and raw.temporary:
                raise raw
            if isinstance(raw, bytes):
                references = references_of(raw)
                children.update(references.children)
                blobs = [blob for _role, blob, _size in references.blobs]
                named += blobs
                found.update(paths.layer_link(repository, blob) for blob in blobs)
        stored = store.stored_as(repository, named)
        canonical = (one for name in named if is_canonical(one := stored.get(name, name)))
        found.update(map(paths.blob_data, canonical))
        return children

    closure(digests, below, levels=NESTING)
    return found
