"""Why a client does not get what it asked for, with codes of the distribution-spec (Errors)."""

from __future__ import annotations

import json


class Failure(Exception):
    """An answer of that status; `str()` is a sentence for the client."""

    def __init__(self, status: int, code: str, words: str, *, retry_after: int = 0) -> None:
        super().__init__(words)
        self.status = status
        self.code = code
        self.retry_after = retry_after  # seconds; 0: not said

    @property
    def body(self) -> bytes:
        """The JSON that clients print."""
        error = {"code": self.code, "message": str(self), "detail": None}
        return json.dumps({"errors": [error]}).encode()


class Unknown(Failure):
    """The upstream does not have it."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(404, code, words)


class Denied(Failure):
    """The mirror's patterns, or the upstream, refuse this repository."""

    def __init__(self, words: str) -> None:
        super().__init__(403, "DENIED", words)


class Limited(Failure):
    """The upstream answers 429."""

    def __init__(self, words: str, retry_after: int) -> None:
        super().__init__(429, "TOOMANYREQUESTS", words, retry_after=retry_after)


class Away(Failure):
    """The upstream does not answer, or not as a registry."""

    def __init__(self, words: str) -> None:
        super().__init__(503, "UNAVAILABLE", words, retry_after=10)


class Wrong(Failure):
    """The upstream sent other content than was asked for, or only a part: it is not stored."""

    def __init__(self, words: str) -> None:
        super().__init__(502, "DIGEST_INVALID", words)
