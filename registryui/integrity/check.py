"""Is every tag whole? A run that looks at all of them and marks those that cannot be pulled.

    whole.py     looks: from the store where it can be read, else by asking the registry
    here         one Run of kind INTEGRITY: threads, progress, marks (index/ingest.py), the report

Nothing is changed but the marks, and half-written files (repair.py). `deep` also reads every blob
that a tag needs and computes its digest, at a pace that leaves the disk to others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from django.conf import settings

from registryui import schedules
from registryui.index import ingest, runs
from registryui.models import Run, Tag
from registryui.refused import Refused
from registryui.registry import choose
from registryui.registry.choose import open_source
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError

from . import repair
from .completeness import Broken, Deep, HttpProbe, Over, Pace, Probe, Probed, StoreProbe

AT_ONCE = {"store": 4, "http": 16}  # threads: files are read by one almost as fast as by many
AHEAD = 4  # tasks a thread
BEAT = 0.5  # seconds between two words that it goes on
NAMED = 500  # broken tags that the result names
LOG_LINES = 200


class Result(TypedDict):
    """Run.result of an INTEGRITY: all keys always there, also while it runs."""

    deep: bool
    source: str  # "store" or "http"
    repositories: int
    tags: int  # that were looked at
    broken: int
    marked: int  # tags whose pages say now that they are damaged
    unmarked: int  # and no longer
    errors: int  # repositories of which nothing is known, because something did not answer
    manifests: int  # that were read; the same one in many repositories once
    blobs: int  # in the store; over HTTP those that were asked for
    read_bytes: int  # of blobs, by a deep one
    problems: list[list[str]]  # the first NAMED broken tags: repository, tag, why, digest
    damaged: list[str]  # digests of blobs that are not what these say; looked at again each time
    repaired: list[str]  # half-written files that were made good, a line each
    seconds: float
    problem: str  # why it ended before its time; ""


@dataclass(slots=True)
class _Checking:
    """One run while it goes on."""

    run: Run
    result: Result
    deep: Deep
    progress: Callable[[Run], None] | None
    lines: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    marked_in: set[str] = field(default_factory=set)  # repositories with marked tags
    began: float = field(default_factory=time.monotonic)
    beaten: float = 0.0

    @property
    def pace(self) -> Pace:
        return self.deep.pace

    def note(self, line: str) -> None:
        if len(self.lines) < LOG_LINES:
            self.lines.append(line)

    def beat(self) -> None:
        """Says how far it is, and looks whether it is to end. Every BEAT seconds."""
        if time.monotonic() - self.beaten < BEAT:
            return
        self.beaten = time.monotonic()
        self.result["read_bytes"] = self.pace.bytes
        self.result["seconds"] = round(time.monotonic() - self.began, 3)
        self.run.result = dict(self.result)
        self.run.save(update_fields=["result"])
        runs.beat(self.run)
        if not runs.may_go_on(self.run):
            self.pace.is_over.set()
        if self.progress is not None:
            self.progress(self.run)


def check(
    *,
    by: str,
    deep: bool = False,
    limit: int = 0,
    source: str = "",
    progress: Callable[[Run], None] | None = None,
) -> Run | None:
    """One run over all tags; None if another one is under way.

    `limit`: bytes a second that a deep one reads, 0 for as many as there are. `source`: "store" or
    "http" instead of the setting. State FAILED: not all repositories could be looked at; what was
    found is kept.
    """
    suspects = _damaged()
    reading = Deep(Pace(limit), is_deep=deep, suspects=suspects)
    run = runs.begin(Run.Kind.INTEGRITY, by=by)
    if run is None:
        return None
    work = _Checking(run, _empty(deep, suspects), reading, progress)
    outcome = Run.State.FAILED
    try:
        run.total = Tag.objects.count()
        marked = Tag.objects.filter(problem=Tag.Problem.BROKEN)
        work.marked_in = set(marked.values_list("repository__name", flat=True).distinct())
        with ExitStack() as stack:
            opened = stack.enter_context(open_source(source))
            _everything(work, opened)
        outcome = Run.State.FAILED if work.result["errors"] else Run.State.DONE
    except Over:
        outcome = Run.State.STOPPED
    except RegistryError as error:
        work.result["problem"] = str(error)
        work.note(str(error))
    except BaseException as error:
        work.result["problem"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        damaged = reading.damaged | (set() if outcome == Run.State.DONE else reading.still())
        work.result["damaged"] = sorted(damaged)
        work.result["read_bytes"] = work.pace.bytes
        work.result["seconds"] = round(time.monotonic() - work.began, 3)
        runs.end(run, outcome, dict(work.result), work.lines)
    return run


def look_again() -> int:
    """Looks only at tags that are marked, and unmarks those that are whole again; how many."""
    marked = Tag.objects.filter(problem=Tag.Problem.BROKEN)
    by_name: dict[str, list[str]] = {}
    for name, tag in marked.values_list("repository__name", "name"):
        by_name.setdefault(name, []).append(tag)
    count = 0
    if not by_name:
        return 0
    # By asking, also where there is a store: listing all of it is not worth a few tags.
    with RegistryClient(settings.REGISTRY_URL) as client:
        look = HttpProbe(client, Deep(Pace(0), is_deep=False, suspects=_damaged()))
        for name, tags in by_name.items():
            found = look.look(name, tags)
            count += len(ingest.set_broken(name, {}, found.whole)[1])
    return count


def _damaged() -> list[str]:
    """The blobs that were damaged when the last run ended."""
    ended = Run.objects.filter(kind=Run.Kind.INTEGRITY).exclude(state=Run.State.RUNNING)
    last = ended.order_by("-started_at").first()
    return [str(one) for one in last.result.get("damaged", [])] if last else []


def is_scheduled(minute: datetime) -> bool:
    """Whether settings.INTEGRITY_SCHEDULE names this minute."""
    setting = "BOATHOUSE_INTEGRITY_SCHEDULE"
    return schedules.is_now(settings.INTEGRITY_SCHEDULE, minute, setting=setting)


# -- one run ---------------------------------------------------------------------------------------
def _everything(work: _Checking, opened: Any) -> None:
    kind = "http" if isinstance(opened, RegistryClient) else "store"
    work.result["source"] = kind
    work.beat()
    _repair(work, opened, None)
    look: StoreProbe | HttpProbe
    if isinstance(opened, RegistryClient):
        look = HttpProbe(opened, work.deep)
    else:
        look = StoreProbe(opened, work.deep)
    with ThreadPoolExecutor(AT_ONCE[kind], thread_name_prefix="integrity") as pool:
        try:
            for found in _looked(work, look, pool, AHEAD * AT_ONCE[kind]):
                _take(work, found)
                work.result["manifests"], work.result["blobs"] = look.manifests, look.blobs
                work.beat()
        finally:
            work.pace.is_over.set()  # what is under way ends, whatever went wrong here
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
        lines = repair.repair(opened, quarantine, lambda count: work.beat())
    else:
        lines = repair.repair_data(opened, quarantine, sorted(digests))
    work.result["repaired"] = [*work.result["repaired"], *lines][:NAMED]
    for line in lines:
        work.note(line)


def _looked(work: _Checking, look: Probe, pool: ThreadPoolExecutor, ahead: int) -> Iterator[Probed]:
    """What was found, task by task, in their order; some are looked at before their turn."""
    waiting: deque[Future[Probed]] = deque()
    for name, tags in look.tasks():
        waiting.append(pool.submit(look.look, name, tags))
        if len(waiting) >= ahead:
            yield _patient(work, waiting.popleft())
    while waiting:
        yield _patient(work, waiting.popleft())


def _patient(work: _Checking, future: Future[Probed]) -> Probed:
    """Its result; a repository may take long, and the run lives meanwhile. Over: it ends."""
    while True:
        try:
            return future.result(timeout=BEAT)
        except NotYet:
            work.beat()


def _take(work: _Checking, found: Probed) -> None:
    result, name = work.result, found.repository
    work.names.add(name)
    result["repositories"] = len(work.names)
    if found.error:
        result["errors"] += 1
        work.note(f"{name}: {found.error}")
        return
    looked = len(found.whole) + len(found.broken)
    result["tags"] += looked
    result["broken"] += len(found.broken)
    work.run.done += looked
    work.run.total = max(work.run.total, work.run.done)
    for one in found.broken:
        work.note(f"{name}:{one.tag}: {words(one.why, one.what)}")
        if len(result["problems"]) < NAMED:
            result["problems"].append([name, one.tag, one.why, one.what])
    if found.broken or name in work.marked_in:
        marked, unmarked = ingest.set_broken(name, _digests(found.broken), found.whole)
        result["marked"] += len(marked)
        result["unmarked"] += len(unmarked)
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


def _empty(deep: bool, damaged: list[str]) -> Result:
    return Result(
        deep=deep,
        source="",
        repositories=0,
        tags=0,
        broken=0,
        marked=0,
        unmarked=0,
        errors=0,
        manifests=0,
        blobs=0,
        read_bytes=0,
        problems=[],
        damaged=damaged,
        repaired=[],
        seconds=0.0,
        problem="",
    )
