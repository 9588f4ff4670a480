"""Did this host's clock jump? Then nothing has a known age, and nothing goes for its age.

The worker notes every few seconds what the clock shows beside what the machine has counted since
its start (CLOCK_BOOTTIME, which nobody sets). Where the two drift apart by hours, somebody set the
clock. Over a restart of the machine nothing was counted: a clock that went back has jumped, one
that is more than a day on may have, or the machine was off. `ahead` is what must be taken off to
get the time that was believed until then; it is 0 again when the clock is set right, when somebody
says that it is right (`trust`), or, after a restart, when a day has passed.

All times here are seconds. run/clock.json is the note; without one nothing is known to have jumped.
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

JUMP = timedelta(hours=2).total_seconds()  # no time service corrects a clock by so much
OFF = timedelta(days=1).total_seconds()  # a machine that was off for less lost nobody anything
HEALS = timedelta(days=1).total_seconds()  # until the clock is believed after a restart


@dataclass(frozen=True, slots=True)
class Clock:
    """What was noted last."""

    boot: str  # of which start of the machine
    counted: float  # since then
    shown: float  # by the clock, since 1970
    ahead: float = 0.0  # how far the clock is from what it should show; behind it: negative
    restarted: float = -1.0  # `counted` when the jump was found after a restart; -1: it was seen

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
    """Writes down what time it is; what is known now."""
    found = _following(_read(), _boot(), _counted(), time.time())
    _write(found)
    return found


def has_restarted() -> bool:
    """Whether the machine was started again since the time was noted last."""
    last = _read()
    return last is not None and last.boot != _boot()


def known() -> Clock:
    """The same, and nothing is written."""
    return _following(_read(), _boot(), _counted(), time.time())


def now() -> datetime:
    """The time by which things are old enough to go: the clock's, without a jump of it."""
    jumped = known()
    return jumped.believed if jumped.has_jumped else timezone.now()


def check() -> None:
    """Refused if the clock jumped, or is another one than the database's: nothing may go."""
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
    """Believes the clock as it is now; whether it had jumped."""
    found = known()
    _write(Clock(found.boot, found.counted, found.shown))
    return found.has_jumped


def _following(last: Clock | None, boot: str, counted: float, shown: float) -> Clock:
    """What is known now, after `last`."""
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
    """A full disk, or a folder that is not there yet, keeps the note from before."""
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
