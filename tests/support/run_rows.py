"""Runs of garbage collection and of the integrity check, as pages read them: without a store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from registryui.models import Run
from tests.support.pages import HOSTILE

DIGEST = "sha256:" + "7" * 64
COUNTS: dict[str, Any] = {
    "dry_run": False,
    "stage": "done",
    "stages": [
        {"name": name, "seconds": seconds}
        for name, seconds in [
            *(("canary", 0.2), ("mark", 58.4), ("quarantine", 2.0)),
            *(("review", 61.0), ("purge", 0.5), ("leftovers", 0.1)),
        ]
    ],
    "repositories": 12,
    "manifests": 340,
    "blobs": 1904,
    "manifest_blobs": 338,
    "bytes": 34_100_000_000,
    "kept_blobs": 1180,
    "kept_bytes": 21_300_000_000,
    "candidate_manifests": 25,
    "candidate_blobs": 700,
    "candidate_manifest_blobs": 24,
    "candidate_bytes": 11_600_000_000,
    "grace_bytes": 1_200_000_000,
    "quarantined": 700,
    "quarantined_manifests": 25,
    "quarantined_bytes": 11_600_000_000,
    "restored": 3,
    "purged": 90,
    "freed_bytes": 2_400_000_000,
    "in_quarantine": 725,
    "in_quarantine_bytes": 11_500_000_000,
    "due_at": "",
    "uploads": 4,
    "upload_bytes": 7_000_000,
    "empty_repositories": 2,
    "skipped_repositories": [],
    "freeze_seconds": 0.0,
    "problem": "",
}
RESULT: dict[str, Any] = {
    "deep": False,
    "source": "store",
    "repositories": 12,
    "tags": 1234,
    "broken": 2,
    "marked": 2,
    "unmarked": 1,
    "errors": 0,
    "manifests": 2000,
    "blobs": 9000,
    "read_bytes": 0,
    "damaged": [],
    "seconds": 3.2,
    "problem": "",
    "problems": [
        ["team/api", "1.0", "layer-missing", DIGEST],
        ["team/<b>", HOSTILE, "config-size", DIGEST],
    ],
}


def make_run(state: Run.State = Run.State.DONE, *, minutes: float = 3, **fields: Any) -> Run:
    """A run that began so many minutes ago; `fields` replace those of its result."""
    now = timezone.now()
    run = Run.objects.create(
        kind=Run.Kind.GC,
        state=state,
        by=fields.pop("by", "operator:ada"),
        heartbeat_at=now,
        log=fields.pop("log", "kept 1180 blobs"),
        done=fields.pop("done", 0),
        total=fields.pop("total", 0),
        result={**COUNTS, **fields},
        finished_at=None if state == Run.State.RUNNING else now,
    )
    Run.objects.filter(pk=run.pk).update(started_at=now - timedelta(minutes=minutes))
    run.refresh_from_db()
    return run


def make_check(state: Run.State = Run.State.DONE, **fields: Any) -> Run:
    now = timezone.now()
    return Run.objects.create(
        kind=Run.Kind.INTEGRITY,
        state=state,
        by="schedule",
        heartbeat_at=now,
        finished_at=None if state == Run.State.RUNNING else now,
        done=fields.pop("done", 1234),
        total=1234,
        log="team/api:1.0: layer is missing",
        result={**RESULT, **fields},
    )
