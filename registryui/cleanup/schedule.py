"""When a schedule in cron form names a minute."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError
from django.utils import timezone

log = logging.getLogger(__name__)


def names(schedule: str, minute: datetime, *, setting: str) -> bool:
    """Whether `schedule` names this minute, by the clock of TIME_ZONE; "" names none. What is no
    schedule names none either, and is logged by the name of its setting."""
    this = timezone.localtime(minute).replace(second=0, microsecond=0)
    try:
        return bool(schedule) and next(CronSim(schedule, this - timedelta(minutes=1))) == this
    except (CronSimError, StopIteration):
        log.warning("%s is no schedule: %a", setting, schedule)
        return False
