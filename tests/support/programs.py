"""Programs of the tests that use the database beside the test, as workers and web processes do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.db import connection

from .waiting import LONGEST

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    """Theirs: the test's database in PostgreSQL, one of their own in `folder` on SQLite, where that
    of the test is in memory."""
    if connection.vendor == "sqlite":
        url = f"sqlite:///{folder / 'index.sqlite3'}"
    else:
        url = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{connection.settings_dict['NAME']}"
    found = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "DATABASE_URL": url,
        "BOATHOUSE_DATA": str(folder),
    }
    if connection.vendor == "sqlite":
        command = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(command, cwd=ROOT, env=found, check=True)
    return found


def start(module: str, *words: str, using: dict[str, str]) -> subprocess.Popen[str]:
    """`python -m MODULE WORDS` with that environment; its output is read by `said`."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.Popen(command, cwd=ROOT, env=using, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """What it printed, once it ended well."""
    out, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, out
    return out
