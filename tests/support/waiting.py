"""Waiting for something to become true, by asking again and again: one helper, one longest time.

Nothing is proved by how quickly it comes: a slow or busy machine stretches the longest time with
BOATHOUSE_TEST_PATIENCE (a factor, 1 unless set). Who waits for a thing never sleeps for a time.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = float(os.environ.get("BOATHOUSE_TEST_PATIENCE", "1"))
LONGEST = 120 * PATIENCE  # seconds; of one wait, one command, one start

T = TypeVar("T")


def until(ask: Callable[[], T], what: str, *, pause: float = 0.05) -> T:
    """The first true answer of `ask`; AssertionError with `what` and the last answer after LONGEST.

    `pause`: seconds between two questions.
    """
    deadline = time.monotonic() + LONGEST
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"after {LONGEST} s still not: {what} (last answer: {answer!r})")
        time.sleep(pause)
