"""Many tags deleted, or restored, as one run that can be left and stopped.

A page asks: `begin` makes the Run and a job does the work. The log has one line for each tag that
was not done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from registryui import runs
from registryui.models import Run
from registryui.refused import Refused

from . import records
from . import restore as restoring
from .execute import Selection, execute

BULK = 50  # more than these are work for a job: a page would not answer for seconds

Progress = Callable[[int, int], bool]  # done, total; False: stop


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of a DELETE."""

    what: str = ""  # "delete" or "restore"
    repository: str = ""
    act: str = ""  # TagTombstone.act; written down first, so that it is known if we die
    changed: int = 0
    failed: int = 0


def begin(what: str, repository: str, *, total: int, by: str, act: str = "") -> Run:
    """A running Run. Refused: the one before is not done."""
    result = Result(what=what, repository=repository, act=act or uuid.uuid4().hex)
    run = runs.begin(Run.Kind.DELETE, by=by, result=result, total=total)
    if run is None:
        raise Refused(
            _("Another bulk deletion or restore is in progress. Wait until it is done, or stop it.")
        )
    return run


def delete(run: Run, selection: Selection, *, fingerprint: str) -> None:
    """Deletes as the plan with that fingerprint says; ends the run, whatever happens."""
    _run(
        run,
        lambda act, progress: (
            execute(
                selection, fingerprint=fingerprint, by=run.by, act=act, progress=progress
            ).results
        ),
    )


def restore(run: Run) -> None:
    """Restores what its act untagged; ends the run in any case."""
    _run(run, lambda act, progress: restoring.restore_act(act, by=run.by, progress=progress))


def _run(run: Run, do: Callable[[str, Progress], Sequence[records.Result]]) -> None:
    run.refresh_from_db()
    if run.state != Run.State.RUNNING:  # it waited so long that it was taken for dead
        return
    with runs.Work(run, Result.of(run)) as work:

        def goes_on(done: int, total: int) -> bool:
            run.done, run.total = done, total
            return work.may_go_on(at_once=True)

        results = do(work.result.act, goes_on)
        failed = [one for one in results if one.state not in ("deleted", "restored")]
        work.result.changed, work.result.failed = len(results) - len(failed), len(failed)
        run.done = len(results)
        if failed and not work.result.changed:
            work.state = Run.State.FAILED
        elif run.done < run.total and not work.may_go_on(at_once=True):
            work.state = Run.State.STOPPED
        for one in failed:
            work.note(f"{one.tag or one.digest}: {one.state} {one.reason}".strip())
