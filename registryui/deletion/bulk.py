"""Many tags deleted, or put back, as one run that can be left and stopped.

A page asks: `begin` makes the Run and a job does the work. Run.result, all keys always there:
    {"what": "delete" | "restore", "repository", "act" (TagTombstone.act; "" before it begins),
     "changed": count, "failed": count, "problem": why nothing was done, or ""}
The log has one line for each tag that was not done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from registryui.index import runs
from registryui.models import Run
from registryui.refused import Refused

from . import restore as undo
from .execute import Outcome, Selection, execute

MANY = 50  # more than these are work for a job: a page would not answer for seconds
LINES = 1000  # of the log


def begin(what: str, repository: str, *, total: int, by: str, act: str = "") -> Run:
    """A running Run. Refused: the one before is not done."""
    run = runs.begin(Run.Kind.DELETE, by=by)
    if run is None:
        raise Refused(
            _("Another bulk deletion or restore is in progress. Wait until it is done, or stop it.")
        )
    run.total = total
    run.result = _facts(what, repository, act=act)
    run.save(update_fields=["total", "result"])
    return run


def delete(run: Run, selection: Selection, *, fingerprint: str) -> None:
    """Deletes as the plan with that fingerprint says; ends the run, whatever happens."""

    def work() -> Outcome:
        run.result["act"] = uuid.uuid4().hex  # written down first, so that it is known if we die
        run.save(update_fields=["result"])
        return execute(
            selection,
            fingerprint=fingerprint,
            by=run.by,
            act=run.result["act"],
            progress=lambda *at: _goes_on(run, *at),
        )

    _run(run, "delete", selection.repository, work)


def restore(run: Run, act: str, *, repository: str) -> None:
    """Puts back what that act took off; ends the run, whatever happens."""

    def work() -> Outcome:
        results = undo.restore_act(act, by=run.by, progress=lambda *at: _goes_on(run, *at))
        return Outcome(act, results, run.started_at)

    _run(run, "restore", repository, work)


def _run(run: Run, what: str, repository: str, work: Callable[[], Outcome]) -> None:
    run.refresh_from_db()
    if run.state != Run.State.RUNNING:  # it waited so long that it was taken for dead
        return
    try:
        outcome = work()
    except Refused as error:
        facts = _facts(what, repository, problem=str(error))
        runs.end(run, Run.State.FAILED, facts, [str(error)])
        return
    except Exception as error:
        facts = _facts(what, repository, problem=f"{type(error).__name__}: {error}"[:500])
        runs.end(run, Run.State.FAILED, facts, [facts["problem"]])
        raise
    failed = [one for one in outcome.results if one.state not in ("deleted", "restored")]
    facts = _facts(what, repository, act=outcome.act) | {
        "changed": len(outcome.results) - len(failed),
        "failed": len(failed),
    }
    run.done = len(outcome.results)
    is_complete = runs.may_go_on(run) or run.done >= run.total
    state = Run.State.DONE if is_complete else Run.State.STOPPED
    if failed and not facts["changed"]:
        state = Run.State.FAILED
    lines = [f"{one.tag or one.digest}: {one.state} {one.reason}".strip() for one in failed]
    runs.end(run, state, facts, lines[:LINES])


def _goes_on(run: Run, done: int, total: int) -> bool:
    run.done, run.total = done, total
    runs.beat(run)
    return runs.may_go_on(run)


def _facts(what: str, repository: str, *, act: str = "", problem: str = "") -> dict[str, Any]:
    return {
        "what": what,
        "repository": repository,
        "act": act,
        "changed": 0,
        "failed": 0,
        "problem": problem,
    }
