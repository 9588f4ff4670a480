"""Passwords of operators are checked one at a time on a host: a check takes a core for a third of a
second, on purpose, and whoever sends many must not take the pages from everybody else.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

PATIENCE = 2.0  # seconds that a request waits for its turn
PLACES = 2  # of this process's four threads: one checks, one waits; the others answer pages
_places = threading.BoundedSemaphore(PLACES)


@contextmanager
def password_turn() -> Iterator[bool]:
    """True: check now, nobody else does. False: answer with `too_many`, without a check."""
    if not _places.acquire(blocking=False):
        yield False
        return
    try:
        with _lock_file() as file:
            yield _locked(file)  # until the file is closed
    finally:
        _places.release()


def _lock_file() -> AbstractContextManager[IO[str] | None]:
    """None where none can be made (a full disk): then each process has a turn of its own."""
    try:
        return (settings.RUN_DIR / "passwords.lock").open("w")
    except OSError:
        return nullcontext()


def _locked(file: IO[str] | None) -> bool:
    if file is None:
        return True
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def too_many(request: HttpRequest) -> HttpResponse:
    """The page for whoever did not get a turn."""
    page = render(request, "operators/login/too_many.html", status=429)
    page["Retry-After"] = "5"
    return page
