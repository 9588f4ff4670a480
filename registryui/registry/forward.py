"""Forwards a client's request to the registry unchanged, and returns the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from .errors import Unreachable

LONGEST = 900  # seconds: as long as nginx waits (setup/configuration.py)
_ANSWER_LIMIT = 1024 * 1024
_OF_THE_CONNECTION = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length"))


@dataclass(frozen=True, slots=True)
class Answer:
    """The registry's answer, without headers of the connection."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def forward(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    over: HTTPConnection,
) -> Answer:
    """Sends the request to the registry on this machine, once. Unreachable: it may have been
    processed all the same."""
    try:
        over.request(method, path, body=body or None, headers=dict(headers))
        response = over.getresponse()
        told = [one for one in response.getheaders() if one[0].lower() not in _OF_THE_CONNECTION]
        return Answer(response.status, tuple(told), response.read(_ANSWER_LIMIT))
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{method} {path}: {type(error).__name__}: {error}") from error
    finally:
        over.close()
