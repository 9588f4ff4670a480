"""Cron schedules, in the instance's time zone: their next times, and their words.

    ┌ minute ┌ hour ┌ day of the month ┌ month ┌ day of the week (0 and 7 are Sunday, SUN-SAT)
    30       2      *                  *       SUN

When clocks go forward, a time that does not exist is an hour later; when they go back, a time that
exists twice runs once, as with Debian's cron.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from cronsim import CronSim, CronSimError
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language, gettext, gettext_noop
from django.utils.translation import gettext as _

from registryui.refused import Refused

log = logging.getLogger(__name__)

_LONGEST = 64
_NUMBER = re.compile(r"\d{1,2}\Z")
_EACH = re.compile(r"\*/(\d{1,2})\Z")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def checked(text: str) -> str:
    """The schedule, normalized; "" is none. Raises Refused for an invalid one."""
    spelled = " ".join(text.upper().split())
    if not spelled:
        return ""
    fields = spelled.split(" ")
    if len(spelled) > _LONGEST or len(fields) != 5 or next_time(spelled) is None:
        raise Refused(
            _(
                "“%(text)s” is not a schedule: enter five cron fields, such as 30 2 * "
                "* * for every day at 02:30 or 0 4 * * SUN for Sundays at 04:00."
            )
            % {"text": text.strip()[:_LONGEST]}
        )
    return spelled


def next_time(schedule: str, after: datetime | None = None) -> datetime | None:
    """The first time after `after` (None: now); None: there is none, or it is invalid."""
    return next(_times(schedule, after), None)


def next_times(schedule: str, count: int, after: datetime | None = None) -> list[datetime]:
    """Up to `count` times after `after` (None: now)."""
    return list(islice(_times(schedule, after), count))


def is_now(schedule: str, minute: datetime, *, setting: str) -> bool:
    """Whether `schedule` is due in this minute; "" never is. An invalid one never is, and is logged
    with the name of its setting."""
    if not schedule:
        return False
    this = timezone.localtime(minute, timezone.get_default_timezone())
    this = this.replace(second=0, microsecond=0)
    found = next_time(schedule, this - timedelta(minutes=1))
    if found is None:
        log.warning("%s is no schedule: %a", setting, schedule)
    return found == this


def _times(schedule: str, after: datetime | None) -> Iterator[datetime]:
    start = timezone.localtime(after, timezone.get_default_timezone())
    try:
        yield from CronSim(schedule, start)
    # Some invalid ones fail inside of it: "1#2/3", a year beyond the last one.
    except (CronSimError, AssertionError, TypeError, ValueError, OverflowError, RuntimeError):
        return


def words(schedule: str) -> str:
    """In words: "every Sunday at 04:00". Rare ones are in English, and unchanged in other
    languages: the next times are shown anyway."""
    fields = schedule.split()
    if len(fields) != 5:
        return schedule
    minute, hour, day, month, week = fields
    if month == "*" and (said := _usual(minute, hour, day, week)):
        return said
    return _explained(schedule)


def _usual(minute: str, hour: str, day: str, week: str) -> str:
    """ "" if it is a rare one."""
    if day == "*" and week == "*" and hour == "*":
        return _within_the_hour(minute)
    if not _NUMBER.match(minute):
        return ""
    if (hours := _EACH.match(hour)) and day == "*" and week == "*":
        return _every_hours(int(hours[1]), int(minute))
    if not _NUMBER.match(hour):
        return ""
    at = {"time": f"{int(hour):02}:{int(minute):02}"}
    if day == "*" and week == "*":
        return _("every day at %(time)s") % at
    if week == "*" and _NUMBER.match(day):
        return _("on day %(day)d of every month at %(time)s") % {"day": int(day), **at}
    if day == "*" and week in ("1-5", "MON-FRI"):
        return _("Monday to Friday at %(time)s") % at
    if day == "*" and (number := _day_of_week(week)) is not None:
        return gettext(_ON_DAYS[number]) % at
    return ""


def _within_the_hour(minute: str) -> str:
    if minute == "*":
        return _("every minute")
    if (found := _EACH.match(minute)) and (n := int(found[1])) and 60 % n == 0:
        return _("every %(n)d minutes") % {"n": n} if n > 1 else _("every minute")
    if _NUMBER.match(minute):
        return _("every hour at minute %(minute)d") % {"minute": int(minute)}
    return ""


def _every_hours(n: int, minute: int) -> str:
    if n == 0 or 24 % n:  # */7 is 0, 7, 14, 21 and then 0: not every 7 hours
        return ""
    if n == 1:
        return _("every hour at minute %(minute)d") % {"minute": minute}
    return _("every %(n)d hours at minute %(minute)d") % {"n": n, "minute": minute}


def _day_of_week(text: str) -> int | None:
    if text in _DAYS:
        return _DAYS.index(text)
    return int(text) % 7 if text in "01234567" and len(text) == 1 else None


_ON_DAYS = (
    gettext_noop("every Sunday at %(time)s"),
    gettext_noop("every Monday at %(time)s"),
    gettext_noop("every Tuesday at %(time)s"),
    gettext_noop("every Wednesday at %(time)s"),
    gettext_noop("every Thursday at %(time)s"),
    gettext_noop("every Friday at %(time)s"),
    gettext_noop("every Saturday at %(time)s"),
)


def _explained(schedule: str) -> str:
    if not (get_language() or "en").startswith("en"):
        return schedule
    try:
        said = CronSim(schedule, timezone.now()).explain()
    except (CronSimError, AssertionError, TypeError, ValueError):
        return schedule
    return said[:1].lower() + said[1:]


def when(at: datetime) -> str:
    """A time in the instance's time zone, which it names: "Sun 29 Nov 2026, 04:00 UTC+08:00". Names
    such as CST are ambiguous."""
    local = timezone.localtime(at, timezone.get_default_timezone())
    zone = f"UTC{local.isoformat()[-6:]}" if local.utcoffset() else "UTC"
    return date_format(local, _("D j M Y, H:i")) + f" {zone}"
