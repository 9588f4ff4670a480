"""Room on the disk: uploads end before the room does, and some is kept for what must work without.

    DATA/reserve        removed when the disk is full, made again when there is room
    DATA/run/hold/full  while it is there, nginx answers 507 to uploads ($fills in its file)

The worker looks each second. Every other program of ours gives the reserve back when it starts on a
full disk, because no log-in, `user disable` or `gc --purge-now` works without a free byte.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

log = logging.getLogger(__name__)

FEWEST_ENTRIES = 1000  # files that can still be made; a push makes a dozen
PATIENCE = 10.0  # seconds for uploads that began before: they would take the reserve, too
_full_since: float | None = None


def reserve() -> Path:
    """The file that takes the room which is kept."""
    return Path(settings.DATA / "reserve")


def gate() -> Path:
    """The file that nginx looks for at each upload."""
    return Path(settings.RUN_DIR / "hold" / "full")


def free(folder: Path) -> int:
    """Bytes that this user can still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def is_low() -> bool:
    """Whether uploads are to be refused: too little room for the data or for the store."""
    # The gate opens at a little more than it shuts at, or it would not come to rest.
    floor = settings.FLOOR_BYTES * (11 if gate().exists() else 10) // 10
    return any(_lacks(place, floor) for place in (settings.DATA, settings.STORE_DIR))


def _lacks(folder: Path, floor: int) -> bool:
    if not folder.exists():
        return False
    found = os.statvfs(folder)
    few = bool(found.f_files) and found.f_favail < FEWEST_ENTRIES
    return few or found.f_bavail * found.f_frsize < floor


def warning() -> str:
    """What to know and do while uploads are refused; "" if they are not."""
    if not is_low():
        return ""
    return (
        f"Only {free(settings.DATA) // 1_000_000} MB are free below {settings.DATA}, so pushes are "
        f"refused until {settings.FLOOR_BYTES // 1_000_000} MB are: free some space, for example "
        "by ./boathouse gc --purge-now."
    )


def is_full() -> bool:
    """Whether so little is left for the data that writing it begins to fail."""
    return free(settings.DATA) < max(settings.RESERVE_BYTES // 4, 1_000_000)


def give_back() -> bool:
    """Removes the reserve if the disk is full; True if it did. Raises nothing: each program of ours
    calls this first, whatever its data folder is."""
    with suppress(OSError):
        # Not root in a folder of another user, who may have put a link where the gate will be.
        if reserve().stat().st_uid == os.geteuid() and is_full():
            reserve().unlink()
            _shut()
            return True
    return False


def check(uploads: Callable[[], int]) -> None:
    """Opens or shuts the front door for uploads, gives the reserve back or makes it again.

    `uploads` counts those under way. OSError if a file cannot be made.
    """
    global _full_since
    if not is_full():
        _full_since = None
    else:
        _full_since = _full_since or time.monotonic()
        if (not uploads() or time.monotonic() - _full_since > PATIENCE) and give_back():
            log.warning("the disk is full: the reserve of %s is given back", settings.DATA)
    if is_low():
        _shut()
    elif gate().exists():
        gate().unlink(missing_ok=True)
        log.warning("there is room again: uploads are let in")
    _make_reserve()


def _shut() -> None:
    if not gate().exists():
        gate().touch()
        log.warning("little room is left below %s: uploads are refused", settings.DATA)


def _make_reserve() -> None:
    """Where it is missing, or of another size than it should be, and there is room for two."""
    wanted = settings.RESERVE_BYTES
    found = reserve().stat().st_size if reserve().exists() else 0
    if found == wanted or free(settings.DATA) + found < 2 * wanted:
        return
    reserve().unlink(missing_ok=True)
    if not wanted:
        return
    half = reserve().with_name(".reserve")
    handle = os.open(half, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, wanted)
        half.rename(reserve())
    except OSError:
        half.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def advice(error: BaseException) -> str:
    """What to do, if `error` comes of a full disk; "" if it does not."""
    chain: BaseException | None = error
    while chain is not None and not _is_of_room(chain):
        chain = chain.__cause__ or chain.__context__
    if chain is None:
        return ""
    if isinstance(chain, DatabaseError) and not is_low():
        place = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108  (SQLite's own choice)
        return (
            f"SQLite found no room for its temporary files, which it has in {place}: make room "
            "there, or name another folder by SQLITE_TMPDIR, and try again."
        )
    return (
        f"The disk of {settings.DATA} is full, and the reserve is used up: free some megabytes, "
        f"for example by removing old files in {settings.LOG_DIR}, then run ./boathouse gc "
        "--purge-now."
    )


def _is_of_room(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # SQLite says "full" of a file that it cannot make longer, and "I/O error" or "unable to open"
    # of the two beside it.
    words = str(error)
    if "database or disk is full" in words:
        return True
    with suppress(OSError):
        return ("disk I/O error" in words or "unable to open database" in words) and is_full()
    return False
