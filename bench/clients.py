"""Clients that keep their connections and ask for pages in turn with /healthz, in a process of its
own.

python -m bench.clients reads one JSON object from standard input (`order` makes it), so that no
cookie is on a command line, and writes one to standard output. It speaks HTTP/1.1 as browsers do:
ab speaks 1.0, for which nginx does not compress.
"""

from __future__ import annotations

import gzip
import json
import re
import selectors
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import psutil

from tests.support.portal import Visitor
from tests.support.product import ROOT, Product

HEALTHZ = "/healthz"
LEAST = 3  # answers of each client: the first is not timed, since all clients begin at once
WARM = 10  # times each page is asked for first: each web process makes some things once
LONGEST = 4  # times as long as asked for, if each client has not so many by then
MINUTE_LEFT = 6.0  # seconds: a poll's token ends with the minute
_POLL = re.compile(r'hx-get="([^"]*\bseen=[^"]*)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_HAS_CHUNKS = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_IS_GZIP = re.compile(rb"\r\ncontent-encoding: *gzip", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


def asked(
    one: Product, pages: Mapping[str, str], polled: str, clients: Sequence[int], seconds: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """By number of clients, then by name of the page ("poll": what the page of that name asks by
    itself; "healthz": all turns of it): answers, seconds, times, cpu, bytes, sent_bytes, and the
    answers a second of /healthz just before and after it, as beside_per_s."""
    visitor = Visitor(one)
    visitor.login()
    web = psutil.Process(one.pids()["web"])
    order = {
        "address": one.address,
        "port": one.port,
        "host": one.host,
        "ca": str(one.ca),
        "cookie": "; ".join(f"{name}={value}" for name, value in visitor.cookies.items()),
        "pids": [web.pid, *(child.pid for child in web.children(recursive=True))],
        "pages": dict(pages),
        "polled": polled,
        "clients": list(clients),
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.clients"],
        cwd=ROOT,
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError((done.stdout + done.stderr)[-3000:])
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(done.stdout)
    return found


def poll_of(path: str, text: str) -> str:
    """The address that an open page asks every two seconds; ValueError if it has none."""
    found = _POLL.search(text)
    if found is None:
        raise ValueError(f"{path} has no fragment that asks with seen=")
    address = unescape(found[1])
    return path.partition("?")[0] + address if address.startswith("?") else address


@dataclass(slots=True)
class Answer:
    """An answer as it comes in: `feed` it until that says True."""

    head: bytes = b""
    body: bytearray = field(default_factory=bytearray)
    _length: int | None = None  # None: in chunks

    def feed(self, data: bytes) -> bool:
        """Whether the answer is complete."""
        self.body += data
        if not self.head:
            head, end, rest = bytes(self.body).partition(b"\r\n\r\n")
            if not end:
                return False
            self.head, self.body = head, bytearray(rest)
            found = _LENGTH.search(head)
            self._length = int(found[1]) if found else None if _HAS_CHUNKS.search(head) else 0
        if self._length is None:
            return self.body.endswith(b"0\r\n\r\n") and self._parts() is not None
        return len(self.body) >= self._length

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    @property
    def is_last(self) -> bool:
        """Whether the server closes the connection: nginx does after a thousand answers."""
        return _CLOSES.search(self.head) is not None

    @property
    def sent(self) -> bytes:
        """The body as it came, without the marks of chunks."""
        return bytes(self.body) if self._length is not None else self._parts() or b""

    @property
    def content(self) -> bytes:
        """The body, not compressed."""
        return gzip.decompress(self.sent) if _IS_GZIP.search(self.head) else self.sent

    def _parts(self) -> bytes | None:
        """The chunks in one; None while one is missing."""
        found, at = bytearray(), 0
        while (end := self.body.find(b"\r\n", at)) >= 0:
            size = int(self.body[at:end].partition(b";")[0], 16)
            if size == 0:
                return bytes(found)
            found += self.body[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
        return None


# -- in the process of their own -------------------------------------------------------------------


class Client:
    """One connection."""

    def __init__(self, order: Mapping[str, Any], context: ssl.SSLContext) -> None:
        self._order, self._context = order, context
        self.times: list[float] = []
        self.connect()

    def connect(self) -> None:
        plain = socket.create_connection((self._order["address"], self._order["port"]), 60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self._context.wrap_socket(plain, server_hostname=self._order["host"])
        self.socket.setblocking(False)

    def ask(self, request: bytes) -> None:
        self.answer, self._began = Answer(), time.perf_counter()
        if self.socket.send(request) != len(request):
            raise RuntimeError("a request was sent in part")

    def has_answer(self) -> bool:
        """Reads what is there."""
        try:
            while data := self.socket.recv(65_536):
                if self.answer.feed(data):
                    self.times.append(time.perf_counter() - self._began)
                    return True
        except ssl.SSLWantReadError:
            return False
        raise ConnectionError("the connection was closed in the middle of an answer")


def main() -> None:
    order = json.load(sys.stdin)
    context = ssl.create_default_context(cafile=order["ca"])
    workers = [psutil.Process(pid) for pid in order["pids"]]
    found: dict[int, dict[str, Any]] = {}
    first = Client(order, context)
    for path in [*order["pages"].values()] * WARM:
        _one(first, _request(order, path))
    for number in order["clients"]:
        clients = [Client(order, context) for _ in range(number)]
        found[number] = _in_turn(order, clients, workers)
        for one in clients:
            one.socket.close()
    print(json.dumps(found))


def _in_turn(
    order: Mapping[str, Any], clients: Sequence[Client], workers: Sequence[psutil.Process]
) -> dict[str, Any]:
    """Each page between two turns of /healthz: what slows the machine for a second, slows both."""
    healthz = _request(order, HEALTHZ)
    turns = [_turn(order, clients, workers, healthz, 200)]
    found: dict[str, Any] = {}
    for name in (*order["pages"], "poll"):
        path = order["pages"].get(name)
        request = _request(order, path) if path else _poll(order, clients[0])
        found[name] = _turn(order, clients, workers, request, 200 if path else 204)
        turns.append(_turn(order, clients, workers, healthz, 200))
        beside = turns[-2:]
        found[name]["beside_per_s"] = _sum(beside, "answers") / _sum(beside, "seconds")
    found["healthz"] = {
        **turns[0],
        **{key: _sum(turns, key) for key in ("answers", "seconds", "cpu", "client_cpu")},
        "times": [seconds for one in turns for seconds in one["times"]],
    }
    return found


def _sum(turns: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(one[key] for one in turns)


def _poll(order: Mapping[str, Any], client: Client) -> bytes:
    """Asks for nothing new, with the token of a page that was just opened."""
    if (left := 60 - time.time() % 60) < MINUTE_LEFT:
        time.sleep(left)
    path = order["pages"][order["polled"]]
    page = _one(client, _request(order, path)).content.decode()
    return _request(order, poll_of(path, page), "HX-Request: true\r\n")


def _request(order: Mapping[str, Any], path: str, more: str = "") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {order['host']}:{order['port']}\r\n"
        f"Cookie: {order['cookie']}\r\nAccept-Encoding: gzip\r\n{more}\r\n"
    ).encode()


def _turn(
    order: Mapping[str, Any],
    clients: Sequence[Client],
    workers: Sequence[psutil.Process],
    request: bytes,
    status: int,
) -> dict[str, Any]:
    """All clients ask without a pause until the time is over and each has LEAST answers."""
    first = _one(clients[0], request)
    for client in clients:
        client.times = []
    selector, waiting = selectors.DefaultSelector(), len(clients)
    cpu, own, began = _cpu(workers), time.process_time(), time.perf_counter()
    for client in clients:
        client.ask(request)
        selector.register(client.socket, selectors.EVENT_READ, client)
    while waiting:
        for key, _events in selector.select(60) or _silent():
            client = key.data
            if not client.has_answer():
                continue
            if client.answer.status != status:
                raise RuntimeError(f"{request.split()[1]!r} answered {client.answer.status}")
            if client.answer.is_last:
                selector.unregister(client.socket)
                client.socket.close()
                client.connect()
                selector.register(client.socket, selectors.EVENT_READ, client)
            if _is_enough(time.perf_counter() - began, len(client.times), order["seconds"]):
                waiting -= 1
            else:
                client.ask(request)
    seconds = time.perf_counter() - began
    return {
        "answers": sum(len(client.times) for client in clients),
        "seconds": seconds,
        "times": [one for client in clients for one in client.times[1:] or client.times],
        "cpu": _cpu(workers) - cpu,
        "client_cpu": time.process_time() - own,
        "bytes": len(first.content),
        "sent_bytes": len(first.sent),
    }


def _is_enough(passed: float, answers: int, wanted: float) -> bool:
    return passed >= LONGEST * wanted or (passed >= wanted and answers >= LEAST)


def _silent() -> list[tuple[selectors.SelectorKey, int]]:
    raise TimeoutError("no answer within a minute")


def _one(client: Client, request: bytes) -> Answer:
    """One answer, whatever its status."""
    client.socket.setblocking(True)
    client.ask(request)
    client.has_answer()
    client.socket.setblocking(False)
    if client.answer.is_last:
        client.socket.close()
        client.connect()
    return client.answer


def _cpu(workers: Sequence[psutil.Process]) -> float:
    """Seconds of the processor that they have used."""
    return sum(used.user + used.system for used in (one.cpu_times() for one in workers))


if __name__ == "__main__":
    main()
