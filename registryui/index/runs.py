"""The book of long work: who may begin, who is still alive, how it ended."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from registryui.models import Run, here

log = logging.getLogger(__name__)

STALE = timedelta(seconds=60)  # no heartbeat for so long: the process is gone
KEPT = 100  # runs of a kind
DIED = "Its process ended before it was done."


def begin(kind: Run.Kind, *, by: str) -> Run | None:
    """A new running Run, or None if one of this kind is under way. A dead one is closed first."""
    now = timezone.now()
    Run.objects.filter(kind=kind, state=Run.State.RUNNING, heartbeat_at__lt=now - STALE).update(
        state=Run.State.FAILED, finished_at=now, log=DIED
    )
    try:
        with transaction.atomic():
            return Run.objects.create(kind=kind, by=by, host=here(), heartbeat_at=now)
    except IntegrityError:
        return None


def beat(run: Run) -> None:
    """Says that the work goes on and how far it is."""
    run.heartbeat_at = timezone.now()
    run.save(update_fields=["heartbeat_at", "done", "total"])


def ask_to_stop(run: Run, *, by: str) -> None:
    """Asks the run to end at its next safe place; it looks there by `may_go_on`."""
    Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(stop_asked_by=by[:255])


def may_go_on(run: Run) -> bool:
    """False once somebody has asked the run to stop. One query."""
    run.refresh_from_db(fields=["stop_asked_by"])
    return not run.stop_asked_by


def end(run: Run, state: Run.State, result: dict[str, object], lines: list[str]) -> None:
    """Closes the run with what it did; keeps the newest runs of its kind."""
    run.state, run.result, run.log = state, result, "\n".join(lines)
    run.finished_at = run.heartbeat_at = timezone.now()
    run.save()
    old = Run.objects.filter(kind=run.kind).order_by("-started_at").values_list("pk", flat=True)
    Run.objects.filter(pk__in=list(old[KEPT : KEPT * 2])).delete()
    log.info("%s %s by %s: %s", run.kind, run.state, run.by, run.result)
