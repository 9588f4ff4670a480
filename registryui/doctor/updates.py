"""Pending security updates of Debian packages, according to apt's lists.

Fetches nothing: the lists are as old as the machine's last `apt-get update`.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path

from .findings import Finding

APT = "/usr/bin/apt"
LISTS = Path("/var/lib/apt/lists")
INSTALLED = Path("/var/lib/dpkg/status")
LIMIT = 60  # seconds; it takes one, when nothing else is to be done
# libssl3/oldstable-security,now 3.0.18-1 amd64 [upgradable from: 3.0.17-1]
_WAITING = re.compile(r"^([a-z0-9.+-]+)/\S*-security\S* .*\[upgradable from", re.MULTILINE)


def check_updates() -> Finding | None:
    """None: no security update is pending, or apt cannot tell."""
    try:
        names = _waiting(LISTS.stat().st_mtime_ns, INSTALLED.stat().st_mtime_ns)
    except (OSError, subprocess.SubprocessError):
        return None
    if not names:
        return None
    return Finding("packages", "warn", "packages-security", {"names": list(names)})


@lru_cache(maxsize=1)
def _waiting(_lists: int, _installed: int) -> tuple[str, ...]:
    """Names of packages, sorted. Queried only when the data of apt or dpkg have changed.

    Raises OSError and SubprocessError.
    """
    answer = subprocess.run(  # noqa: S603 (no word of it comes from outside)
        [APT, "list", "--upgradable"],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return tuple(sorted(set(_WAITING.findall(answer.stdout))))
