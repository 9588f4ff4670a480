"""A garbage collection in a process of its own, of low priority.

Pushes, pulls and pages come first, and its memory goes with it. It ends with the process that began
it; the next run goes on from there.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys

from django.conf import settings

from registryui import runs
from registryui.models import Run
from registryui.refused import Refused

from . import collector as collector
from .result import Result

log = logging.getLogger(__name__)

# nice(2): of a busy processor it gets a tenth. At 19 it would get a hundredth, and whoever waits
# for a row that it is writing would wait with it.
PRIORITY = 10
PR_SET_PDEATHSIG = 1
_PROGRAM = "import django; django.setup(); from registryui.gc import process; process.main()"


def run_gc(
    *, by: str, dry_run: bool = False, purge_now: bool = False, review: bool = False
) -> None:
    """One run, and waits for its end; none if another one is under way. A refusal is a run that
    failed, so that it shows."""
    asked = {"by": by, "dry_run": dry_run, "purge_now": purge_now, "review": review}
    done = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([os.getpid(), asked]),
        text=True,
        cwd=settings.BASE_DIR,
        check=False,
    )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        log.error("gc: its process was ended by %s; the next run continues", name)


def main() -> None:
    """The process. What it is asked for comes by its standard input."""
    parent, asked = json.load(sys.stdin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before that
        return
    step_back(purge_now=asked["purge_now"])
    here(**asked)


def step_back(*, purge_now: bool) -> None:
    """Lowers the priority of this process for the rest of its life."""
    if not purge_now:  # that one freezes writes: the sooner it ends the better
        os.nice(PRIORITY)


def here(*, by: str, dry_run: bool = False, purge_now: bool = False, review: bool = False) -> None:
    """The same in this process."""
    try:
        collector.run_gc(by=by, dry_run=dry_run, purge_now=purge_now, review=review)
    except Refused as error:
        note_refusal(by, str(error), dry_run=dry_run)


def note_refusal(by: str, problem: str, *, dry_run: bool) -> None:
    """A run that failed for that reason; none if another one is under way."""
    run = runs.begin(Run.Kind.GC, by=by, result=Result(dry_run=dry_run))
    if run is not None:
        runs.end(run, Run.State.FAILED, problem, problem=problem)
