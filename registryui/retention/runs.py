"""Retention at work: dry runs, real runs, and the report that both leave behind.

    begin ─► run (in the worker, or in a command) ─► report: RetentionFate rows, Run.result

Repositories are read a chunk at a time, each whole, so memory is bounded by the biggest of them. A
real run decides again on each repository right before it deletes there, a batch at a time, with
the policies and protections of that moment; deletion.execute then looks at each tag once more. What
goes can be undone like any other delete, under the name "policy NAME".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import clock, runs
from registryui.deletion.protection import protections
from registryui.models import POLICY, Repository, RetentionFate, RetentionPolicy, Run, Tag
from registryui.oci import patterns, throw_away
from registryui.refused import Refused

from . import policies
from .decide import Fate, Known, Policy, decide
from .work import OTHER_POLICY, Result, Work, decided_by, delete_batch, report_row

__all__ = [
    "REPORT_ORDER",
    "Result",
    "begin",
    "carry_out",
    "check",
    "prune",
    "reviewed",
    "run_due",
    "watched_since",
]

log = logging.getLogger(__name__)

CHUNK = 5000  # tags read at once, but a repository is never cut
MOST_AT_ONCE = 500  # repositories, for those that have few tags or none
BATCH = 200  # tags deleted under one plan
LATE = timedelta(seconds=90)  # a schedule looks every minute: later than this, it was missed
DRY_RUNS_KEPT = timedelta(days=7)
REVIEW_LASTS = timedelta(hours=1)  # a real run from the page follows a dry run that is newer

_COLUMNS = (
    *("repository__name", "name", "manifest__digest", "tagged_at", "pulled_at"),
    *("size", "refers_to", "problem", "manifest__artifact_type"),
)


# How a report is read: what goes first. The kinds are in this order by their names.
REPORT_ORDER = ("kind", "id")


# -- beginning -----------------------------------------------------------------------------------
def begin(policy: RetentionPolicy, *, by: str, is_dry: bool, due: datetime | None = None) -> Run:
    """The running Run, for `carry_out`. `due`: when it should have begun, if that was missed.

    Refused if one is under way, if a draft is to be run in earnest, or if the clock jumped.
    """
    if not is_dry:
        check(policy)
    missed = due.isoformat() if due else ""
    result = Result(policy=policies.facts(policy), policy_id=policy.pk, is_dry=is_dry, due=missed)
    run = runs.begin(Run.Kind.DRY_RUN if is_dry else Run.Kind.RETENTION, by=by, result=result)
    if run is None:
        raise Refused(
            _("Another dry run is in progress: wait until it is done, or stop it.")
            if is_dry
            else _("A retention run is already in progress: wait until it is done, or stop it.")
        )
    return run


def check(policy: RetentionPolicy) -> None:
    """Refused: it cannot run in earnest."""
    clock.check()
    if not policy.is_active:
        raise Refused(_("The policy %s is a draft: enable it first.") % policy.name)


def reviewed(policy: RetentionPolicy, pk: int | None) -> Run | None:
    """The dry run with that key, if a run may follow from it: it is complete, of this policy as it
    is now, and was made just now."""
    since = timezone.now() - REVIEW_LASTS
    run = Run.objects.filter(
        pk=pk or 0, kind=Run.Kind.DRY_RUN, state=Run.State.DONE, started_at__gt=since
    ).first()
    if run is None:
        return None
    result = Result.of(run)
    is_same = result.policy_id == policy.pk and decided_by(result) == policies.plain(policy)
    return run if is_same else None


def carry_out(run: Run, progress: runs.Progress | None = None) -> Run:
    """Does what `begin` began, to its end. Failures are in the run; what nobody expects is raised.

    One that waited for a dead worker for so long that it was closed stays closed.
    """
    if run.state != Run.State.RUNNING:
        return run
    with Work(run, Result.of(run), progress) as work:
        if work.result.is_dry:
            _decide_all(work)
        else:
            _delete(work)
    if work.result.is_dry:
        _drop_older(run, work.result.policy_id)
    return run


def _drop_older(run: Run, policy: int) -> None:
    """One dry run of a policy is enough: an older one says what is no longer so."""
    older = Run.objects.filter(kind=Run.Kind.DRY_RUN, pk__lt=run.pk).exclude(
        state=Run.State.RUNNING
    )
    old = [one.pk for one in older if Result.of(one).policy_id == policy]
    Run.objects.filter(pk__in=old).delete()


def prune() -> None:
    """Drops dry runs that nobody can still decide by."""
    Run.objects.filter(
        kind=Run.Kind.DRY_RUN, finished_at__lt=timezone.now() - DRY_RUNS_KEPT
    ).delete()


# -- reading -------------------------------------------------------------------------------------
def watched_since() -> datetime:
    """Since when pulls are noted: the day on which this database was made."""
    made = MigrationRecorder.Migration.objects.aggregate(at=Min("applied"))["at"]
    return made or timezone.now()


def _repositories(policy: Policy) -> list[tuple[int, str, int]]:
    """Key, name and number of tags of those that the policy is about, by name. One query."""
    is_meant = patterns.matcher(policy.repositories)
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


# -- a dry run -----------------------------------------------------------------------------------
def _decide_all(work: Work) -> None:
    """Writes down the fate of every tag in the policy's repositories; changes nothing."""
    judge = _judge(work.policy)
    for chunk in _chunks(_found(work)):
        fates = judge(_tags_of(chunk))
        for fate in fates:
            _count(work, fate)
        work.advance(len(fates))


def _found(work: Work) -> list[tuple[int, str, int]]:
    found = _repositories(work.policy)
    work.run.total = sum(tags for _pk, _name, tags in found)
    return found


def _judge(policy: Policy) -> Callable[[Iterable[Known]], list[Fate]]:
    """decide, with the policies and protections of now. Three queries."""
    others = [policies.plain(row) for row in policies.active()]
    protected, since, now = protections(), watched_since(), timezone.now()
    return lambda tags: decide(policy, tags, now, protected, others=others, watched_since=since)


def _count(work: Work, fate: Fate) -> None:
    counts = work.result
    counts.tags += 1
    if fate.goes:
        kind = RetentionFate.Kind.GOES
        counts.goes += 1
        counts.size += fate.tag.size
    elif fate.is_exception:
        kind = RetentionFate.Kind.SAVED
        counts.saved += 1
        reason = OTHER_POLICY if fate.reason.policy else fate.reason.code.value
        counts.reasons[reason] = counts.reasons.get(reason, 0) + 1
    else:
        kind = RetentionFate.Kind.STAYS
    work.add(report_row(work.run, fate, kind))


# -- a real run ----------------------------------------------------------------------------------
def _delete(work: Work) -> None:
    """Untags what the policy selects, repository by repository."""
    judge = _judge(work.policy)
    for chunk in _chunks(_found(work)):
        fates = judge(_tags_of(chunk))
        for repository in dict.fromkeys(fate.tag.repository for fate in fates if fate.goes):
            if not _delete_in(work, repository):
                return
        work.result.tags += len(fates)
        work.advance(len(fates))


def _delete_in(work: Work, repository: str) -> bool:
    """Whether the run goes on with the next repository; else `work` says why it does not."""
    pk = Repository.objects.filter(name=repository).values_list("pk", flat=True).first()
    tried: set[str] = set()
    while pk is not None:
        work.advance(at_once=True)
        if not _is_as_it_was(work):
            work.note("Stopped: the policy was changed, disabled or removed.")
            work.state = Run.State.STOPPED
            return False
        fates = _judge(work.policy)(_tags_of([pk]))
        batch = [fate for fate in fates if fate.goes and fate.tag.name not in tried][:BATCH]
        if not batch:
            break
        tried |= {fate.tag.name for fate in batch}
        by = f"{POLICY}{work.policy.name}"
        if not delete_batch(work, repository, batch, by=by, audited="tag.delete"):
            work.note(f"Ended: none of {len(batch)} tags of {repository} could be deleted.")
            work.state = Run.State.FAILED
            return False
    return True


def _is_as_it_was(work: Work) -> bool:
    row = RetentionPolicy.objects.filter(pk=work.result.policy_id, is_active=True).first()
    return row is not None and policies.plain(row) == work.policy


# -- by schedule ---------------------------------------------------------------------------------
def run_due() -> list[Run]:
    """Carries out the policies whose time has come, one after the other; those that were missed
    while nobody was here once, however often it was."""
    done = []
    for policy in policies.due(timezone.now()):
        due = policy.next_at
        if due is None:
            continue
        is_late = timezone.now() - due > LATE
        # Pushes and pulls may have been missed as well: not before all was read again.
        if is_late and not _was_read_since(due):
            continue
        if not policies.claim(policy, timezone.now()):
            continue
        policy.refresh_from_db()  # the one before it may have taken hours
        try:
            run = begin(policy, by="schedule", is_dry=False, due=due if is_late else None)
        except Refused as refused:
            log.info("retention policy %s waits: %s", policy.name, refused)
            RetentionPolicy.objects.filter(pk=policy.pk, is_active=True).update(next_at=due)
            continue
        done.append(carry_out(run))
    return done


def _was_read_since(due: datetime) -> bool:
    return Run.objects.filter(kind=Run.Kind.SYNC, state=Run.State.DONE, started_at__gt=due).exists()
