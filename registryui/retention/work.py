"""What runs that delete tags have in common, retention's and expiry's: the result, the report, and
a batch of tags under one plan of deletion/execute.py, which looks at each tag once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from registryui import audit, runs
from registryui.deletion import execute
from registryui.index import bulk
from registryui.models import RetentionFate, Run
from registryui.refused import Refused
from registryui.registry.responding import NotResponding

from . import freed
from .decide import Fate, Policy

ROWS = 1000  # of the report, written at once


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of a RETENTION, a DRY_RUN or an EXPIRY, which has no policy."""

    policy: dict[str, Any] = field(default_factory=dict)  # policies.facts, as the run began
    policy_id: int = 0
    is_dry: bool = False
    due: str = ""  # when it should have begun, iso, if that was missed
    tags: int = 0  # looked at
    goes: int = 0
    saved: int = 0
    failed: int = 0
    size: int = 0  # bytes of what goes, each tag counted alone
    freed: int = 0  # bytes that garbage collection frees
    # Of a dry run: `saved` by the reason, a Code, or OTHER_POLICY.
    reasons: dict[str, int] = field(default_factory=dict)


OTHER_POLICY = "policy"


def decided_by(result: Result) -> Policy:
    """The policy as it was when the run began."""
    return Policy(**{name: result.policy[name] for name in Policy.__slots__})


@dataclass(slots=True)
class Work(runs.Work[Result]):
    act: str = "retention.run"  # of the audit log
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def policy(self) -> Policy:
        """As it was when the run began."""
        return decided_by(self.result)

    def add(self, row: tuple[Any, ...]) -> None:
        self.rows.append(row)
        if len(self.rows) >= ROWS:
            self.write()

    def write(self) -> None:
        with transaction.atomic():
            bulk.insert(RetentionFate, ROW, self.rows)
        self.rows.clear()

    def finish(self) -> audit.Entry | None:
        """Completes the report; of the audit log is what deletes."""
        self.write()
        if self.state != Run.State.FAILED and self.result.goes:
            self.result.freed = freed.by(self.run)
        if self.result.is_dry:
            return None
        counts = {name: getattr(self.result, name) for name in _COUNTS}
        told = {"run": self.run.pk, "state": str(self.state)}
        told["stop_asked_by"] = self.run.stop_asked_by
        return self.entry(self.act, self.result.policy.get("name", ""), {**told, **counts})


_COUNTS = ("tags", "goes", "saved", "failed", "size", "freed")


ROW = (
    *("run", "kind", "repository", "tag", "digest", "size", "tagged_at", "pulled_at"),
    *("reason", "policy", "number", "note", "beside"),
)


def report_row(run: Run, fate: Fate, kind: RetentionFate.Kind, note: str = "") -> tuple[Any, ...]:
    tag, reason = fate.tag, fate.reason
    return (
        *(run.pk, kind.value, tag.repository, tag.name, tag.digest, tag.size),
        *(bulk.stored(tag.tagged_at), bulk.stored(tag.pulled_at)),
        *(reason.code.value, reason.policy, reason.number),
        *((note or reason.note)[:255], fate.beside),
    )


def delete_batch(
    work: Work, repository: str, batch: Sequence[Fate], *, by: str, audited: str
) -> bool:
    """Deletes those of them that are as they were, under one plan. False if the registry failed at
    every one of them: it will fail at the others, too."""
    wanted = {fate.tag.name: fate.tag.digest for fate in batch}
    instead: dict[str, str] = {}  # why a tag was not tried
    try:
        plan = execute.plan(execute.Selection(repository, tags=tuple(wanted)))
        instead = {one.tag: one.reason for one in plan.left_out}
        planned = {one.tag: one.digest for one in plan.going}
        if planned != wanted:  # something moved since it was decided on: only what did not
            same = tuple(tag for tag, digest in planned.items() if wanted.get(tag) == digest)
            if not same:
                record(work, batch, {}, instead)
                return True
            plan = execute.plan(execute.Selection(repository, tags=same))
        outcome = execute.execute(
            plan.selection,
            fingerprint=plan.fingerprint,
            by=by,
            audited=audited,
            progress=lambda done, total: work.may_go_on(),
        )
    except Refused as error:
        record(work, batch, {}, {tag: str(error) for tag in wanted} | instead)
        return not isinstance(error, NotResponding)
    results = {one.tag: one for one in outcome.results}
    record(work, batch, results, instead)
    return any(one.state != "failed" for one in results.values()) or not results


def record(
    work: Work,
    batch: Sequence[Fate],
    results: dict[str, execute.Result],
    instead: dict[str, str],
) -> None:
    """Writes what became of each; of those without a result, `instead` knows why, or they moved."""
    for fate in batch:
        name = fate.tag.name
        found = results.get(name)
        if found is not None and found.state == "deleted":
            work.result.goes += 1
            work.result.size += fate.tag.size
            work.add(report_row(work.run, fate, RetentionFate.Kind.GOES))
        elif found is not None or not work.run.stop_asked_by or name in instead:
            work.result.failed += 1
            note = (found.reason or found.state) if found else instead.get(name, "moved")
            work.add(report_row(work.run, fate, RetentionFate.Kind.FAILED, note))
    work.write()  # a run that is killed has a report of what it did
