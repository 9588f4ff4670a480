"""File locks with a time limit: the process with the lock may be frozen."""

import fcntl
import time

LONGEST = 60.0  # seconds; locks are held for milliseconds
PAUSE = 0.005


def take(handle: int, *, seconds: float = LONGEST) -> None:
    """Locks that open file exclusively; released when the file is closed.

    TimeoutError (an OSError) if another process keeps it for so long.
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
