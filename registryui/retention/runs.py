"""Retention at work: dry runs, real runs, and the report that both leave behind.

    begin ─► run (in the worker, or in a command) ─► report: RetentionFate rows, Run.result

Repositories are read a chunk at a time, each whole, so memory is bounded by the biggest of them. A
real run decides again on each repository right before it deletes there, a batch at a time, with
the rules and protections of that moment; deletion.execute then looks at each tag once more. What
goes can be undone like any other delete, under the name "rule NAME".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit, clock
from registryui.deletion import execute
from registryui.deletion.protection import protections
from registryui.index import bulk, runs
from registryui.models import AuditEvent, Repository, RetentionFate, RetentionPolicy, Run, Tag
from registryui.oci import patterns, throw_away
from registryui.refused import Refused

from . import freed, policies
from .decide import Fate, Known, Policy, decide

log = logging.getLogger(__name__)

CHUNK = 5000  # tags read at once, but a repository is never cut
MOST_AT_ONCE = 500  # repositories, for those that have few tags or none
BATCH = 200  # tags deleted under one plan
ROWS = 1000  # of the report, written at once
BEAT = 0.5  # seconds between two writes of how far it is
LATE = timedelta(seconds=90)  # a schedule looks every minute: later than this, it was missed
DRY_RUNS_KEPT = timedelta(days=7)

Progress = Callable[[Run], None]

_COLUMNS = (
    *("repository__name", "name", "manifest__digest", "tagged_at", "pulled_at"),
    *("size", "refers_to", "problem", "manifest__artifact_type"),
)


# -- beginning -----------------------------------------------------------------------------------
def begin(rule: RetentionPolicy, *, by: str, is_dry: bool, due: datetime | None = None) -> Run:
    """The running Run, for `carry_out`. `due`: when it should have begun, if that was missed.

    Refused if one is under way, if a draft is to be run in earnest, or if the clock jumped.
    """
    if not is_dry:
        clock.check()
    if not is_dry and not rule.is_active:
        raise Refused(_("The policy %s is a draft: enable it first.") % rule.name)
    run = runs.begin(Run.Kind.DRY_RUN if is_dry else Run.Kind.RETENTION, by=by)
    if run is None:
        raise Refused(
            _("Another dry run is in progress: wait until it is done, or stop it.")
            if is_dry
            else _("A retention run is already in progress: wait until it is done, or stop it.")
        )
    run.result = {
        "rule": policies.facts(rule),
        "rule_id": rule.pk,
        "is_dry": is_dry,
        "due": due.isoformat() if due else "",
        **_Counts().facts(),
    }
    run.save(update_fields=["result"])
    return run


def carry_out(run: Run, progress: Progress | None = None) -> Run:
    """Does what `begin` began, to its end. Failures are in the run, and raised.

    One that waited for a dead worker for so long that it was closed stays closed.
    """
    if run.state != Run.State.RUNNING:
        return run
    work = _Work(run, progress)
    state = Run.State.FAILED
    try:
        state = _look(work) if run.kind == Run.Kind.DRY_RUN else _delete(work)
    except KeyboardInterrupt:
        work.note("Stopped by Ctrl-C.")
        state = Run.State.STOPPED
        raise
    except Exception as error:
        work.note(f"It failed: {' '.join(str(error).split())[:500]}")
        raise
    finally:
        _close(work, state)
    return run


def _close(work: _Work, state: Run.State) -> None:
    run, counts = work.run, work.counts
    work.write()
    if state != Run.State.FAILED:
        counts.freed = freed.by(run)
    result = {**run.result, **counts.facts()}
    with transaction.atomic():
        runs.end(run, state, result, work.lines)
        if run.kind == Run.Kind.RETENTION:
            audit.record(
                "retention.run",
                run.result["rule"]["name"],
                by=run.by,
                result=AuditEvent.Result.DONE
                if state != Run.State.FAILED
                else AuditEvent.Result.FAILED,
                details={
                    "run": run.pk,
                    "state": str(state),
                    "stop_asked_by": run.stop_asked_by,
                    **counts.facts(),
                },
            )
        else:
            _drop_older(run)


def _drop_older(run: Run) -> None:
    """One dry run of a rule is enough: an older one says what is no longer so."""
    older = Run.objects.filter(kind=Run.Kind.DRY_RUN, pk__lt=run.pk).exclude(
        state=Run.State.RUNNING
    )
    old = [one.pk for one in older if one.result.get("rule_id") == run.result["rule_id"]]
    Run.objects.filter(pk__in=old).delete()


def prune() -> None:
    """Drops dry runs that nobody can still decide by."""
    Run.objects.filter(
        kind=Run.Kind.DRY_RUN, finished_at__lt=timezone.now() - DRY_RUNS_KEPT
    ).delete()


# -- what a run keeps in mind --------------------------------------------------------------------
@dataclass(slots=True)
class _Counts:
    tags: int = 0  # looked at
    goes: int = 0
    saved: int = 0
    failed: int = 0
    size: int = 0  # bytes of what goes, each tag counted alone
    freed: int = 0  # bytes that collecting frees

    def facts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Work:
    run: Run
    progress: Progress | None
    counts: _Counts = field(default_factory=_Counts)
    lines: list[str] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    beaten: float = 0.0  # by the clock of time.monotonic

    @property
    def rule(self) -> Policy:
        """As it was when the run began."""
        facts = self.run.result["rule"]
        return Policy(**{name: facts[name] for name in Policy.__slots__})

    def note(self, text: str) -> None:
        self.lines.append(text)

    def add(self, row: tuple[Any, ...]) -> None:
        self.rows.append(row)
        if len(self.rows) >= ROWS:
            self.write()

    def write(self) -> None:
        with transaction.atomic():
            bulk.insert(RetentionFate, _ROW, self.rows)
        self.rows.clear()

    def may_go_on(self, done: int = 0) -> bool:
        """Counts `done` tags more, says that the work lives, and hears whether to stop. Asks the
        database at most every BEAT seconds."""
        self.run.done += done
        self.run.total = max(self.run.total, self.run.done)
        if time.monotonic() - self.beaten < BEAT:
            return True
        self.beaten = time.monotonic()
        if self.progress is not None:
            self.progress(self.run)
        return self.ask()

    def ask(self) -> bool:
        self.run.result = {**self.run.result, **self.counts.facts()}
        self.run.save(update_fields=["result"])
        runs.beat(self.run)
        return runs.may_go_on(self.run)

    def stopped(self) -> Run.State:
        self.note(f"Stopped, as {self.run.stop_asked_by} asked.")
        return Run.State.STOPPED


# -- reading -------------------------------------------------------------------------------------
def watched_since() -> datetime:
    """Since when pulls are noted: the day on which this database was made."""
    made = MigrationRecorder.Migration.objects.aggregate(at=Min("applied"))["at"]
    return made or timezone.now()


def _repositories(rule: Policy) -> list[tuple[int, str, int]]:
    """Key, name and number of tags of those that the rule is about, by name. One query."""
    is_meant = patterns.matcher(rule.repositories)
    rows = Repository.objects.order_by("name").values_list("pk", "name", "tag_count")
    return [row for row in rows.iterator(chunk_size=5000) if is_meant(row[1])]


def _chunks(found: Iterable[tuple[int, str, int]]) -> Iterator[list[int]]:
    """Keys of repositories with CHUNK tags together at most, or of one that has more."""
    chunk: list[int] = []
    together = 0
    for pk, _name, tags in found:
        if chunk and (together + tags > CHUNK or len(chunk) >= MOST_AT_ONCE):
            yield chunk
            chunk, together = [], 0
        chunk.append(pk)
        together += tags
    if chunk:
        yield chunk


def _tags_of(repositories: Sequence[int]) -> list[Known]:
    """All their tags, by repository and name. One query."""
    rows = (
        Tag.objects.filter(repository__in=repositories, refers_to="")
        .order_by("repository__name", "name")
        .values_list(*_COLUMNS)
    )
    return [
        Known(
            repository=repository,
            name=name,
            digest=digest or "",
            tagged_at=tagged_at,
            pulled_at=pulled_at,
            size=size,
            refers_to=refers_to,
            # A delete is at it, or died at it: this "push" is ours, and must take nobody's place.
            problem="throw-away" if kind == throw_away.ARTIFACT_TYPE else problem,
        )
        for repository, name, digest, tagged_at, pulled_at, size, refers_to, problem, kind in rows
    ]


_ROW = (
    *("run", "kind", "repository", "tag", "digest", "size", "tagged_at", "pulled_at"),
    *("reason", "policy", "number", "note", "beside"),
)


def _row(run: Run, fate: Fate, kind: RetentionFate.Kind, note: str = "") -> tuple[Any, ...]:
    tag, reason = fate.tag, fate.reason
    return (
        *(run.pk, kind.value, tag.repository, tag.name, tag.digest, tag.size),
        *(bulk.stored(tag.tagged_at), bulk.stored(tag.pulled_at)),
        *(reason.code.value, reason.policy, reason.number),
        *((note or reason.note)[:255], fate.beside),
    )


# -- a dry run -----------------------------------------------------------------------------------
def _look(work: _Work) -> Run.State:
    """Writes down the fate of every tag in the rule's repositories; changes nothing."""
    judge = _judge(work.rule)
    for chunk in _chunks(_found(work)):
        fates = judge(_tags_of(chunk))
        for fate in fates:
            _count(work, fate)
        if not work.may_go_on(len(fates)):
            return work.stopped()
    return Run.State.DONE


def _found(work: _Work) -> list[tuple[int, str, int]]:
    found = _repositories(work.rule)
    work.run.total = sum(tags for _pk, _name, tags in found)
    return found


def _judge(rule: Policy) -> Callable[[Iterable[Known]], list[Fate]]:
    """decide, with the rules and protections of now. Three queries."""
    others = [policies.plain(row) for row in policies.active()]
    protected, since, now = protections(), watched_since(), timezone.now()
    return lambda tags: decide(rule, tags, now, protected, others=others, watched_since=since)


def _count(work: _Work, fate: Fate) -> None:
    counts = work.counts
    counts.tags += 1
    if fate.goes:
        kind = RetentionFate.Kind.GOES
        counts.goes += 1
        counts.size += fate.tag.size
    elif fate.is_exception:
        kind = RetentionFate.Kind.SAVED
        counts.saved += 1
    else:
        kind = RetentionFate.Kind.STAYS
    work.add(_row(work.run, fate, kind))


# -- a real run ----------------------------------------------------------------------------------
def _delete(work: _Work) -> Run.State:
    """Takes off what the rule takes, repository by repository."""
    judge = _judge(work.rule)
    for chunk in _chunks(_found(work)):
        fates = judge(_tags_of(chunk))
        for repository in dict.fromkeys(fate.tag.repository for fate in fates if fate.goes):
            if (ended := _delete_in(work, repository)) is not None:
                return ended
        work.counts.tags += len(fates)
        if not work.may_go_on(len(fates)):
            return work.stopped()
    return Run.State.DONE


def _delete_in(work: _Work, repository: str) -> Run.State | None:
    """None: the run goes on with the next repository."""
    pk = Repository.objects.filter(name=repository).values_list("pk", flat=True).first()
    tried: set[str] = set()
    while pk is not None:
        if not work.ask():
            return work.stopped()
        if not _is_as_it_was(work):
            work.note("Stopped: the policy was changed, disabled or removed.")
            return Run.State.STOPPED
        fates = _judge(work.rule)(_tags_of([pk]))
        batch = [fate for fate in fates if fate.goes and fate.tag.name not in tried][:BATCH]
        if not batch:
            break
        tried |= {fate.tag.name for fate in batch}
        if not _delete_batch(work, repository, batch):
            work.note(f"Ended: none of {len(batch)} tags of {repository} could be deleted.")
            return Run.State.FAILED
    return None


def _is_as_it_was(work: _Work) -> bool:
    row = RetentionPolicy.objects.filter(pk=work.run.result["rule_id"], is_active=True).first()
    return row is not None and policies.plain(row) == work.rule


def _delete_batch(work: _Work, repository: str, batch: Sequence[Fate]) -> bool:
    """False if the registry failed at every one of them: it will fail at the others, too."""
    wanted = {fate.tag.name: fate.tag.digest for fate in batch}
    instead: dict[str, str] = {}  # why a tag was not tried
    try:
        plan = execute.plan(execute.Selection(repository, tags=tuple(wanted)))
        instead = {one.tag: one.reason for one in plan.left_out}
        planned = {one.tag: one.digest for one in plan.going}
        if planned != wanted:  # something moved since it was decided on: only what did not
            same = tuple(tag for tag, digest in planned.items() if wanted.get(tag) == digest)
            if not same:
                _record(work, batch, {}, instead)
                return True
            plan = execute.plan(execute.Selection(repository, tags=same))
        outcome = execute.execute(
            plan.selection,
            fingerprint=plan.fingerprint,
            by=f"rule {work.rule.name}",
            progress=lambda done, total: work.may_go_on(),
        )
    except Refused as error:
        _record(work, batch, {}, {tag: str(error) for tag in wanted} | instead)
        return True
    results = {one.tag: one for one in outcome.results}
    _record(work, batch, results, instead)
    return any(one.state != "failed" for one in results.values()) or not results


def _record(
    work: _Work,
    batch: Sequence[Fate],
    results: dict[str, execute.Result],
    instead: dict[str, str],
) -> None:
    """Writes what became of each; of those without a result, `instead` knows why, or they moved."""
    for fate in batch:
        name = fate.tag.name
        found = results.get(name)
        if found is not None and found.state == "deleted":
            work.counts.goes += 1
            work.counts.size += fate.tag.size
            work.add(_row(work.run, fate, RetentionFate.Kind.GOES))
        elif found is not None or not work.run.stop_asked_by or name in instead:
            work.counts.failed += 1
            note = (found.reason or found.state) if found else instead.get(name, "moved")
            work.add(_row(work.run, fate, RetentionFate.Kind.FAILED, note))
    work.write()  # a run that is killed has a report of what it did


# -- by schedule ---------------------------------------------------------------------------------
def run_due() -> list[Run]:
    """Carries out the rules whose time has come, one after the other; those that were missed while
    nobody was here once, however often it was."""
    done = []
    for rule in policies.due(timezone.now()):
        due = rule.next_at
        if due is None:
            continue
        is_late = timezone.now() - due > LATE
        # Pushes and pulls may have been missed as well: not before all was read again.
        if is_late and not _was_read_since(due):
            continue
        if not policies.claim(rule, timezone.now()):
            continue
        rule.refresh_from_db()  # the one before it may have taken hours
        try:
            run = begin(rule, by="schedule", is_dry=False, due=due if is_late else None)
        except Refused as refused:
            log.info("retention rule %s waits: %s", rule.name, refused)
            RetentionPolicy.objects.filter(pk=rule.pk, is_active=True).update(next_at=due)
            continue
        done.append(carry_out(run))
    return done


def _was_read_since(due: datetime) -> bool:
    return Run.objects.filter(kind=Run.Kind.SYNC, state=Run.State.DONE, started_at__gt=due).exists()
