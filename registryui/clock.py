"""Did this host's clock jump? Then ages are unknown, and nothing is deleted because of its age.

The worker records every few seconds the clock and the time since boot (CLOCK_BOOTTIME, which cannot
be set). If the two differ by hours, the clock was set. Across a reboot there is no such counter: a
clock that went back has jumped; one that is more than a day ahead may have, or the machine was off.
`ahead` is the difference to the time before the jump; it is 0 again when the clock is set right,
when somebody confirms it (`trust`), or, after a reboot, when a day has passed.

All times here are seconds. run/clock.json has the record; without one no jump is known.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from . import files
from .refused import Refused

log = logging.getLogger(__name__)

JUMP = timedelta(hours=2).total_seconds()  # more than a time service corrects
OFF = timedelta(days=1).total_seconds()  # a machine may be off for less
HEALS = timedelta(days=1).total_seconds()  # until the clock is trusted after a reboot


@dataclass(frozen=True, slots=True)
class Clock:
    """The last record."""

    boot: str  # id of the boot
    counted: float  # since then
    shown: float  # by the clock, since 1970
    ahead: float = 0.0  # how far the clock is ahead; negative if behind
    restarted: float = -1.0  # `counted` when the jump was found after a reboot; -1: it was observed

    @property
    def has_jumped(self) -> bool:
        return abs(self.ahead) > JUMP

    @property
    def shown_at(self) -> datetime:
        """What the clock shows."""
        return datetime.fromtimestamp(self.shown, UTC)

    @property
    def believed(self) -> datetime:
        """The time without the jump."""
        return datetime.fromtimestamp(self.shown - self.ahead * self.has_jumped, UTC)


def note() -> Clock:
    """Records the time; the result of `known`."""
    found = _following(_read(), _boot(), _counted(), time.time())
    _write(found)
    return found


def has_restarted() -> bool:
    """Whether the machine was rebooted since the last record."""
    last = _read()
    return last is not None and last.boot != _boot()


def known() -> Clock:
    """The same, without writing."""
    return _following(_read(), _boot(), _counted(), time.time())


def now() -> datetime:
    """The time for ages: the clock's, without its jump."""
    jumped = known()
    return jumped.believed if jumped.has_jumped else timezone.now()


def check() -> None:
    """Refused if the clock jumped, or differs from the database's: nothing may be deleted."""
    found = known()
    if found.has_jumped:
        raise Refused(words(found))
    if settings.IS_POSTGRESQL and abs(_by_the_database() - time.time()) > JUMP:
        raise Refused(
            _("The clocks of this machine and of the database differ by hours: correct them first.")
        )


def words(jumped: Clock) -> str:
    """The sentence for a jump."""
    return _(
        "The clock of this machine has jumped: it shows %(shown)s, by the monotonic clock it is "
        "%(believed)s. Garbage collection, purges, retention and restore periods are paused. "
        "Correct the clock, or trust it if it is right: ./boathouse gc --trust-clock"
    ) % {"shown": _said(jumped.shown_at), "believed": _said(jumped.believed)}


def trust() -> bool:
    """Trusts the clock as it is now; whether it had jumped."""
    found = known()
    _write(Clock(found.boot, found.counted, found.shown))
    return found.has_jumped


def _following(last: Clock | None, boot: str, counted: float, shown: float) -> Clock:
    """The state now, after `last`."""
    if last is None:
        return Clock(boot, counted, shown)
    ahead, restarted = last.ahead, last.restarted
    if last.boot == boot:
        if abs(jump := shown - last.shown - (counted - last.counted)) > JUMP:
            ahead, restarted = ahead + jump, -1.0 if not last.has_jumped else restarted
    elif not -JUMP <= (jump := shown - last.shown) <= OFF or (
        last.has_jumped and abs(ahead + jump) <= JUMP  # set right meanwhile
    ):
        ahead, restarted = ahead + jump, counted
    elif restarted >= 0:
        restarted = counted
    if abs(ahead) <= JUMP or (restarted >= 0 and counted - restarted > HEALS):
        ahead, restarted = 0.0, -1.0
    return Clock(boot, counted, shown, ahead, restarted)


def _read() -> Clock | None:
    try:
        told = json.loads(_file().read_text())
        return Clock(
            str(told["boot"]), *(float(told[name]) for name in Clock.__slots__ if name != "boot")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(found: Clock) -> None:
    """With a full disk, or before the folder exists, the old record stays."""
    try:
        files.write(_file(), json.dumps(asdict(found)))
    except OSError as error:
        log.warning("the time is not noted: %s", error)


def _file() -> Path:
    return Path(settings.RUN_DIR) / "clock.json"


def _by_the_database() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_TIMESTAMP")
        (moment,) = cursor.fetchone()
    return float(moment.timestamp())


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _counted() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _said(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "Y-m-d H:i")
