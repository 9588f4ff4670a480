"""Requests to a running nginx, as a client sends them."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from collections.abc import Mapping
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
