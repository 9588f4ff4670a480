"""Filters and formats of the log."""

import logging
import time
import traceback

from django.db import DatabaseError


class Seldom(logging.Filter):
    """Logs the same message once a minute, with the error in one line.

    While the database is down the worker polls for jobs ten times a second, and logs each failure.
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


# Names and addresses in a line are untrusted: they must not contain line breaks or terminal control
# characters.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}


class Line(logging.Formatter):
    """Adds the request id of nginx's access log to a line, and formats errors of the database in
    one line: while it is down, each open page retries."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).translate(CONTROLS)

    def format(self, record: logging.LogRecord) -> str:
        request = getattr(record, "request", None)
        if request is None:
            return super().format(record)
        line = logging.makeLogRecord(record.__dict__)  # other handlers get the record, too
        id = getattr(request, "META", {}).get("HTTP_X_REQUEST_ID", "-")
        line.msg, line.args = f"[{id}] {record.getMessage()}", None
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, DatabaseError):
            line.msg += f": {type(error).__name__}: {' '.join(str(error).split())}{_place(error)}"
            line.exc_info = line.exc_text = None
        return super().format(line)


def _place(error: BaseException) -> str:
    """The last line of our own code in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((one for one in reversed(frames) if "/registryui/" in one.filename), None)
    return f" ({ours.filename}:{ours.lineno} in {ours.name})" if ours else ""
