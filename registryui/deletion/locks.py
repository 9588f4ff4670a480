"""Locks by name, for what must not happen to a repository or a tag at the same time.

They hold between threads and processes, with PostgreSQL between hosts, and end with whoever has
them. With SQLite there is one host: each name is a byte of a file that the kernel locks.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import sha256

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from registryui.refused import Refused

_PAUSES = (0.001, 0.02)  # seconds between two attempts: at first, and at most
_Try = Callable[[int, bool], bool]  # number of the name, alone?


class Busy(Refused):
    """Somebody else had it for too long."""


@contextmanager
def locked(
    *, alone: Iterable[str] = (), shared: Iterable[str] = (), seconds: float = 10
) -> Iterator[None]:
    """Inside, nobody else has one of the names `alone`, and nobody has one of `shared` alone.

    Busy: that could not be had for so long. Taken in one order, so that two never wait for each
    other.
    """
    wanted = {_number(one): False for one in shared} | {_number(one): True for one in alone}
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        attempt = _attempts(stack)
        for number in sorted(wanted):
            pause = _PAUSES[0]
            while not attempt(number, wanted[number]):
                if time.monotonic() > deadline:
                    raise Busy(
                        _("Another operation is changing the same tag: try again in a moment.")
                    )
                time.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
        yield


def _number(name: str) -> int:
    """For the database and for a file: up to 2**62."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") >> 2


def _attempts(stack: ExitStack) -> _Try:
    """What tries to take a lock, which the stack ends."""
    if settings.IS_POSTGRESQL:
        return partial(_in_the_database, stack)
    path = settings.RUN_DIR / "locks"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A handle of its own: what it has locked ends when it is closed, in whatever thread.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, handle)
    if os.geteuid() == 0:  # a command of root's must not shut the portal out
        owner = path.parent.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
    return partial(_in_the_file, handle)


def _in_the_file(handle: int, number: int, alone: bool) -> bool:
    kind = fcntl.F_WRLCK if alone else fcntl.F_RDLCK
    # struct flock: kind, whence, start, length, process (0: the lock is the handle's).
    byte = struct.pack("@hhqqi0q", kind, os.SEEK_SET, number, 1, 0)
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, byte)
    except BlockingIOError:
        return False
    return True


def _in_the_database(stack: ExitStack, number: int, alone: bool) -> bool:
    kind = "" if alone else "_shared"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock{kind}(%s)", [number])
        if not cursor.fetchone()[0]:
            return False
    stack.callback(_give_back, f"SELECT pg_advisory_unlock{kind}(%s)", number)
    return True


def _give_back(statement: str, number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [number])
