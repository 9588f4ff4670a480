"""A database file of its own, which other processes can open, and a publisher in one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from pytest_django import DjangoDbBlocker

from .waiting import LONGEST

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def own_database(file: Path, blocker: DjangoDbBlocker) -> Iterator[None]:
    """While it lasts, Django here uses that file, as the product does, with all tables."""
    usual = connections["default"]
    of_product = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file),
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
    with blocker.unblock():
        own = DatabaseWrapper({**usual.settings_dict, **of_product}, "default")
        connections["default"] = own
        try:
            call_command("migrate", interactive=False, verbosity=0)
            own.close()  # no fork may have it
            yield
        finally:
            own.close()
            connections["default"] = usual


@dataclass
class Publisher:
    """Forks a process for each order; see publisher.py."""

    process: subprocess.Popen[str]

    def order(self, act: str, **order: Any) -> dict[str, Any]:
        """What came of it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"act": act, **order}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert not answer.get("failed"), f"{act} {order} ended with an error, see stderr"
        return answer


@contextmanager
def running_publisher(database: Path) -> Iterator[Publisher]:
    """A publisher for the data folder of the settings in force, with the product's own settings."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "DATABASE_URL": f"sqlite:///{database}",
        "BOATHOUSE_DATA": str(settings.DATA),
        "BOATHOUSE_HOST": settings.HOST,
        "BOATHOUSE_PORT": str(settings.PORT),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.accounts.publisher"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Publisher(process)
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=LONGEST)
