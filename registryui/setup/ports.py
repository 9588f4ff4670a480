"""Which ports the parts listen on, and which program uses them.

nginx listens on loopback for the registry's notifications, on a port that is chosen once; the
registry only if a port is set for it. Both are stored in RUN_DIR/ports.json for settings.py
(registry 0: on sockets). nginx's own port is set by the user and never replaced.
"""

import errno
import json
import socket
from pathlib import Path

import psutil
from django.conf import settings

from registryui import files
from registryui.refused import Refused

FIRST = 8000
TRIED = 200  # ports in a row; below the range that the kernel gives to outgoing connections


class Chosen:
    """Ports of the parts, reserved until `release`.

    Between choosing a port and the part's own bind, another instance could choose the same one.
    So each chosen port is also claimed as an abstract Unix socket: it belongs to the same network
    namespace as the port, and it goes when this process goes.
    """

    __slots__ = ("_claims", "ports")

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._claims: list[socket.socket] = []

    def take(self, name: str, port: int) -> bool:
        """Takes `port` for `name` if it is free and nobody else's; True if it was."""
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0boathouse-port-{port}")
        except OSError:
            claim.close()
            return False
        if not is_free("127.0.0.1", port):
            claim.close()
            return False
        self._claims.append(claim)
        self.ports[name] = port
        return True

    def release(self) -> None:
        """Releases the claims."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()


def choose() -> Chosen:
    """The port for notifications: the previous one if it is free, else a new one; and that of the
    registry, 0 if none is set. Both are stored.

    Raises Refused if a port that was set by hand is busy.
    """
    kept = _kept()
    chosen = Chosen()
    chosen.ports["registry"] = 0
    taken = {settings.PORT, settings.HTTP_PORT, settings.ANONYMOUS_PORT, settings.PROXY_PORT}
    candidates = {"hook": [settings.HOOK_PORT]}
    if settings.HOOK_PORT in (kept.get("hook", FIRST), FIRST):
        candidates["hook"] += [port for port in range(FIRST, FIRST + TRIED) if port not in taken]
    if settings.WANTED_REGISTRY_PORT:
        candidates["registry"] = [settings.WANTED_REGISTRY_PORT]
    for name, some in candidates.items():
        if not any(chosen.take(name, port) for port in some):
            chosen.release()
            raise Refused(_busy(some[0], f"BOATHOUSE_{name.upper()}_PORT"))
    if kept != chosen.ports:
        try:
            files.write(settings.RUN_DIR / "ports.json", json.dumps(chosen.ports), mode=0o644)
        except BaseException:
            chosen.release()
            raise
    return chosen


def _kept() -> dict[str, int]:
    try:
        found = json.loads(Path(settings.RUN_DIR / "ports.json").read_text())
        return {name: int(found[name]) for name in ("registry", "hook") if name in found}
    except (OSError, ValueError, TypeError):
        return {}


def check_proxy() -> None:
    """Raises Refused if nginx could not listen: the port is in use, or this user may not bind
    it."""
    wanted = [(settings.PORT, "BOATHOUSE_PORT")]
    if settings.HTTP_PORT:
        wanted.append((settings.HTTP_PORT, "BOATHOUSE_HTTP_PORT"))
    if settings.ANONYMOUS_PORT:
        wanted.append((settings.ANONYMOUS_PORT, "BOATHOUSE_ANONYMOUS_PORT"))
    if settings.PROXY_PORT:
        wanted.append((settings.PROXY_PORT, "BOATHOUSE_PROXY_PORT"))
    for port, variable in wanted:
        for address in addresses():
            _check(address, port, variable)


def _check(address: str, port: int, variable: str) -> None:
    try:
        _try(address, port)
    except OverflowError as bad:
        raise Refused(f"{port} is no port: set {variable} to one from 1 to 65535.") from bad
    except OSError as refusal:
        if refusal.errno == errno.EADDRINUSE:
            raise Refused(_busy(port, variable)) from refusal
        if refusal.errno == errno.EACCES:
            raise Refused(
                f"Only root may listen on port {port}: run ./boathouse as root, or choose a port "
                f"above 1023 with {variable}."
            ) from refusal
        raise Refused(
            f"This machine cannot listen on {address!r} ({refusal.strerror}): set BOATHOUSE_BIND "
            "to addresses that it has."
        ) from refusal


def _busy(port: int, variable: str) -> str:
    return (
        f"Port {port} is held by {holder(port)}: stop that, or choose another port, "
        f"for example {variable}={_next_free(port)} ./boathouse up."
    )


def _next_free(port: int) -> int:
    later = range(port + 1, min(port + TRIED, 65536))
    return next((number for number in later if is_free("", number)), 0)


def addresses() -> list[str]:
    """The addresses nginx listens on, as settings.BIND has them, less IPv6 where there is none."""
    wanted = [address.strip() for address in settings.BIND if address.strip()]
    return [address for address in wanted if not address.startswith("[") or _has_ipv6()]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


def is_free(address: str, port: int) -> bool:
    """True if nobody listens there and this user may."""
    try:
        _try(address, port)
    except (OSError, OverflowError):
        return False
    return True


def _try(address: str, port: int) -> None:
    is_ipv6 = address.startswith("[")
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    with socket.socket(family) as trial:
        if is_ipv6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Like the parts: a connection that is still closing does not matter.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("" if address == "*" else address.strip("[]"), port))
        trial.listen(1)


def holder(port: int) -> str:
    """Who listens on that TCP port, in words; "another program" if we may not know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
