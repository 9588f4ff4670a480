"""The addresses of the parts behind nginx: Unix sockets in a folder that only nginx and our own
user can access (setup/data.py).

The registry runs three times on one store, each with its own socket, so that write_freeze.py can
tell its requests in progress apart:

    registry     reads, and our own requests
    manifests    clients' pushes and deletes of manifests
    blobs        clients' uploads, and deletes of blobs

With BOATHOUSE_REGISTRY_PORT it runs once, on that loopback port. Writes are then identified by
their source address.
"""

from __future__ import annotations

import http.client
from pathlib import Path

from django.conf import settings

from .unix_http import Connection

__all__ = [
    "REGISTRIES",
    "SOURCES",
    "Connection",
    "for_writes",
    "mirror",
    "registries",
    "registry",
    "registry_metrics",
    "to_registry",
    "web",
]

SOURCES = {"manifests": "127.0.0.3", "blobs": "127.0.0.2"}  # 127.0.0.0/8 is this machine
REGISTRIES = ("registry", *SOURCES)


def web() -> Path:
    """Where gunicorn listens."""
    return Path(settings.SOCKETS_DIR / "web")


def mirror() -> Path:
    """Where the mirror service listens."""
    return Path(settings.SOCKETS_DIR / "mirror")


def registry(name: str) -> Path:
    """The socket of that one of REGISTRIES, if no port is set."""
    return Path(settings.SOCKETS_DIR / name)


def unnamed(place: Path) -> Path:
    """Where a new process listens until its socket is renamed to `place`. The kernel keeps this
    name for the connections."""
    return place.with_name(f"{place.name}.new")


def for_writes(name: str) -> tuple[str, str]:
    """Where our own writes of that kind go, so that a write freeze counts them: the address, and
    the one of this machine to connect from ("": any)."""
    if f"unix:{registry('registry')}" == settings.REGISTRY_URL:
        return f"unix:{registry(name)}", ""
    return settings.REGISTRY_URL, SOURCES[name]


def registries(port: int) -> tuple[str, ...]:
    """Those of REGISTRIES that run with that port; 0: no port is set."""
    return REGISTRIES[:1] if port else REGISTRIES


def registry_address(name: str, port: int) -> str:
    """The address of that one of REGISTRIES for nginx: unix:/path or host:port."""
    return f"127.0.0.1:{port}" if port else f"unix:{registry(name)}"


def registry_metrics(name: str) -> str:
    """Where that one of REGISTRIES serves its own metrics, as host:port; "" if no port is set. Each
    has an address of its own, because the registry can serve them over TCP only."""
    port = settings.METRICS_REGISTRY_PORT
    return f"{SOURCES.get(name, '127.0.0.1')}:{port}" if port else ""


def to_registry(name: str, port: int, *, timeout: float) -> http.client.HTTPConnection:
    """A connection to that one of REGISTRIES."""
    if not port:
        return Connection(registry(name), timeout=timeout)
    source = (SOURCES[name], 0) if name in SOURCES else None
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=source)
