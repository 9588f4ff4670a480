"""Pending security updates of Debian packages, according to apt's lists.

Fetches nothing: the lists are as old as the machine's last `apt-get update`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

from django.conf import settings

from registryui import files

from .findings import Finding

APT = "/usr/bin/apt"
LISTS = Path("/var/lib/apt/lists")
INSTALLED = Path("/var/lib/dpkg/status")
ANSWER = "updates.json"  # in the folder of running parts: the last answer
LIMIT = 60  # seconds; it takes one, when nothing else is to be done
# libssl3/oldstable-security,now 3.0.18-1 amd64 [upgradable from: 3.0.17-1]
_WAITING = re.compile(r"^([a-z0-9.+-]+)/\S*-security\S* .*\[upgradable from", re.MULTILINE)


def check_updates() -> Finding | None:
    """None: no security update is pending, or apt cannot tell."""
    try:
        names = _waiting()
    except (OSError, subprocess.SubprocessError):
        return None
    if not names:
        return None
    return Finding("packages", "warn", "packages-security", {"names": names})


def _waiting() -> list[str]:
    """Names of packages, sorted. apt is queried only when its data or dpkg's have changed: it takes
    a second of processor, and commands ask as well.

    Raises OSError and SubprocessError.
    """
    state = [LISTS.stat().st_mtime_ns, INSTALLED.stat().st_mtime_ns]
    answer = settings.RUN_DIR / ANSWER
    try:
        known = json.loads(answer.read_text())
        if known["state"] == state:
            return [str(name) for name in known["names"]]
    except (OSError, ValueError, LookupError, TypeError):
        pass
    names = _asked()
    with contextlib.suppress(OSError):
        files.write(answer, json.dumps({"state": state, "names": names}))
    return names


def _asked() -> list[str]:
    said = subprocess.run(  # noqa: S603 (no word of it comes from outside)
        [APT, "list", "--upgradable"],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return sorted(set(_WAITING.findall(said.stdout)))
