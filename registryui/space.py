"""Disk space: pushes are refused before the disk is full, and a reserve is kept.

    DATA/reserve        removed when the disk is full, created again when there is space
    DATA/run/hold/full  while it exists, nginx answers 507 to uploads ($fills in its file)

The worker checks each second. Every other Boathouse program removes the reserve when it starts on a
full disk, because no login, `user disable` or `gc --purge-now` works without free space.
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

from registryui.formats import size

log = logging.getLogger(__name__)

FEWEST_ENTRIES = 1000  # free inodes; a push needs a dozen
PATIENCE = 10.0  # seconds for uploads in progress: they would use the reserve, too
_full_since: float | None = None


def reserve() -> Path:
    """The file that reserves space."""
    return Path(settings.DATA / "reserve")


def gate() -> Path:
    """The file that nginx tests for at each upload."""
    return Path(settings.RUN_DIR / "hold" / "full")


def free(folder: Path) -> int:
    """Bytes that this user can still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def is_low() -> bool:
    """Whether uploads are to be refused: too little space for the data or the store."""
    # The gate opens at a little more than it closes at, or it would flap.
    floor = settings.FLOOR_BYTES * (11 if gate().exists() else 10) // 10
    return any(_lacks(place, floor) for place in (settings.DATA, settings.STORE_DIR))


def _lacks(folder: Path, floor: int) -> bool:
    if not folder.exists():
        return False
    found = os.statvfs(folder)
    few = bool(found.f_files) and found.f_favail < FEWEST_ENTRIES
    return few or found.f_bavail * found.f_frsize < floor


def warning() -> str:
    """What to do while uploads are refused; "" if they are not."""
    if not is_low():
        return ""
    return (
        f"Only {size(free(settings.DATA))} are free below {settings.DATA}, so pushes are refused "
        f"until {size(settings.FLOOR_BYTES)} are: free some space, for example by ./boathouse gc "
        "--purge-now."
    )


def is_full() -> bool:
    """Whether so little space is left that writes begin to fail."""
    return free(settings.DATA) < max(settings.RESERVE_BYTES // 4, 1_000_000)


def give_back() -> bool:
    """Removes the reserve if the disk is full; True if it did. Raises nothing: each program calls
    this first, with any data folder."""
    with suppress(OSError):
        # Not as root in a folder of another user, who could replace the gate with a link.
        if reserve().stat().st_uid == os.geteuid() and is_full():
            reserve().unlink()
            _shut()
            return True
    return False


def check(uploads: Callable[[], int]) -> None:
    """Accepts or refuses uploads at the proxy, removes the reserve or creates it again.

    `uploads` counts those in progress. OSError if a file cannot be written.
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
    """If it is missing, or has the wrong size, and there is space for two."""
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
    """What to do, if `error` is caused by a full disk; "" if it is not."""
    chain: BaseException | None = error
    while chain is not None and not _is_of_room(chain):
        chain = chain.__cause__ or chain.__context__
    if chain is None:
        return ""
    if isinstance(chain, DatabaseError) and not is_low():
        place = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108  (SQLite's own choice)
        return (
            f"{place}, where SQLite stores its temporary files, is full: free some space there, or "
            "set SQLITE_TMPDIR to another folder, and try again."
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
