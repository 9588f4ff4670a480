"""Whether a quota is used up, or nearly. Only reads what quotas/usage.py has counted."""

from __future__ import annotations

from registryui.models import Quota
from registryui.quotas.quotas import NEARLY_FULL

from .findings import Finding


def check_quotas() -> Finding | None:
    """None if none is near its limit. A warning also if one is used up: it does what it is for,
    and the registry is well. One query."""
    rows = sorted(Quota.objects.all(), key=lambda row: (-row.share, row.namespace))
    near = [row for row in rows if row.share >= NEARLY_FULL]
    if not near:
        return None
    full = [row for row in near if row.is_full]
    shown = full or near
    params = {
        "count": len(shown),
        "names": [row.namespace for row in shown[:5]],
        "name": shown[0].namespace,
        "percent": int(shown[0].share * 100),
    }
    return Finding("quotas", "warn", "quotas-full" if full else "quotas-near", params)
