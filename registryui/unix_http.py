"""HTTP over a Unix socket. No Django: the mirror service uses it, too."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class Connection(http.client.HTTPConnection):
    """Over the socket at `path`."""

    def __init__(self, path: Path | str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def connection_to(address: str, *, timeout: float) -> http.client.HTTPConnection:
    """A connection to unix:/PATH or host:port, as nginx writes them."""
    if address.startswith("unix:"):
        return Connection(address.removeprefix("unix:"), timeout=timeout)
    return http.client.HTTPConnection(address, timeout=timeout)
