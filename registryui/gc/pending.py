"""Where bytes are that nothing needs any more, or only undo: four stages on the way to free space.

    undo ──► minimum age ──► quarantine ──► freed

Nothing is counted here: the index was measured by the worker, the store by the runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from registryui.index import sizes
from registryui.models import Run, TagTombstone

from .result import Result


@dataclass(frozen=True, slots=True)
class Pending:
    """Bytes of each stage, and since when that is known (None: not yet)."""

    undo_size: int = 0  # an estimate of the index: what only undo keeps
    undo_measured_at: datetime | None = None
    undo_first: datetime | None = None  # when the first of it is no longer kept; None: nothing is
    undo_last: datetime | None = None  # and the last
    grace_size: int = 0  # of the store: unreachable, but younger than the minimum age
    candidate_size: int = 0  # and old enough: the next run quarantines it
    counted_at: datetime | None = None
    quarantine_size: int = 0
    quarantine_due: datetime | None = None  # when the first of it may be purged
    quarantined_at: datetime | None = None
    freed_size: int = 0  # by the newest run
    freed_at: datetime | None = None


def pending(recent: Sequence[Run]) -> Pending:
    """By these runs, the newest first. Three queries."""
    measured = sizes.newest()
    undo = TagTombstone.objects.kept(timezone.now()).values_list("keep_until", flat=True)
    first, last = undo.order_by("keep_until").first(), undo.order_by("-keep_until").first()
    ended = [(run, Result.of(run)) for run in recent if run.state != Run.State.RUNNING]
    done = [(run, its) for run, its in ended if run.state == Run.State.DONE and not its.is_review]
    counted = next(iter(done), None)
    waiting = next((one for one in ended if one[1].in_quarantine is not None), None)
    purged = next((one for one in done if not one[1].dry_run), None)
    return Pending(
        undo_size=measured.undo_size if measured and first else 0,
        undo_measured_at=measured.measured_at if measured else None,
        undo_first=first,
        undo_last=last,
        grace_size=counted[1].grace_bytes if counted else 0,
        # What a run that was no dry one found is in quarantine now.
        candidate_size=counted[1].candidate_bytes if counted and counted[1].dry_run else 0,
        counted_at=counted[0].finished_at if counted else None,
        quarantine_size=waiting[1].in_quarantine_bytes if waiting else 0,
        quarantine_due=waiting[1].due if waiting else None,
        quarantined_at=waiting[0].finished_at if waiting else None,
        freed_size=purged[1].freed_bytes if purged else 0,
        freed_at=purged[0].finished_at if purged else None,
    )
