"""File locks that are waited for, but not for ever: who holds one may be frozen."""

import fcntl
import time

LONGEST = 60.0  # seconds; what is done under a lock takes milliseconds
PAUSE = 0.005


def take(handle: int, *, seconds: float = LONGEST) -> None:
    """Locks that open file for this process alone; it is free again when the file is closed.

    TimeoutError (an OSError) if somebody else holds it for so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"another process has held a lock for {seconds:.0f} seconds"
                ) from None
            time.sleep(PAUSE)
