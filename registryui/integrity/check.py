"""Integrity check: a run that looks at all tags and marks those that cannot be pulled.

    completeness.py  looks: from the store where it can be read, else by asking the registry
    here             one Run of kind INTEGRITY: threads, progress, marks, the report

Nothing is changed but the marks, and half-written files (repair.py). `deep` also reads every blob
that a tag needs and computes its digest, at a pace that leaves the disk to others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings

from registryui import audit, runs, schedules
from registryui.index import ingest
from registryui.models import Run, Tag
from registryui.models.mirrored import mirrored_names
from registryui.oci import names
from registryui.refused import Refused
from registryui.registry import choose
from registryui.registry.choose import open_source
from registryui.registry.client import RegistryClient

from . import repair
from .completeness import Broken, Deep, HttpProbe, Mirrored, Pace, Probe, Probed, StoreProbe

AT_ONCE = {"store": 4, "http": 16}  # threads: files are read by one almost as fast as by many
AHEAD = 4  # tasks a thread
NAMED = 500  # broken tags that the result names


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of an INTEGRITY."""

    deep: bool = False
    source: str = ""  # "store" or "http"
    repositories: int = 0
    tags: int = 0  # that were looked at, without referrer tags
    referrer_tags: int = 0
    broken: int = 0
    marked: int = 0  # tags whose pages say now that they are damaged
    unmarked: int = 0  # and no longer
    errors: int = 0  # repositories of which nothing is known, because something did not answer
    manifests: int = 0  # that were read; the same one in many repositories once
    blobs: int = 0  # in the store; over HTTP those that were asked for
    read_bytes: int = 0  # of blobs, by a deep one
    # the first NAMED broken tags: repository, tag, why, digest
    problems: list[tuple[str, str, str, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # digests of blobs that are not what these
    # say; looked at again each time
    repaired: list[str] = field(default_factory=list)  # half-written files made good, a line each
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Checking(runs.Work[Result]):
    """One run while it goes on."""

    deep: Deep
    names: set[str] = field(default_factory=set)
    marked_in: set[str] = field(default_factory=set)  # repositories with marked tags
    began: float = field(default_factory=time.monotonic)

    def beat(self, done: int = 0) -> None:
        """So many tags more were looked at; Stopped if that is enough."""
        self._measure()
        self.advance(done)

    def finish(self) -> audit.Entry | None:
        """Keeps what is damaged: also what was and is not known to be whole."""
        is_all = self.state == Run.State.DONE
        self.result.damaged = sorted(self.deep.damaged | (set() if is_all else self.deep.still()))
        self._measure()
        return None

    def _measure(self) -> None:
        self.result.read_bytes = self.deep.pace.bytes
        self.result.seconds = round(time.monotonic() - self.began, 3)


def check(
    *,
    by: str,
    deep: bool = False,
    limit: int = 0,
    source: str = "",
    progress: runs.Progress | None = None,
) -> Run | None:
    """One run over all tags; None if another one is under way.

    `limit`: bytes a second that a deep one reads, 0 for as many as there are. `source`: "store" or
    "http" instead of the setting. State FAILED: not all repositories could be looked at; what was
    found is kept.
    """
    result = Result(deep=deep, damaged=_damaged())
    reading = Deep(Pace(limit), is_deep=deep, suspects=result.damaged)
    run = runs.begin(Run.Kind.INTEGRITY, by=by, result=result, total=Tag.objects.count())
    if run is None:
        return None
    with _Checking(run, result, progress, deep=reading) as work:
        marked = Tag.objects.filter(problem=Tag.Problem.BROKEN)
        work.marked_in = set(marked.values_list("repository__name", flat=True).distinct())
        with open_source(source) as opened:
            _everything(work, opened)
        work.state = Run.State.FAILED if result.errors else Run.State.DONE
    return run


def recheck_damaged() -> int:
    """Looks only at tags that are marked, and unmarks those that are complete again; how many."""
    marked = Tag.objects.filter(problem=Tag.Problem.BROKEN)
    by_name: dict[str, list[str]] = {}
    for name, tag in marked.values_list("repository__name", "name"):
        by_name.setdefault(name, []).append(tag)
    count = 0
    if not by_name:
        return 0
    # By asking, also where there is a store: listing all of it is not worth a few tags.
    with RegistryClient(settings.REGISTRY_URL) as client:
        deep = Deep(Pace(0), is_deep=False, suspects=_damaged())
        probe = HttpProbe(client, deep, is_mirrored=_is_mirrored())
        for name, tags in by_name.items():
            found = probe.probe(name, tags)
            count += len(ingest.set_broken(name, {}, found.complete)[1])
    return count


def _damaged() -> list[str]:
    """The blobs that were damaged when the last run ended."""
    ended = Run.objects.filter(kind=Run.Kind.INTEGRITY).exclude(state=Run.State.RUNNING)
    last = ended.order_by("-started_at").first()
    return Result.of(last).damaged if last else []


def is_scheduled(minute: datetime) -> bool:
    """Whether settings.INTEGRITY_SCHEDULE names this minute."""
    setting = "BOATHOUSE_INTEGRITY_SCHEDULE"
    return schedules.is_now(settings.INTEGRITY_SCHEDULE, minute, setting=setting)


def _is_mirrored() -> Mirrored:
    """Read now: the threads that ask have no connection to the database."""
    names = mirrored_names()
    return lambda repository: "/" in repository and repository.partition("/")[0] in names


# -- one run ---------------------------------------------------------------------------------------
def _everything(work: _Checking, opened: Any) -> None:
    kind = "http" if isinstance(opened, RegistryClient) else "store"
    work.result.source = kind
    work.beat()
    _repair(work, opened, None)
    probe: StoreProbe | HttpProbe
    if isinstance(opened, RegistryClient):
        probe = HttpProbe(opened, work.deep, is_mirrored=_is_mirrored())
    else:
        probe = StoreProbe(opened, work.deep, is_mirrored=_is_mirrored())
    with ThreadPoolExecutor(AT_ONCE[kind], thread_name_prefix="integrity") as pool:
        try:
            for found in _probed(work, probe, pool, AHEAD * AT_ONCE[kind]):
                _take(work, found)
                work.result.manifests, work.result.blobs = probe.manifests, probe.blobs
                work.beat()
        finally:
            work.deep.pace.is_over.set()  # what is under way ends, whatever went wrong here
    _repair(work, opened, work.deep.damaged)
    work.run.total = work.run.done


def _repair(work: _Checking, opened: Any, digests: Collection[str] | None) -> None:
    """Makes half-written files of a store good (None: looks for them), if it can be written."""
    if isinstance(opened, RegistryClient) or (digests is not None and not digests):
        return
    try:
        quarantine = choose.open_quarantine()
    except Refused as error:
        work.note(str(error))
        return
    if digests is None:
        lines = repair.repair(opened, quarantine, work.may_go_on)
    else:
        lines = repair.repair_data(opened, quarantine, sorted(digests))
    work.result.repaired += lines[: NAMED - len(work.result.repaired)]
    for line in lines:
        work.note(line)


def _probed(work: _Checking, probe: Probe, pool: Executor, ahead: int) -> Iterator[Probed]:
    """What was found, task by task, in their order; some are looked at before their turn."""
    waiting: deque[Future[Probed]] = deque()
    for name, tags in probe.tasks():
        waiting.append(pool.submit(probe.probe, name, tags))
        if len(waiting) >= ahead:
            yield _patient(work, waiting.popleft())
    while waiting:
        yield _patient(work, waiting.popleft())


def _patient(work: _Checking, future: Future[Probed]) -> Probed:
    """Its result; a repository may take long, and the run lives meanwhile. Over: it ends."""
    while True:
        try:
            return future.result(timeout=runs.STEP)
        except NotYet:
            work.beat()


def _take(work: _Checking, found: Probed) -> None:
    result, name = work.result, found.repository
    work.names.add(name)
    result.repositories = len(work.names)
    if found.error:
        result.errors += 1
        work.note(f"{name}: {found.error}")
        return
    probed = len(found.complete) + len(found.broken)
    tags, referrer_tags = names.tag_counts((*found.complete, *(one.tag for one in found.broken)))
    result.tags += tags
    result.referrer_tags += referrer_tags
    result.broken += len(found.broken)
    work.run.done += probed
    for one in found.broken:
        work.note(f"{name}:{one.tag}: {words(one.why, one.what)}")
        if len(result.problems) < NAMED:
            result.problems.append((name, one.tag, one.why, one.what))
    if found.broken or name in work.marked_in:
        marked, unmarked = ingest.set_broken(name, _digests(found.broken), found.complete)
        result.marked += len(marked)
        result.unmarked += len(unmarked)
        for tag in unmarked:
            work.note(f"{name}:{tag}: is complete again")


def _digests(broken: list[Broken]) -> dict[str, str]:
    return {one.tag: one.digest for one in broken}


def words(why: str, digest: str) -> str:
    """A reason for the log and the command: "layer sha256:… is missing"."""
    what, _, how = why.partition("-")
    said = {
        "missing": "is missing",
        "damaged": "is damaged",
        "unlinked": "is not linked in the repository",
        "size": "has not the size that the manifest says",
    }.get(how, how)
    return f"{what} {digest} {said}" if digest else f"the {what} {said}"
