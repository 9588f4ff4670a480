"""A small upstream registry on loopback, which does wrong what it is told to do wrong."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.support.fake_source import CONFIG, IMAGE, INDEX, LAYER, descriptor, digest_of, encode
from tests.support.waiting import LONGEST


@dataclass
class FakeUpstream:
    """Its content, what it was asked, and how it misbehaves."""

    url: str = ""
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # NAME:TAG or NAME@DIGEST
    blobs: dict[str, bytes] = field(default_factory=dict)  # NAME@DIGEST
    asked: Counter[str] = field(default_factory=Counter)  # "GET /v2/…"
    heard: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # with all headers
    status: int = 0  # of every answer but tokens; 0: what is right
    headers: dict[str, str] = field(default_factory=dict)  # of every answer
    is_wrong: bool = False  # other bytes than the digest's
    cut_at: int = -1  # bytes of a blob after which the connection breaks
    is_chunked: bool = False  # does not say how long a blob is
    is_closing: bool = False  # after each answer
    redirects_to: str = ""  # blobs are there
    token: str = ""  # it wants this one, from its own /token
    login: tuple[str, str] | None = None  # of Basic, or for a token
    hangs: threading.Event = field(default_factory=threading.Event)  # while set, nothing answers
    holds_blobs: threading.Event = field(default_factory=threading.Event)  # … in their middle
    released: threading.Event = field(default_factory=threading.Event)

    def push_image(
        self, name: str, tag: str, *layers: bytes, config: bytes = b'{"os":"linux"}'
    ) -> str:
        """An image; its digest."""
        for blob in (config, *layers):
            self.blobs[f"{name}@{digest_of(blob)}"] = blob
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "config": descriptor(CONFIG, config),
                "layers": [descriptor(LAYER, layer) for layer in layers],
            }
        )
        return self.push(name, tag, IMAGE, raw)

    def push_index(self, name: str, tag: str, *digests: str) -> str:
        """An image index of images that were pushed before."""
        children = [
            descriptor(IMAGE, self.manifests[f"{name}@{one}"][1], platform={"os": "linux"})
            for one in digests
        ]
        raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
        return self.push(name, tag, INDEX, raw)

    def push(self, name: str, tag: str, media_type: str, raw: bytes) -> str:
        """A manifest; its digest."""
        digest = digest_of(raw)
        self.manifests[f"{name}@{digest}"] = (media_type, raw)
        self.manifests[f"{name}:{tag}"] = (media_type, raw)
        return digest

    def gets(self, part: str = "") -> Counter[str]:
        """How often what was got, of paths with that part."""
        found = {key: n for key, n in self.asked.items() if key.startswith("GET") and part in key}
        return Counter(found)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: ClassVar[FakeUpstream]

    def do_GET(self) -> None:
        upstream = self.upstream
        upstream.asked[f"{self.command} {self.path}"] += 1
        headers = {name.lower(): value for name, value in self.headers.items()}
        upstream.heard.append((f"{self.command} {self.path}", headers))
        if upstream.hangs.is_set():
            upstream.released.wait(LONGEST)
            self.close_connection = True
            return
        if self.path.startswith("/token"):
            self._token()
        elif upstream.status:
            self._send(upstream.status, b"{}", {})
        elif not self._is_let_in():
            self._send(401, b"{}", {"WWW-Authenticate": self._challenge()})
        elif self.path == "/v2/":
            self._send(200, b"{}", {})
        else:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._content()

    do_HEAD = do_GET

    def _content(self) -> None:
        _v2, *name, kind, reference = self.path.strip("/").split("/")
        separator = "@" if ":" in reference else ":"
        key = f"{'/'.join(name)}{separator}{reference}"
        if kind == "manifests" and key in self.upstream.manifests:
            media_type, raw = self.upstream.manifests[key]
            told = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(raw)}
            self._send(200, raw + b" " * self.upstream.is_wrong, told)
        elif kind == "blobs" and key in self.upstream.blobs:
            self._blob(self.upstream.blobs[key])
        else:
            self._send(404, b"{}", {})

    def _blob(self, blob: bytes) -> None:
        upstream = self.upstream
        if upstream.redirects_to:
            self._send(307, b"", {"Location": upstream.redirects_to + self.path})
            return
        if upstream.is_wrong:
            blob = blob[:-1] + bytes([blob[-1] ^ 1])
        status, start = 200, 0
        if asked := self.headers.get("Range"):
            status, start = 206, int(asked.removeprefix("bytes=").rstrip("-"))
        rest = blob[start:]
        self.send_response(status)
        if upstream.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if upstream.is_chunked:
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))
            return
        half = len(rest) // 2 if upstream.cut_at < 0 else upstream.cut_at
        self.wfile.write(rest[:half])
        if upstream.cut_at >= 0:
            self.close_connection = True
            return
        if upstream.holds_blobs.is_set():
            upstream.released.wait(LONGEST)
        self.wfile.write(rest[half:])

    def _token(self) -> None:
        if self.upstream.login and self._pair() != self.upstream.login:
            self._send(401, b"{}", {})
            return
        scope = parse_qs(urlsplit(self.path).query)["scope"][0]
        assert scope.startswith("repository:")
        assert scope.endswith(":pull")
        self._send(200, json.dumps({"token": self.upstream.token}).encode(), {})

    def _is_let_in(self) -> bool:
        if self.upstream.token:
            return self.headers.get("Authorization") == f"Bearer {self.upstream.token}"
        return not self.upstream.login or self._pair() == self.upstream.login

    def _challenge(self) -> str:
        if self.upstream.token:
            return f'Bearer realm="{self.upstream.url}/token",service="fake"'
        return 'Basic realm="fake"'

    def _pair(self) -> tuple[str, str] | None:
        scheme, _space, text = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        name, _colon, password = b64decode(text).decode().partition(":")
        return name, password

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        told = {"Content-Length": str(len(body)), **headers, **self.upstream.headers}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = self.close_connection or self.upstream.is_closing

    def log_message(self, *_arguments: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: the service closes connections in the middle of what it refuses."""


@contextmanager
def fake_upstream(
    certificates: Path | None = None, *, address: str = "127.0.0.1"
) -> Iterator[FakeUpstream]:
    """One that runs, ended afterwards; over TLS with server.crt and server.key of that folder."""
    made = FakeUpstream()
    handler = type("Handler", (_Handler,), {"upstream": made})
    with _Server((address, 0), handler) as server:
        made.url = f"http://{address}:{server.server_address[1]}"
        if certificates:
            made.url = made.url.replace("http:", "https:")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.released.set()
            server.shutdown()
            thread.join()
