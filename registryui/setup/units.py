"""Whether systemd's units run this instance (deploy/systemd), and the commands that then help."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

FOLDERS = (Path("/etc/systemd/system"), Path("/run/systemd/system"))
TARGET = "boathouse.target"
SECONDS = 5.0  # for systemctl


def installed() -> bool:
    """Whether there are units for this data folder."""
    ours = f"BOATHOUSE_DATA={settings.DATA}"
    for folder in FOLDERS:
        try:
            if ours in (folder / "boathouse-web.service").read_text():
                return True
        except OSError:
            continue
    return False


def pids(names: Iterable[str]) -> dict[str, int]:
    """The process ids of the parts whose unit runs; {} without systemd."""
    found = {}
    if program := shutil.which("systemctl"):
        for name in names:
            command = [program, "show", "-p", "MainPID", "--value", f"boathouse-{name}.service"]
            try:
                told = subprocess.run(  # noqa: S603  (our own words)
                    command, capture_output=True, text=True, timeout=SECONDS, check=False
                ).stdout.strip()
            except subprocess.TimeoutExpired:
                return {}
            if told.isdigit() and int(told):
                found[name] = int(told)
    return found


def restart_line(name: str = "") -> str:
    """What restarts that part, or all."""
    return f"systemctl restart boathouse-{name}" if name else f"systemctl restart {TARGET}"


def logs_line(name: str = "", *, follow: bool = False, since: str = "") -> str:
    """What shows the lines of that part, or of all."""
    unit = f"boathouse-{name}" if name else "'boathouse-*'"
    start = f" --since '{since}'" if since else ""
    end = " -f" if follow else "" if since else " -n 100"
    return f"journalctl -u {unit}{start}{end}"
