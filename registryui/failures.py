"""Common system errors. Libraries have their own English words, which are logged and stored. Pages
and the doctor use `in_words`.
"""

from __future__ import annotations

import errno
import os
import re

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

_USUAL = {
    "late": _("no response in time"),
    "refused": _("connection refused"),
    "cut": _("connection closed by the other side"),
    "far": _("no route to host"),
    "name": _("host name not found"),
    "space": _("no space left on device"),
    "closed": _("permission denied"),
    "readonly": _("read-only file system"),
    "missing": _("no such file or directory"),
}
_NUMBERS = {
    "late": (errno.ETIMEDOUT,),
    "refused": (errno.ECONNREFUSED,),
    "cut": (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE),
    "far": (errno.EHOSTUNREACH, errno.ENETUNREACH),
    "space": (errno.ENOSPC, errno.EDQUOT),
    "closed": (errno.EACCES, errno.EPERM),
    "readonly": (errno.EROFS,),
    "missing": (errno.ENOENT,),
}
_SPOKEN = {  # of Python's socket and http, requests, SQLite
    "late": r"(?:the )?(?:(?:read|write|connect|handshake) operation |read )?timed out"
    r"(?:\. \(\w+ timeout=[^)]*\))?",
    "cut": "Remote end closed connection without response",
    "name": "Name or service not known|Temporary failure in name resolution"
    "|No address associated with hostname",
    "space": "database or disk is full",
}
# `TimeoutError: `, `[Errno 28] `, `_ssl.c:993: `: prefixes without more information.
_BEFORE = (
    r"(?:\b\w*(?:Error|Timeout|Disconnected): |\w*Pool\([^)]*\): |\[Errno -?\d+\] |_ssl\.c:\d+: )*"
)


def _pattern() -> re.Pattern[str]:
    phrases = {name: [_SPOKEN[name]] if name in _SPOKEN else [] for name in _USUAL}
    for name, numbers in _NUMBERS.items():  # first: they are the longer ones
        phrases[name] = [*(re.escape(os.strerror(number)) for number in numbers), *phrases[name]]
    each = "|".join(f"(?P<{name}>{'|'.join(words)})" for name, words in phrases.items())
    return re.compile(rf"{_BEFORE}(?:{each})(?!\w)", re.IGNORECASE)


_PATTERN = _pattern()


def in_words(error: object) -> str:
    """The text of an exception, or a stored one, with common errors in the active language; the
    rest, such as an address or a path, unchanged."""
    return _PATTERN.sub(lambda found: gettext(_USUAL[str(found.lastgroup)]), str(error))
