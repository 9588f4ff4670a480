"""The settings of garbage collection in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui import schedules


@dataclass(frozen=True, slots=True)
class Setting:
    """One line: what it is about, its value in words, what that means, and its variable."""

    name: str
    value: str
    note: str
    variable: str


def settings_words() -> list[Setting]:
    """The settings of garbage collection in words, in the order in which they matter to a blob."""
    return [
        Setting(
            _("Minimum age"),
            duration(settings.GC_GRACE),
            _("Content pushed, mounted or written to within this grace period is not touched."),
            "BOATHOUSE_GC_GRACE_HOURS",
        ),
        Setting(
            _("Quarantine period"),
            duration(settings.QUARANTINE_TIME),
            _(
                "Only blobs and manifests that were in quarantine for this long before a run "
                "started, and are still unreachable, are purged."
            ),
            "BOATHOUSE_QUARANTINE_HOURS",
        ),
        Setting(
            _("Unfinished uploads"),
            duration(settings.UPLOAD_TIME),
            _("An upload without activity for this long is quarantined like other content."),
            "BOATHOUSE_UPLOAD_HOURS",
        ),
        Setting(
            _("Schedule"),
            _schedule_words(),
            _next_words(),
            "BOATHOUSE_GC_SCHEDULE",
        ),
    ]


def duration(time: timedelta) -> str:
    """24 hours, 7 days; what is less than an hour (in tests) as seconds."""
    seconds = time.total_seconds()
    hours = round(seconds / 3600)
    if seconds < 3600:
        return ngettext("%(n)d second", "%(n)d seconds", round(seconds)) % {"n": round(seconds)}
    if hours % 24 == 0 and hours > 24:
        return ngettext("%(n)d day", "%(n)d days", hours // 24) % {"n": hours // 24}
    return ngettext("%(n)d hour", "%(n)d hours", hours) % {"n": hours}


def _schedule_words() -> str:
    return schedules.words(settings.GC_SCHEDULE) or _("manual only")


def _next_words() -> str:
    when = schedules.next_time(settings.GC_SCHEDULE)
    if when is None:
        return _("Garbage collection runs only manually.")
    return _("Next: %(time)s.") % {"time": schedules.when(when)}
