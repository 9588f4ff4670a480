"""Unix sockets in a closed folder: where parts listen that only nginx and our own user may reach.

setup/data.py closes it. HTTP over such a socket is spoken by `Connection`.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from django.conf import settings


def web() -> Path:
    """Where gunicorn listens."""
    return Path(settings.SOCKETS_DIR / "web")


class Connection(http.client.HTTPConnection):
    """Over the socket at `path`."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
