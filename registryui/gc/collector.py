"""Frees what nothing needs any more, and holds no write: quarantine, mark again, purge much later.

    canary ─► mark ─► quarantine ─► review (a new mark) ─► purge (of an earlier run) ─► leftovers

Each stage begins from what is on the disk, so a run that was killed is followed by the next one.
Why this is safe, and figures: docs/decisions/0007-garbage-collection.md.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit, clock, runs, schedules, space, write_freeze
from registryui.chunks import chunks
from registryui.deletion.locks import locked
from registryui.failures import in_words
from registryui.index import ingest, reconcile
from registryui.integrity.repair import repair
from registryui.models import Blob, Manifest, Run
from registryui.refused import Refused
from registryui.registry import choose, paths
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError
from registryui.registry.quarantine import Quarantine, Quarantined
from registryui.registry.storage import FileStore
from registryui.registry.storages import of_settings
from registryui.under_way import under_way

from .mark import Impossible, Mark, Marker
from .pushed import Watch
from .result import Result, Stage
from .store_scan import digest_of, key_of

log = logging.getLogger(__name__)

CANARY = "boathouse-canary-"  # how a repository begins that is there for a moment
BATCH = 500  # things that are quarantined under one record
FORGOTTEN = 100  # rows of manifests that go in one transaction: an event may wait for its end
SKEW = timedelta(minutes=10)  # between our clock and that of the store's disk
PAUSE = timedelta(hours=1)  # between a run and one that only purges what has become due
NEWEST = 20  # newest runs
# The lock that a run has from its first quarantine to the end of its review: meanwhile something
# needed may be away. A backup has it while it lists the store.
MOVING = "quarantine"
LISTING = 600.0  # seconds that a backup may take for that
TRY_AGAIN = timedelta(minutes=10)  # after a review that failed
IDLE = timedelta(minutes=6)  # nginx ends a body without progress after five, and while the disk is
# low it refuses to go on with an upload: nobody writes to this one any more

StageName = Literal["canary", "mark", "quarantine", "review", "purge", "leftovers", "done"]


class Frozen(Protocol):
    """What keeps manifests from being written, while it lasts."""

    def check(self) -> None:
        """Refused if they may be written again."""


Freeze = Callable[[], AbstractContextManager[Frozen]]


def _frozen_writes() -> AbstractContextManager[Frozen]:
    # It ends with the work, or with its process: an end before the purge's own would be wrong.
    return write_freeze.frozen("manifests", by=_("immediate purge"), at_most=write_freeze.LONGEST)


# What keeps manifests from being written at the proxy of every host; none: nothing can.
FREEZE: Freeze | None = _frozen_writes


def run_gc(
    *,
    by: str,
    dry_run: bool = False,
    purge_now: bool = False,
    review: bool = False,
    freeze: Freeze | None = None,
    progress: runs.Progress | None = None,
) -> Run | None:
    """One run; None if another one is under way. Refused: it may not begin (the reason).

    `dry_run` changes nothing and only counts. `purge_now` also purges what is not due; while it
    marks and purges, `freeze` keeps manifests from being written, and without one it is refused.
    `review` only restores what is needed.
    """
    freeze = freeze or FREEZE
    if not (dry_run or review):
        clock.check()
    if purge_now and freeze is None:
        raise Refused(_("An immediate purge is not possible: writes cannot be frozen."))
    store, quarantine = _open()
    result = Result(dry_run=dry_run, is_review=review)
    run = runs.begin(Run.Kind.GC, by=by, result=result)
    if run is None:
        return None
    work = _GcRun(run, result, progress, store=store, quarantine=quarantine)
    with under_way(f"gc-{run.pk}"), work:
        if review:
            work.only_review()
        else:
            work.everything(freeze if purge_now else None)
    return run


def restore(wanted: str, *, by: str) -> int:
    """Restores `wanted`, a Quarantined.id or "all", to the store and the index; returns how many.
    Refused: nothing in quarantine has that id."""
    store, quarantine = _open()
    found = list(quarantine.contents())
    chosen = [one for one in found if wanted == one.id or (wanted == "all" and not one.is_damaged)]
    if not chosen and wanted != "all":
        raise Refused(_("Nothing in quarantine has the ID %(id)s.") % {"id": wanted[:80]})
    names = {place.repository for one in chosen if (place := _place(one)).kind == "revision"}
    # An image needs the links to its layers, too: the folder of its repository comes first.
    folders = [
        one for one in found if _place(one).kind == "repository" and _place(one).repository in names
    ]
    count = 0
    for one in [*folders, *(one for one in chosen if one not in folders)]:
        quarantine.restore(one)
        count += 1
    quarantine.tidy()
    for name in sorted({_place(one).repository for one in (*folders, *chosen)} - {""}):
        reconcile.read_again(store, name)
    if count:
        audit.record("store.put_back", wanted[:255], by=by, details={"count": count})
    return count


def quarantined() -> list[Quarantined]:
    """What is in the quarantine, oldest first. Refused: this store cannot be looked into."""
    try:
        return list(choose.open_quarantine().contents())
    except RegistryError as error:
        raise Refused(in_words(error)) from error


def newest_runs(count: int) -> list[Run]:
    """Newest first. One query."""
    return list(Run.objects.filter(kind=Run.Kind.GC).order_by("-started_at", "-id")[:count])


def wants_review(now: datetime) -> bool:
    """Whether a run was ended between its quarantine and its review; some minutes
    later again if a review of it failed."""
    found = newest_runs(NEWEST)
    if not found or runs.is_alive(found[0]):
        return False
    newest = found[0]
    is_tried = Result.of(newest).is_review and newest.state == Run.State.FAILED
    if is_tried and now - newest.heartbeat_at < TRY_AGAIN:
        return False
    return is_unreviewed(found)


def is_unreviewed(recent: Iterable[Run]) -> bool:
    """Whether something in quarantine may be needed by a push, by the newest runs, newest first."""
    told = (Result.of(run).reviewed for run in recent)
    return next((one for one in told if one is not None), True) is False


def is_due(now: datetime) -> bool:
    """Whether the last run left something that may be purged by now."""
    last = next(iter(newest_runs(1)), None)
    if last is None or last.started_at > now - PAUSE:
        return False
    due = Result.of(last).due
    return due is not None and due <= now


def is_scheduled(minute: datetime) -> bool:
    """Whether settings.GC_SCHEDULE names this minute, by the clock of TIME_ZONE."""
    return schedules.is_now(settings.GC_SCHEDULE, minute, setting="BOATHOUSE_GC_SCHEDULE")


def _open() -> tuple[FileStore, Quarantine]:
    """The store and its quarantine. Refused: it cannot be read or written from here."""
    choice = choose.choose("auto")
    if choice.kind != "store":
        raise Refused(
            _("Garbage collection cannot run: the store cannot be read. Run ./boathouse doctor")
        )
    return choose.open_store(of_settings()), choose.open_quarantine()


def _place(one: Quarantined) -> paths.Place:
    place = paths.place_of(one.path)
    assert place is not None  # noqa: S101  (a quarantine tells of nothing else)
    return place


@dataclass(slots=True, kw_only=True)
class _GcRun(runs.Work[Result]):
    """One run while it goes on."""

    expected = (*runs.Work.expected, Impossible)

    store: FileStore
    quarantine: Quarantine
    _watch: Watch | None = None

    def everything(self, freeze: Freeze | None) -> None:
        """All stages. `freeze`: purge all, also what is not due."""
        marks = 1 if self.result.dry_run else 2
        self.run.total = marks * (Manifest.objects.count() + Blob.objects.count())
        if self.result.dry_run:
            with self._stage("mark"):
                mark = self._stable_mark()
                self._tell(mark)
            with self._stage("leftovers"):
                self._leftovers(mark, settings.UPLOAD_TIME)
        else:
            with Watch(self.store, choose.open_quarantine()) as self._watch:
                self._in_earnest(freeze)
        self.result.stage = "done"

    def only_review(self) -> None:
        """Restores what is needed, for a run that was ended before it could."""
        self.run.total = Manifest.objects.count() + Blob.objects.count()
        with self._stage("review"):
            self._stable_mark()
            self.result.reviewed = True
        self.result.stage = "done"

    def _in_earnest(self, freeze: Freeze | None) -> None:
        unproved = self._without_answer()
        with self._stage("mark"):
            mark = self._stable_mark()
            if mark.skipped and self._repair():
                mark = self._stable_mark()
            self.result.reviewed = True
            self._tell(mark)
        if unproved is None:
            with locked(alone=[MOVING], seconds=LISTING):
                mark = self._quarantine_and_review(mark)
        if freeze is not None:  # what is left over may be what fills the disk
            with self._stage("leftovers"):
                self._leftovers(mark, IDLE if space.is_low() else settings.UPLOAD_TIME)
        self._purge_stage(mark, freeze)
        if unproved is not None:
            raise unproved
        if freeze is None:
            with self._stage("leftovers"):
                self._leftovers(mark, settings.UPLOAD_TIME)

    def _quarantine_and_review(self, mark: Mark) -> Mark:
        """Quarantines the candidates, then reviews, whatever ended that; the newest mark."""
        manifests: list[tuple[str, str]] = []
        self.result.reviewed = not (mark.manifests or mark.blobs)
        try:
            with self._stage("quarantine"):
                self._quarantine(mark, manifests)
            self.result.reviewed = not (self.result.quarantined or manifests)
        finally:
            if not self.result.reviewed:
                self.must_go_on = True
                with self._stage("review"):
                    mark = self._stable_mark()
                    self.result.reviewed = True
                    self._forget(manifests)
                self.must_go_on = False
        return mark

    def _repair(self) -> list[str]:
        """Makes half-written files good, for which whole repositories are skipped."""
        self.result.repaired = repair(self.store, self.quarantine, self.advance)
        for line in self.result.repaired:
            self.note(line)
        return self.result.repaired

    def _without_answer(self) -> RegistryError | None:
        """The canary; the error if the registry did not take it. Nothing can be in quarantine then,
        but on a full disk, where it takes nothing, what is due must still go."""
        try:
            with self._stage("canary"):
                self._canary()
        except RegistryError as error:
            return error
        return None

    def _purge_stage(self, mark: Mark, freeze: Freeze | None) -> None:
        with self._stage("purge"):
            if freeze is None:
                self._purge(mark, mark.began - settings.QUARANTINE_TIME)
            else:
                self._purge_now(freeze)

    def finish(self) -> audit.Entry | None:
        """Counts what waits; of the audit log if it may have changed anything."""
        self._count_quarantined()
        self.run.total = self.run.done
        facts = self.result.facts()
        details = {name: facts[name] for name in _AUDITED}
        return None if self.result.dry_run else self.entry("store.collect", "store", details)

    # -- stages ------------------------------------------------------------------------------------
    def _canary(self) -> None:
        """Proves that the registry writes this store, and believes the disk at once: with a cache
        of descriptors in memory a push would be told that a quarantined blob is still there."""
        name, data = f"{CANARY}{secrets.token_hex(8)}", secrets.token_bytes(64)
        run = str(self.run.pk)
        with RegistryClient(settings.REGISTRY_URL) as registry:
            digest = registry.upload_blob(name, data)
            is_there = registry.has_blob(name, digest)
            written_at = self.quarantine.age(paths.blob_data(digest))
            gone = self.quarantine.add([paths.blob_data(digest)], run=run)
            try:
                is_still_there = registry.has_blob(name, digest)
            finally:
                gone += self.quarantine.add([paths.repository(name)], run=run)
                for one in gone:  # nobody else can need it: its name and bytes are told to nobody
                    self.quarantine.purge(one)
        if not is_there or not any(_place(one).kind == "blob" for one in gone):
            raise Impossible(_("The registry uses another store than the one read here."))
        if written_at is not None and abs(written_at - timezone.now()) > SKEW:
            raise Impossible(
                _(
                    "The clock of the store's disk differs from the clock of this machine: "
                    "ages cannot be determined."
                )
            )
        if is_still_there:
            raise Impossible(
                _(
                    "The registry caches blobs that no longer exist: disable its "
                    "descriptor cache (storage.cache.blobdescriptor) and restart it."
                )
            )

    def _stable_mark(self) -> Mark:
        """A full look after which nothing in quarantine is needed: what is goes back, and it is
        looked again, because what came back may need more."""
        while True:
            contents = list(self.quarantine.contents())
            marker = Marker(self.store, settings.GC_GRACE, self.advance, contents)
            mark = marker.mark()
            if self.result.dry_run or not self._return(mark, contents):
                return mark

    def _return(self, mark: Mark, contents: Sequence[Quarantined]) -> int:
        """Restores what is needed and not there; returns how many things that were."""
        names = set()
        count = 0
        for one in contents:
            if not self._is_needed(mark, one) or self._is_there(one):
                continue
            self.advance()
            if self.quarantine.restore(one):
                count += 1
                names.add(_place(one).repository)
                self.note(f"restored, because reachable again: {one.path}")
        for name in sorted(names - {""}):
            reconcile.read_again(self.store, name)
        self.result.restored += count
        return count

    def _is_there(self, one: Quarantined) -> bool:
        """Whether there is one in its place; of a folder that is not asked."""
        return _place(one).kind != "repository" and self.quarantine.age(one.path) is not None

    def _is_needed(self, mark: Mark, one: Quarantined) -> bool:
        place = _place(one)
        if one.is_damaged:
            return False
        if place.kind == "blob":
            key = key_of(place.digest)
            return key in mark.needed or key in mark.within_grace
        if place.kind == "revision":
            return (place.repository, place.digest) in mark.wanted
        if place.kind in ("upload", "tag"):  # a tag: mirrors/keeping.py
            return False
        if place.repository in mark.living or place.repository in mark.skipped:
            return True
        # A push that had begun before it was quarantined may have written into it since.
        written_at = self.quarantine.written_at(one)
        return written_at is not None and written_at > one.quarantined_at - settings.GC_GRACE

    def _quarantine(self, mark: Mark, manifests: list[tuple[str, str]]) -> None:
        """Takes the candidates out of the store: links of manifests, then all data. Adds the
        manifests, by repository and digest. Quick, because the review comes when it is done."""
        run = str(self.run.pk)
        before = mark.began - settings.GC_GRACE

        def may_go(path: str) -> bool:
            """Looked at again right before it goes: a push may have renewed it since the mark."""
            needed = self._watch.needed if self._watch is not None else ()
            age = self.quarantine.age(path)
            return path not in needed and age is not None and age < before

        for some in chunks(sorted(mark.manifests), BATCH):
            wanted = [paths.revision_link(name, digest) for name, digest in some]
            gone = self.quarantine.add(wanted, run=run, may_go=may_go)
            places = [_place(one) for one in gone]
            manifests += [(place.repository, place.digest) for place in places]
            self.result.quarantined_manifests += len(places)
            self.advance(len(places))
        for blobs in chunks(mark.blobs, BATCH):
            wanted = [paths.blob_data(digest_of(key)) for key, _size in blobs]
            gone = self.quarantine.add(wanted, run=run, may_go=may_go)
            self.result.quarantined += len(gone)
            self.result.quarantined_bytes += sum(one.size for one in gone)
            self.advance(len(gone))

    def _forget(self, manifests: Sequence[tuple[str, str]]) -> None:
        """Drops the rows of those of these that are still away. Whoever is killed before leaves
        that to a sync."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for name, digest in manifests:
            if self.quarantine.age(paths.revision_link(name, digest)) is None:
                by_name[name].append(digest)
        for name, digests in by_name.items():
            for start in range(0, len(digests), FORGOTTEN):
                ingest.drop_manifests(name, digests[start : start + FORGOTTEN])
                self.advance()

    def _purge(
        self, mark: Mark, until: datetime, *, check: Callable[[], None] = lambda: None
    ) -> None:
        """Deletes what was quarantined before `until` and is not needed by that mark; `check` is
        asked before each of them, whether it still may."""
        for one in list(self.quarantine.contents()):
            place = _place(one)
            if one.quarantined_at > until or place.repository in mark.skipped:
                continue
            self.advance(1)
            if self._is_needed(mark, one):
                self.quarantine.restore(one)  # there is one again: the copy goes
            else:
                check()
                self.result.freed_bytes += self.quarantine.purge(one)
                self.result.purged += 1

    def _purge_now(self, freeze: Freeze) -> None:
        """Purges all, with manifests frozen from before a new mark until the last is gone."""
        began = time.monotonic()
        try:
            with freeze() as frozen:
                mark = self._stable_mark()
                self._purge(mark, mark.began, check=frozen.check)
        finally:
            self.result.freeze_seconds = time.monotonic() - began

    def _leftovers(self, mark: Mark, patience: timedelta) -> None:
        """Takes out uploads that nobody went on with for so long, and repositories with nothing in
        them."""
        now = timezone.now()
        stale: list[str] = []
        busy: set[str] = set()
        for upload in self.store.uploads():
            path = f"{paths.uploads(upload.repository)}/{upload.id}"
            changed = self.quarantine.age(path)
            if (
                changed is None
                or changed > now - patience
                or self.store.is_elsewhere(upload.repository)
            ):
                busy.add(upload.repository)
                continue
            stale.append(path)
            self.result.uploads += 1
            self.result.upload_bytes += upload.size
            self.advance()
        folders = self.store.folders()
        empty = [name for name in mark.empty if name not in busy and name in folders]
        self.result.empty_repositories = len(empty)
        if self.result.dry_run:
            return
        for some in chunks(stale, BATCH):
            self.quarantine.add(some, run=str(self.run.pk))
            self.advance()
        for name in empty:
            self.result.reviewed, self.must_go_on = False, True
            self.advance(at_once=True)
            self._quarantine_repository(name, folders)
            self.result.reviewed, self.must_go_on = True, False
            self.advance()
        self.quarantine.tidy()

    def _quarantine_repository(self, name: str, folders: dict[str, set[str]]) -> None:
        """Its folder, or what is its own in it if there are repositories below."""
        is_alone = not any(other.startswith(f"{name}/") for other in folders)
        folder = paths.repository(name)
        wanted = [folder] if is_alone else [f"{folder}/{one}" for one in sorted(folders[name])]
        wanted = [path for path in wanted if paths.place_of(path) is not None]
        gone = self.quarantine.add(wanted, run=str(self.run.pk))
        for one in gone:
            written_at = self.quarantine.written_at(one)
            if written_at is not None and written_at > one.quarantined_at - settings.GC_GRACE:
                self.quarantine.restore(one)  # somebody pushes there just now
                return
        if gone:
            ingest.drop_repository(name)

    # -- what is told ------------------------------------------------------------------------------
    @contextmanager
    def _stage(self, name: StageName) -> Iterator[None]:
        began = time.monotonic()
        self.result.stage = name
        self.advance(at_once=True)
        try:
            yield
        finally:
            seconds = round(time.monotonic() - began, 3)
            self.result.stages.append(Stage(name, seconds))

    def _tell(self, mark: Mark) -> None:
        result = self.result
        result.repositories, result.manifests = mark.repositories, mark.manifest_count
        result.blobs, result.bytes = mark.blob_count, mark.size
        result.manifest_blobs = mark.stored_manifests
        result.kept_blobs, result.kept_bytes = mark.kept_count, mark.kept_size
        result.kept_manifest_blobs = mark.kept_manifests
        result.candidate_manifests = len(mark.manifests)
        result.candidate_blobs = len(mark.blobs)
        result.candidate_manifest_blobs = sum(
            key in mark.manifest_keys for key, _size in mark.blobs
        )
        result.candidate_bytes = sum(size for _key, size in mark.blobs)
        result.grace_bytes = mark.grace_size
        result.skipped_repositories = sorted(mark.skipped.items())
        for name, why in result.skipped_repositories:
            self.note(f"{name}: nothing of it went: {why}")

    def _count_quarantined(self) -> None:
        try:
            contents = list(self.quarantine.contents())
        except RegistryError as error:
            self.note(str(error))
            return
        self.result.in_quarantine = len(contents)
        self.result.in_quarantine_bytes = sum(one.size for one in contents)
        if contents:
            first = min(one.quarantined_at for one in contents) + settings.QUARANTINE_TIME
            self.result.due_at = first.isoformat()
        for line in self.quarantine.problems():
            self.note(line)


_AUDITED = (
    *("quarantined", "quarantined_manifests", "quarantined_bytes", "restored", "purged"),
    *("freed_bytes", "uploads", "empty_repositories", "freeze_seconds", "problem"),
)
