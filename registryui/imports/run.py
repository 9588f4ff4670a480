"""The run of an import: from `survey` of a source to a report of every tag.

    survey ─► names here, clashes ─► several tags at once: is it here? ─ copy ─► tag ─► report

    taken      all that it names was stored, and then it was tagged; in a dry run: it would be
    there      the tag has this digest already
    skipped    with a reason: another digest is here, its name or its format
    failed     with a reason: run it again

A run that is stopped or killed is begun again with the same words: what is here is not sent twice.
Only this module writes ImportedTag.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from registryui import audit, runs, space, under_way, write_freeze
from registryui.deletion.protection import protections
from registryui.models import ImportedTag, Run
from registryui.models.mirrored import Mirrors, is_mirrored
from registryui.oci import names
from registryui.refused import Refused

from . import naming
from .fate import Asking, Fate, State
from .source import Found, Options, Source
from .target import Job, Registry

AT_ONCE = 8  # tags
POLL = 0.25  # seconds between two checks for a stop, of the disk
REPORTS = 20  # newest imports whose reports are kept
RULES_SECONDS = 5.0  # after which protections are read again
MOST_FAILURES = 20  # tags in a row that failed for a moment: then the source or target is away
ROWS = 200  # of the report that are written at once


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of an IMPORT."""

    act: str = ""  # by which events of its pushes are recognised: index/events.py
    kind: str = ""  # "registry", "archive", "v1": which command
    source: str = ""  # Source.name
    about: dict[str, Any] = field(default_factory=dict)  # to begin it again: no secret
    dry_run: bool = False
    stage: str = "survey"  # then "copy"
    found: int = 0  # tags
    taken: int = 0
    there: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0  # that were sent; in a dry run: that would be
    total_bytes: int = 0  # as far as that is known
    seconds: float = 0.0
    seconds_left: float | None = None


def begin(kind: str, source: str, options: Options, *, by: str, about: dict[str, Any]) -> Run:
    """A running Run for `carry_out`. Refused with a sentence: nothing can be imported now, or not
    to there. `about`: what the page fills its form with to begin it again."""
    _check(options)
    result = Result(
        act=uuid.uuid4().hex, kind=kind, source=source, about=about, dry_run=options.dry_run
    )
    _close_dead()
    run = runs.begin(Run.Kind.IMPORT, by=by, result=result)
    if run is None:
        raise Refused(_("Another import is in progress. Wait until it is done, or stop it."))
    if not options.dry_run:
        audit.record("import.begin", source, by=by, details=_details(result, options))
    return run


def carry_out(
    run: Run, source: Source, options: Options, *, progress: runs.Progress | None = None
) -> Run:
    """Imports; ends the run in any case, and returns it. State FAILED: not all could be imported,
    and the report says why."""
    run.refresh_from_db()
    if run.state != Run.State.RUNNING:  # it waited so long that it was taken for dead
        return run
    result = Result.of(run)
    work = _Import(run, result, progress, source=source, options=options)
    with under_way.under_way(f"import-{run.pk}"), work:
        registry = Registry(act=result.act, rate=options.rate, dry_run=options.dry_run)
        with registry:
            _everything(work, registry)
        work.state = Run.State.FAILED if result.failed else Run.State.DONE
    return run


def _close_dead() -> None:
    """An import on this host that was killed a moment ago can be run again at once."""
    for name in under_way.dead():
        kind, _dash, pk = name.partition("-")
        if kind == "import":
            runs.close_dead(int(pk))
            under_way.forget(name)


def _check(options: Options) -> None:
    if options.namespace and not names.is_repository(options.namespace):
        raise Refused(
            _("“%(name)s” is not a namespace: use lower-case letters, digits and . _ - /.")
            % {"name": options.namespace[:100]}
        )
    if options.namespace and is_mirrored(f"{options.namespace}/x"):
        raise Refused(
            _("%(name)s is the namespace of a mirror: choose another namespace.")
            % {"name": options.namespace}
        )
    if options.dry_run:
        return
    if any(write_freeze.is_frozen(what) for what in ("writes", "manifests")):
        raise Refused(_("Writes are frozen: try again when the write freeze has ended."))
    if low := space.warning():
        raise Refused(low)


@dataclass(slots=True, kw_only=True)
class _Import(runs.Work[Result]):
    """One run while it goes on."""

    source: Source
    options: Options
    rows: list[ImportedTag] = field(default_factory=list)  # of the report, not written yet
    waiting: dict[Future[Fate], Job] = field(default_factory=dict)
    sent: int = 0  # bytes of tags that are done
    left: float = 0.0  # weight of the tags that are not done
    copied: float = 0.0  # of those that were sent
    by_size: bool = False  # a tag weighs its bytes, else one
    failures: int = 0  # temporary ones in a row
    began: float = field(default_factory=time.monotonic)
    copied_from: float = 0.0  # when the survey was done

    def report(self, found: Found, state: State, note: str = "", **facts: Any) -> None:
        """One line of the report."""
        self.rows.append(
            ImportedTag(
                run=self.run,
                state=state,
                repository=found.repository[:255],
                tag=found.tag[:255],
                note=note[:500],
                **facts,
            )
        )
        setattr(self.result, state, getattr(self.result, state) + 1)
        if len(self.rows) >= ROWS:
            self.write()

    def write(self) -> None:
        """Writes the lines of the report."""
        ImportedTag.objects.bulk_create(self.rows)
        self.rows.clear()

    def weight(self, job: Job) -> float:
        """What it counts for in the time that is left."""
        return job.found.size if self.by_size else 1.0

    def beat(self, done: int = 0) -> None:
        """So many tags more are done. Stopped; Refused: the disk is full."""
        result, now = self.result, time.monotonic()
        result.seconds = round(now - self.began, 3)
        waiting = list(self.waiting.values())
        result.bytes = self.sent + sum(one.sent for one in waiting)
        part = sum(self.weight(one) * one.share for one in waiting)
        took = now - (self.copied_from or now)
        result.seconds_left = None
        if took > 2 and self.copied + part > 0:  # what was here already says nothing
            result.seconds_left = round(took * (self.left - part) / (self.copied + part), 1)
        if now - self.written_at >= runs.STEP:
            self.write()  # a page that follows the run sees its lines
        self.advance(done)

    def finish(self) -> audit.Entry | None:
        """Writes the rest of the report."""
        self.result.seconds = round(time.monotonic() - self.began, 3)
        self.result.bytes = self.sent + sum(one.sent for one in self.waiting.values())
        self.result.seconds_left = None
        self.write()
        _prune()
        if self.options.dry_run:
            return None
        return self.entry("import.end", self.source.name, _details(self.result, self.options))


def _prune() -> None:
    """An import that is run each night has a line for each tag each time."""
    every = Run.objects.filter(kind=Run.Kind.IMPORT).order_by("-started_at", "-id")
    old = every.values_list("pk", flat=True)[REPORTS : 2 * REPORTS]
    ImportedTag.objects.filter(run__in=list(old)).delete()


def _details(result: Result, options: Options) -> dict[str, Any]:
    counts = {name: getattr(result, name) for name in ("taken", "there", "skipped", "failed")}
    told = {"to": options.namespace, "patterns": " ".join(options.patterns)[:500], **counts}
    return {name: value for name, value in told.items() if value}


# -- survey ----------------------------------------------------------------------------------------
def _everything(work: _Import, registry: Registry) -> None:
    jobs = _surveyed(work)
    work.result.stage, work.copied_from = "copy", time.monotonic()
    work.result.total_bytes = sum(job.found.size for job in jobs)
    work.by_size = bool(jobs) and all(job.found.size for job in jobs)
    work.left = sum(map(work.weight, jobs))
    work.beat()
    asking = Asking(work.source, registry, work.options)
    language = translation.get_language()
    try:
        with ThreadPoolExecutor(AT_ONCE, "import", translation.activate, (language,)) as pool:
            try:
                _together(work, asking, jobs, pool)
            finally:
                registry.pace.is_over.set()  # what is under way ends, whatever went wrong here
    finally:
        _take_rest(work)


def _surveyed(work: _Import) -> list[Job]:
    """What is to be copied. What cannot be is in the report."""
    jobs: dict[tuple[str, str], Job] = {}
    mirrors = Mirrors()
    for found in work.source.survey():
        if not work.options.mean(found.repository, found.tag):
            continue
        work.result.found += 1
        work.beat()
        problem, repository, tag = _named(found, work.options)
        if not problem and mirrors.have(repository):
            problem = _("Here its namespace is a mirror's: choose another namespace.")
        if problem:
            work.report(found, State.SKIPPED, problem)
            continue
        job, other = Job(found, repository, tag), jobs.get((repository, tag))
        if other is not None and _is_named_so(job):  # who has the name itself keeps it
            job, other = other, job
            jobs[repository, tag] = other
        if other is None:
            jobs[repository, tag] = job
        else:
            name = f"{other.found.repository}:{other.found.tag}"
            words = _("%(name)s has the same name here.") % {"name": name}
            work.report(job.found, State.SKIPPED, words, target=repository, target_tag=tag)
    work.run.total = work.result.found
    work.run.done = work.result.skipped
    return list(jobs.values())


def _named(found: Found, options: Options) -> tuple[str, str, str]:
    """What keeps it from being imported, its repository here, its tag."""
    if found.problem:
        return found.problem, "", ""
    try:
        tag = naming.tag(found.target_tag or found.tag)
        name = naming.repository(found.target or found.repository)
        below = f"{options.namespace}/{name}" if options.namespace else name
        return "", names.check_repository(below), tag
    except ValueError:
        return _("No legal name can be made of its name."), "", ""


def _is_named_so(job: Job) -> bool:
    return job.repository.endswith(job.found.repository) and job.tag == job.found.tag


# -- copying ---------------------------------------------------------------------------------------
def _together(work: _Import, asking: Asking, jobs: Iterable[Job], pool: ThreadPoolExecutor) -> None:
    """Copies them, several at once. Stopped; Refused: there is no sense in going on."""
    todo = iter(jobs)
    read_at = float("-inf")
    while True:
        if time.monotonic() - read_at > RULES_SECONDS:
            asking.rules, read_at = protections(), time.monotonic()
        while len(work.waiting) < 2 * AT_ONCE and (job := next(todo, None)) is not None:
            work.waiting[pool.submit(asking.fate, job)] = job
        if not work.waiting:
            return
        done, _rest = wait(work.waiting, timeout=POLL, return_when=FIRST_COMPLETED)
        for one in done:
            fate = one.result()
            _take(work, work.waiting.pop(one), fate)
            work.beat(1)
        if work.failures >= MOST_FAILURES:
            raise Refused(
                _("%(number)d tags in a row failed, the last one because: %(reason)s Run it again.")
                % {"number": work.failures, "reason": fate.note}
            )
        if not work.options.dry_run and (low := space.warning()):
            raise Refused(low)
        work.beat()


def _take(work: _Import, job: Job, fate: Fate) -> None:
    """Reports it."""
    work.sent += job.sent
    work.left -= work.weight(job)
    if fate.state == State.TAKEN:
        work.copied += work.weight(job)
    here = {"target": job.repository, "target_tag": job.tag}
    mapped = "" if _is_named_so(job) else _("Its name was changed.")
    note = " ".join(filter(None, [mapped, fate.note, *job.notices]))
    work.report(job.found, fate.state, note, digest=fate.digest, size=job.sent, **here)
    work.failures = work.failures + 1 if fate.is_temporary else 0


def _take_rest(work: _Import) -> None:
    """What was done all the same after the run was to end."""
    for one, job in list(work.waiting.items()):
        if one.done() and not one.cancelled() and one.exception() is None:
            del work.waiting[one]
            _take(work, job, one.result())
            work.run.done += 1
    work.write()
