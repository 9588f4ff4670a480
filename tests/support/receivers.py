"""What notifications are sent to, on loopback: a webhook's receiver, and a mail server."""

from __future__ import annotations

import email
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from .waiting import LONGEST


@dataclass
class Hook:
    """A webhook's receiver; `hangs` until `lifted`."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    lifted: threading.Event = field(default_factory=threading.Event)
    # header names in small letters; body
    received: list[tuple[dict[str, str], str]] = field(default_factory=list)


@contextmanager
def hook() -> Iterator[Hook]:
    """One on loopback, ended afterwards."""
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
            if made.hangs:
                made.lifted.wait(LONGEST)
            self.send_response(made.status)
            for name, text in made.headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(b"an answer of the receiver")

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/hooks/token-in-the-path"
    try:
        yield made
    finally:
        made.lifted.set()
        server.shutdown()
        thread.join(LONGEST)
        server.server_close()


@dataclass
class MailServer:
    """What it was sent, and by which user."""

    port: int = 0
    received: list[Message] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    refuses: str = ""  # its answer to a recipient


class _Controller(Controller):
    def _trigger_server(self) -> None:
        """Connects to it, once the port is known that was free."""
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(user: str = "", password: str = "") -> Iterator[MailServer]:
    """One on loopback, without TLS; with a user it requires the login."""
    made = MailServer()

    class Handler:
        async def handle_RCPT(
            self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any
        ) -> str:
            envelope.rcpt_tos.append(address)
            return made.refuses or "250 OK"

        async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            made.received.append(email.message_from_bytes(envelope.content, policy=default))
            return "250 OK"

    def authenticate(_server: Any, _session: Any, _envelope: Any, _way: str, data: Any) -> Any:
        made.users.append(data.login.decode())
        is_right = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=is_right, handled=False)

    login = {"authenticator": authenticate, "auth_required": True} if user else {}
    controller = _Controller(
        Handler(), hostname="127.0.0.1", port=0, auth_require_tls=False, **login
    )
    controller.start()
    made.port = controller.port
    try:
        yield made
    finally:
        controller.stop()
