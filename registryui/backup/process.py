"""A backup in a process of its own, started by the worker: ./boathouse backup, at low priority."""

from __future__ import annotations

import logging
import subprocess
import sys

from django.conf import settings

from .restic import PRIORITY

log = logging.getLogger(__name__)


def run(*, by: str) -> None:
    """Backs up to settings.BACKUP_TO, then removes old snapshots. A failure is in its run, and in
    the log."""
    target = settings.BACKUP_TO
    is_done = _command(target, f"--by={by}")
    if is_done and settings.BACKUP_KEEP_DAYS:
        _command("prune", target, f"--keep-days={settings.BACKUP_KEEP_DAYS}")


def _command(*words: str) -> bool:
    """Whether that command of ours succeeded. What it prints may contain the new password, and is
    not logged."""
    before = ("nice", "-n", PRIORITY, "setpriv", "--pdeathsig", "TERM", "--")
    done = subprocess.run(  # noqa: S603  (our own program)
        [*before, sys.executable, str(settings.BASE_DIR / "manage.py"), "backup", *words],
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        log.error("backup: %s", lines[-1])
    return not done.returncode
