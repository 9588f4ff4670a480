"""Which writes are under way at the registry: the same on its sockets and on a port.

`test_*` here are run by tests/test_write_freeze.py and tests/test_freeze_on_a_port.py.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings

from registryui import sockets, write_freeze
from registryui.refused import Refused

from .instance import Instance
from .proxy_client import ask, digest, made, manifest
from .waiting import LONGEST, until

TYPE = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}


def renewed(standing: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """As after its start."""
    standing.renew()
    # No request here is so young: each is seen at the registry before anybody waits for it.
    monkeypatch.setattr(write_freeze, "DRAIN", 0.1)
    return standing


def user_with_push() -> tuple[str, str]:
    """Somebody who may do everything, and has pushed team/app:1."""
    who = made("ci", ("pull", "*"), ("push", "*"), ("delete", "*"))
    for blob in (b"a layer", b'{"os":"linux","architecture":"amd64"}'):
        place = ask("POST", "/v2/team/app/blobs/uploads/", who).headers["location"]
        headers = {"Content-Type": "application/octet-stream"}
        done = ask("PUT", f"{place}&digest={digest(blob)}", who, body=blob, headers=headers)
        assert done.status == 201
    assert ask("PUT", "/v2/team/app/manifests/1", who, body=manifest(), headers=TYPE).status == 201
    return who


def test_what_the_registry_has_not_answered_is_counted(
    instance: Instance, user: tuple[str, str]
) -> None:
    for _ in range(5):
        assert ask("GET", "/v2/team/app/manifests/1", user).status == 200
        assert ask("POST", "/v2/team/app/blobs/uploads/", user).status == 202
    until_under_way("writes", 0)
    assert reading()  # connections that are kept for reading are no writes
    with frozen(instance):
        writer = threading.Thread(
            target=ask,
            args=("PUT", "/v2/team/app/manifests/2", user),
            kwargs={"body": manifest("2"), "headers": TYPE},
        )
        reader = threading.Thread(target=ask, args=("GET", "/v2/team/app/tags/list", user))
        writer.start()
        reader.start()
        until_under_way("manifests", 1)
        until_under_way("writes", 1)
        assert not write_freeze.wait("manifests", seconds=0.3)
    writer.join()
    reader.join()
    assert write_freeze.wait("writes", seconds=LONGEST)


def test_a_write_that_its_client_gave_up_counts_until_the_registry_is_done(
    instance: Instance, user: tuple[str, str]
) -> None:
    with frozen(instance):
        give_up(user, "/v2/team/app/manifests/3", manifest("3"))
        until(lambda: not clients_of(settings.PORT), "nginx has noticed", pause=0.02)
        assert write_freeze.in_flight("manifests") == 1
    until_under_way("manifests", 0)


def test_a_slow_upload_is_waited_for(user: tuple[str, str]) -> None:
    place = ask("POST", "/v2/team/app/blobs/uploads/", user).headers["location"]
    with secure() as connection:
        connection.sendall(head("PATCH", place, user, length=1000) + b"x" * 10)
        until_under_way("writes", 1)
        assert write_freeze.in_flight("manifests") == 0
        with (
            pytest.raises(Refused, match="did not finish within"),
            write_freeze.frozen("writes", by="tests", patience=0.2),
        ):
            pass
        assert write_freeze.freezes() == []
        assert not write_freeze.is_frozen("writes")
        with write_freeze.frozen("manifests", by="tests", patience=0.2) as frozen:
            frozen.check()
        connection.sendall(b"x" * 990)
        assert connection.recv(100).startswith(b"HTTP/1.1 202")
    assert write_freeze.wait("writes", seconds=LONGEST)


def test_only_what_is_under_way_now_is_waited_for(
    user: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, connections = list[list[str]](), write_freeze._connections

    def look(what: write_freeze.What) -> list[str]:
        looks.append(connections(what))
        return looks[-1]

    places = [ask("POST", "/v2/team/app/blobs/uploads/", user).headers["location"] for _ in "12"]
    with secure() as first, secure() as second, ThreadPoolExecutor() as pool:
        first.sendall(head("PATCH", places[0], user, length=100) + b"x" * 10)
        until_under_way("writes", 1)
        assert not write_freeze.let_end("writes", seconds=0.2)
        monkeypatch.setattr(write_freeze, "_connections", look)
        waiting = pool.submit(write_freeze.let_end, "writes", seconds=LONGEST)
        until(lambda: len(looks) > 1, "it has seen what is under way", pause=0.01)
        second.sendall(head("PATCH", places[1], user, length=100) + b"x" * 10)
        until_under_way("writes", 2)
        assert not waiting.done()
        first.sendall(b"x" * 90)
        assert waiting.result()
        assert write_freeze.in_flight("writes") == 1


@contextmanager
def frozen(instance: Instance) -> Iterator[None]:
    """The registry does nothing meanwhile."""
    until_under_way("writes", 0)
    registries = sockets.registries(settings.REGISTRY_PORT)
    pids = [instance.processes[name].pid for name in registries]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def secure() -> Iterator[ssl.SSLSocket]:
    plain = socket.create_connection(("127.0.0.1", settings.PORT), timeout=LONGEST)
    with plain, ssl._create_unverified_context().wrap_socket(plain) as connection:
        yield connection


def head(method: str, path: str, user: tuple[str, str], *, length: int) -> bytes:
    secret = b64encode(":".join(user).encode()).decode()
    is_manifest = "/manifests/" in path
    lines = (
        f"{method} {path} HTTP/1.1",
        f"Host: localhost:{settings.PORT}",
        f"Authorization: Basic {secret}",
        f"Content-Type: {TYPE['Content-Type'] if is_manifest else 'application/octet-stream'}",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def give_up(user: tuple[str, str], path: str, body: bytes) -> None:
    """A PUT whose client leaves without an answer."""
    with secure() as connection:
        connection.sendall(head("PUT", path, user, length=len(body)) + body)
        until_under_way("manifests", 1)


def until_under_way(what: str, number: int) -> None:
    until(lambda: write_freeze.in_flight(what) == number, f"{number} {what} under way", pause=0.02)


def reading() -> bool:
    """Whether the registry has connections for reads."""
    if settings.REGISTRY_PORT:
        return bool(clients_of(settings.REGISTRY_PORT))
    place = f" 03 .* {sockets.registry('registry')}\n"
    return re.search(place, Path("/proc/net/unix").read_text()) is not None


def clients_of(port: int) -> list[Any]:
    """Connections that are still open with whoever came in at that port."""
    mine = {"ESTABLISHED", "CLOSE_WAIT"}
    every = psutil.net_connections("tcp")
    return [one for one in every if one.laddr.port == port and one.status in mine]
