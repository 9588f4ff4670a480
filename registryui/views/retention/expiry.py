"""What the page of retention policies says of tags that expire."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone

from registryui.index import expiry
from registryui.models import Run
from registryui.retention.runs import Result


def expiring() -> dict[str, Any]:
    """Counts, by the indexes of two columns; the newest run."""
    now = timezone.now()
    every = expiry.can_expire()
    labelled = every.filter(label_expires_at__isnull=False, expires_at__isnull=True)
    last = Run.objects.filter(kind=Run.Kind.EXPIRY).order_by("-started_at").first()
    return {
        "is_by_label": settings.EXPIRE_BY_LABEL,
        "set": every.filter(expiry.within({"gt": now})[0]).count(),
        "labelled": labelled.count(),
        "labelled_over": labelled.filter(label_expires_at__lte=now).count(),
        "over": sum(found.count() for found in expiry.due(now, every)),
        "last": last,
        "last_goes": Result.of(last).goes if last else 0,
    }
