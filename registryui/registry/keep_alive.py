"""The fast path for the many small answers of a sync: GET and HEAD over keep-alive connections.

requests takes 0.34 ms of a processor for an answer, http.client 0.12; with three thousand of them
that is a third of a first sync (docs/benchmarks.md). Only a plain success is handled here. Anything
else is None: client.py then repeats the request, with retries, and reports what is wrong.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from urllib.parse import urlsplit

from registryui import sockets


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of status 200; the names are those of requests."""

    url: str
    headers: HTTPMessage
    body: bytes
    status_code: int = 200


class KeepAliveConnections:
    """Connections to one http:// host, as many as threads ask at once. Safe for several threads."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, timeout: float, socket: str = ""
    ) -> None:
        """`timeout`: seconds for each complete answer. `socket`: a Unix socket to connect to."""
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._headers = dict(headers)
        self._timeout = timeout
        self._socket = socket
        self._idle: deque[HTTPConnection] = deque()

    def close(self) -> None:
        """Close the connections; those in use are closed after their answer."""
        while self._idle:
            self._idle.pop().close()

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], *, limit: int
    ) -> Answer | None:
        """The answer to GET or HEAD, if it is 200 in time, with a Content-Length up to `limit`
        bytes; else None. Never raises for what a server does."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._new()
        try:
            answer = self._answer(connection, method, url, headers, limit)
        except (OSError, HTTPException, ValueError):
            answer = None
        if answer is None:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def _new(self) -> HTTPConnection:
        if self._socket:
            return sockets.Connection(self._socket, timeout=self._timeout)
        return HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _answer(
        self,
        connection: HTTPConnection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        limit: int,
    ) -> Answer | None:
        deadline = time.monotonic() + self._timeout
        connection.request(
            method, url.removeprefix(self._origin), headers={**self._headers, **headers}
        )
        with connection.getresponse() as response:
            if response.status != 200 or response.will_close or response.length is None:
                return None
            if response.length > limit:
                return None
            told, body = response.length, bytearray()
            while len(body) < told:
                piece = response.read1(65_536)
                if not piece or time.monotonic() > deadline:
                    return None
                body += piece
            return Answer(url, response.headers, bytes(body))
