"""What a hash costs, measured on this machine: of a user-chosen password password_check computes it
at the first login, of a generated secret nginx at every request.

A user-chosen password needs a slow hash; a generated secret has a quick one (docs/decisions/0001).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import htpasswd


@dataclass(frozen=True, slots=True)
class HashCost:
    """What one check costs, in seconds of the processor."""

    cost: int  # of bcrypt, as a power of two
    seconds: float  # to check a user-chosen password
    quick_seconds: float  # to check a generated secret

    @property
    def logins_per_second(self) -> float:
        """First logins that one processor can check."""
        return 1 / self.seconds


def measure(cost: int) -> HashCost:
    """bcrypt of that cost beside the hash of a generated secret; at most half a second."""
    secret = htpasswd.new_secret()
    slow = htpasswd.hash_password(secret, rounds=cost)
    quick = htpasswd.hash_secret(secret)
    return HashCost(
        cost,
        _seconds(lambda: htpasswd.verify(slow, secret), 3 if cost <= 10 else 1),
        _seconds(lambda: htpasswd.verify(quick, secret), 200),
    )


def _seconds(check: Callable[[], bool], times: int) -> float:
    """The quickest of so many, in time of this thread, without other load."""
    best = float("inf")
    for _ in range(times):
        start = time.thread_time()
        check()
        best = min(best, time.thread_time() - start)
    return best
