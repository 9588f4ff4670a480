"""A listener for the registry's notifications."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.waiting import LONGEST


@dataclass(slots=True)
class Sink:
    """Keeps every notification that comes; refuses as many as it is told to."""

    bodies: list[bytes] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    to_refuse: int = 0

    def events(self, action: str, repository: str = "") -> list[dict[str, Any]]:
        """All events of that kind so far, in the order of arrival."""
        every = [event for body in self.bodies for event in json.loads(body)["events"]]
        return [
            event
            for event in every
            if event["action"] == action and repository in ("", event["target"]["repository"])
        ]

    def tags(self, action: str) -> list[str]:
        """The tags that those events name."""
        return [event["target"]["tag"] for event in self.events(action) if tag_of(event)]


def tag_of(event: dict[str, Any]) -> str:
    return str(event["target"].get("tag", ""))


@pytest.fixture
def sink() -> Iterator[tuple[Sink, str]]:
    """A listener on loopback, and its URL."""
    kept = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.tokens.add(self.headers["Authorization"])
            kept.bodies.append(body)
            refused = kept.to_refuse > 0
            kept.to_refuse -= refused
            self.send_response(503 if refused else 202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield kept, f"http://127.0.0.1:{server.server_port}/hooks/registry"
    server.shutdown()
    server.server_close()
    thread.join(timeout=LONGEST)
