"""Log rotation, by size and each night; the oldest files are removed. No line is lost.

    NAME ── renamed to NAME.20260131-031700 ── whoever writes it opens NAME anew
                                         nginx: at USR1; `up`: NAME is another file

Until then lines are written to the renamed file, which is not removed before. The worker does this,
also under systemd, where only nginx writes a file and the others log to the journal.
"""

import os
import re
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from django.conf import settings

from . import configuration

NAMES = ("access.json", "boathouse.log")
PIECES = 20  # a log is rotated at this share of the limit for all
_STAMP = re.compile(r"\.\d{8}-\d{6}\Z")


def check() -> None:
    """Rotates logs that are too large, and removes files beyond the limits."""
    for name in NAMES:
        if _size(_log(name)) > settings.LOG_BYTES // PIECES:
            turn_over(name)
    if _turned("access.json") and not _log("access.json").exists():
        _reopen()
    _prune()


def turn_over(name: str) -> None:
    """Renames that log, if it is not empty, and lets its writer begin a new one."""
    file = _log(name)
    old = file.with_name(f"{name}.{datetime.now(UTC):%Y%m%d-%H%M%S}")
    if name == "access.json" and nginx_pid() == 0:
        return  # it could not be signalled, and would continue in the old one
    if _size(file) and not old.exists():
        file.rename(old)
        if name == "access.json":
            _reopen()


def files(name: str) -> list[Path]:
    """The renamed files of that log, oldest first, and the current one."""
    return [*_turned(name), _log(name)]


def nginx_pid() -> int:
    """The process id of our nginx; 0 if it does not run."""
    with suppress(OSError, ValueError, psutil.Error):
        pid = int((settings.RUN_DIR / "nginx.pid").read_text())
        # The process id may be reused by another program, which USR1 would end.
        if str(configuration.nginx_file()) in " ".join(psutil.Process(pid).cmdline()):
            return pid
    return 0


def _reopen() -> None:
    if pid := nginx_pid():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)


def _prune() -> None:
    removable, total = [], 0
    for name in NAMES:
        # Until there is a new one, the last renamed file may still be written.
        turned = _turned(name)
        removable += turned if _log(name).exists() else turned[:-1]
        total += sum(map(_size, (*turned, _log(name))))
    oldest = time.time() - settings.LOG_DAYS * 86400
    for file in sorted(removable, key=lambda one: one.name[-15:]):
        if total > settings.LOG_BYTES or _changed(file) < oldest:
            total -= _size(file)
            file.unlink(missing_ok=True)


def _log(name: str) -> Path:
    return Path(settings.LOG_DIR / name)


def _turned(name: str) -> list[Path]:
    """The renamed files, oldest first; other files beside them are left alone."""
    found = _log(name).parent.glob(f"{name}.*")
    return sorted(one for one in found if _STAMP.fullmatch(one.name.removeprefix(name)))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()
