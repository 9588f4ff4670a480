"""A way to the real registry that fails on command: what a registry does when its disk is full, or
when it is away, cannot be had from a healthy one."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from .waiting import LONGEST

AWAY = 0  # instead of a status: the connection is cut without an answer


@dataclass(slots=True)
class Way:
    """`fault` sees each request: a status to answer, AWAY, or None to let it through."""

    url: str = ""
    fault: Callable[[str, str], int | None] = lambda method, path: None
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def way_to(registry: str) -> Iterator[Way]:
    """That registry, behind a way that may fail; on loopback, ended afterwards."""
    way = Way()
    target = urlsplit(registry)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            way.asked.append((self.command, self.path))
            status = way.fault(self.command, self.path)
            if status == AWAY:
                self.close_connection = True
                self.connection.close()
                return
            if status is not None:
                self._answer(status, {}, b'{"errors":[{"code":"UNKNOWN","message":"made up"}]}')
                return
            connection = http.client.HTTPConnection(
                str(target.hostname), target.port, timeout=LONGEST
            )
            connection.request(self.command, self.path, body or None, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            kept = {name: text for name, text in answer.getheaders() if name != "Content-Length"}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, content, length)
            connection.close()

        def _answer(
            self, status: int, headers: dict[str, str], content: bytes, length: str | None = None
        ) -> None:
            self.send_response_only(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # It looks so often whether it is to end.
    often = {"poll_interval": 0.01}
    thread = threading.Thread(target=server.serve_forever, kwargs=often, daemon=True)
    thread.start()
    way.url = f"http://127.0.0.1:{server.server_port}"
    yield way
    server.shutdown()
    server.server_close()
    thread.join(timeout=LONGEST)
