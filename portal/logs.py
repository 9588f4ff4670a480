"""What is kept out of the log."""

import logging
import time


class Seldom(logging.Filter):
    """Lets the same words through once a minute, the error in one line.

    While the database is away the worker asks for its next job ten times a second, and says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said.get(str(record.msg), -60.0) < 60:
            return False
        self._said[str(record.msg)] = now
        if record.exc_info and record.exc_info[1] is not None:
            error = " ".join(str(record.exc_info[1]).split())
            record.msg, record.args = f"{record.getMessage()}: %s", (error,)
            record.exc_info = None
        return True
