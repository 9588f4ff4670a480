"""Work in progress on this host, so that the worker notices within a second if its process is
killed.

    run/under-way/NAME   locked: in progress; not locked: its process has ended

NAME is "KIND-ID", another one each time. The lock goes with its process, whatever ends that.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

log = logging.getLogger(__name__)

_NEW = ".new-"  # how a name begins that is not locked yet


@contextmanager
def under_way(name: str) -> Iterator[None]:
    """Until the block is left, `dead` returns `name` if this process ends. If the disk is full, the
    work continues without that."""
    folder = _folder()
    handle = -1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"{_NEW}{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        (folder / f"{_NEW}{name}").rename(folder / name)
    except OSError as error:
        log.warning("%s is not noted as under way: %s", name, error)
    try:
        yield
    finally:
        if handle >= 0:
            forget(name)
            os.close(handle)


def dead() -> list[str]:
    """Work on this host whose process has ended."""
    try:
        names = [one.name for one in _folder().iterdir() if not one.name.startswith(_NEW)]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if _is_dead(name))


def forget(name: str) -> None:
    """It is finished, or continued."""
    (_folder() / name).unlink(missing_ok=True)


def _is_dead(name: str) -> bool:
    try:
        handle = os.open(_folder() / name, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # it has just ended
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _folder() -> Path:
    return Path(settings.RUN_DIR) / "under-way"
