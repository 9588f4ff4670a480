"""Retention policies: did the last run of each active one succeed?

Only reads the runs; retention/runs.py writes them.
"""

from __future__ import annotations

from registryui.models import RetentionPolicy, Run
from registryui.retention.runs import Result

from .findings import Finding

NEWEST = 100  # runs that are kept


def check_retention() -> Finding | None:
    """Active policies whose last run failed; None if there are none. Two queries."""
    active = dict(RetentionPolicy.objects.filter(is_active=True).values_list("pk", "name"))
    if not active:
        return None
    ended = Run.objects.filter(kind=Run.Kind.RETENTION).exclude(state=Run.State.RUNNING)
    last: dict[int, Run] = {}
    for run in ended.order_by("-started_at")[:NEWEST]:
        last.setdefault(Result.of(run).policy_id, run)
    failed = [run for pk, run in last.items() if pk in active and run.state == Run.State.FAILED]
    if not failed:
        return None
    run = failed[0]
    params = {
        "count": len(failed),
        "name": active[Result.of(run).policy_id],
        "at": (run.finished_at or run.heartbeat_at).isoformat(),
        "error": Result.of(run).problem[:300],
    }
    return Finding("retention", "warn", "retention-failed", params)
