"""Requests to a running nginx, as a client sends them."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from registryui import proxy
from registryui.accounts import rights, users
from registryui.registry.client import RegistryClient
from tests.support.waiting import LONGEST

LAYER, CONFIG = b"a layer", b'{"os":"linux","architecture":"amd64"}'
TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> str:
        """Docker's message for it."""
        return str(json.loads(self.body)["errors"][0]["message"])


def push(client: RegistryClient, repository: str) -> None:
    for blob in (LAYER, CONFIG):
        client.upload_blob(repository, blob)
    client.put_manifest(repository, "1", manifest(), TYPE)


def manifest(note: str = "") -> bytes:
    def descriptor(kind: str, data: bytes) -> dict[str, object]:
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest(data),
            "size": len(data),
        }

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": TYPE,
            "config": descriptor("config.v1+json", CONFIG),
            "layers": [descriptor("layer.v1.tar+gzip", LAYER)],
            "annotations": {"note": note},
        }
    ).encode()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ask(
    method: str,
    path: str,
    user: tuple[str, str] | None = None,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    port: int = 0,
    over: http.client.HTTPConnection | None = None,
) -> Answer:
    """One request over TLS, the path sent unchanged. `over`: a keep-alive connection."""
    connection = over or connected(port)
    sent = {"Accept": TYPE, **(proxy.basic(*user) if user else {}), **(headers or {})}
    try:
        connection.request(method, path, body=body or None, headers=sent)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        if connection is not over:
            connection.close()


def connected(port: int = 0) -> http.client.HTTPSConnection:
    """A connection to the proxy that asks for no certificate."""
    return http.client.HTTPSConnection(
        "localhost",
        port or settings.PORT,
        context=ssl._create_unverified_context(),
        timeout=LONGEST,
    )


def made(name: str, *may: tuple[str, str], **options: Any) -> tuple[str, str]:
    """A user with these rights: name and secret."""
    done = users.create(name, by="tests", may=rights.parse(may), **options)
    assert done.proof.is_proved, done.proof
    return name, done.secret


@contextmanager
def sent(request: bytes, address: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A connection over which nginx has these bytes."""
    place = ("127.0.0.1", settings.PORT)
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(place, timeout=LONGEST, source_address=(address, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(request)
        yield secure


def head(user: tuple[str, str], *headers: str) -> bytes:
    """The headers of a request with that login."""
    login = f"Authorization: {proxy.basic(*user)['Authorization']}"
    return "\r\n".join(["Host: localhost", "Connection: close", login, *headers, "", ""]).encode()


def statuses_of_guesses() -> set[int]:
    """Guesses until one is told to wait; others are made to, which nobody waits for."""
    statuses: set[int] = set()
    with ExitStack() as stack:
        unanswered: list[ssl.SSLSocket] = []
        for number in range(1000):
            guess = head(("ci", f"guess-{number}"))
            line = stack.enter_context(sent(b"GET /v2/ HTTP/1.1\r\n" + guess))
            line.setblocking(False)
            unanswered.append(line)
            for one in tuple(unanswered):
                with suppress(ssl.SSLWantReadError):
                    statuses.add(int(one.recv(100).split()[1]))
                    unanswered.remove(one)
            if 429 in statuses:
                break
    return statuses
