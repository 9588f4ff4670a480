"""The short way: takes the plain success, and leaves everything else to the client's own."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from registryui.registry.keep_alive import KeepAliveConnections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Told: yes\r\n\r\n{}"


@contextmanager
def server(answer: Callable[[socket.socket, int], None]) -> Iterator[tuple[str, list[int]]]:
    """A server that lets `answer` write to each connection after each request; counts requests by
    connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[int] = []
    open_ones: list[socket.socket] = []

    def serve(connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):  # our side may close in the middle
            while connection.recv(65_536):
                asked[number] += 1
                answer(connection, asked[number])

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_ones.append(connection)
            asked.append(0)
            threading.Thread(target=serve, args=(connection, len(asked) - 1), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)


def connections(url: str, timeout: float = 5) -> KeepAliveConnections:
    return KeepAliveConnections(url, {"User-Agent": "tests"}, timeout=timeout)


def test_one_connection_serves_one_request_after_the_other() -> None:
    with server(lambda to, _: to.sendall(OK)) as (url, asked):
        kept = connections(url)
        for _ in range(5):
            answer = kept.ask("GET", f"{url}/v2/", {}, limit=10)
            assert answer is not None
            assert answer.body == b"{}"
            assert answer.headers["x-told"] == "yes"
        kept.close()
        assert asked == [5]


def test_threads_get_a_connection_each() -> None:
    both_asked = threading.Barrier(2)

    def wait_for_the_other(to: socket.socket, _: int) -> None:
        both_asked.wait(timeout=5)
        to.sendall(OK)

    with server(wait_for_the_other) as (url, asked), ThreadPoolExecutor(2) as pool:
        kept = connections(url)
        answers = list(pool.map(lambda _: kept.ask("GET", f"{url}/", {}, limit=2), range(2)))
        assert None not in answers
        assert asked == [1, 1]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 307 Elsewhere\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890",  # longer than the limit
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n",
        b"\x00\xff nonsense",
    ],
)
def test_anything_but_a_plain_success_is_nothing_and_ends_the_connection(raw: bytes) -> None:
    def answer(to: socket.socket, _: int) -> None:
        to.sendall(raw)
        to.shutdown(socket.SHUT_WR)

    with server(answer) as (url, asked):
        kept = connections(url)
        assert kept.ask("GET", f"{url}/", {}, limit=10) is None
        assert kept.ask("GET", f"{url}/", {}, limit=10) is None
        assert asked == [1, 1]


def test_connection_that_the_server_closed_meanwhile_is_nothing() -> None:
    def answer_once(to: socket.socket, number: int) -> None:
        to.sendall(OK)
        to.shutdown(socket.SHUT_WR)

    with server(answer_once) as (url, _):
        kept = connections(url)
        assert kept.ask("GET", f"{url}/", {}, limit=10) is not None
        assert kept.ask("GET", f"{url}/", {}, limit=10) is None
        assert kept.ask("GET", f"{url}/", {}, limit=10) is not None  # a new one


def test_dripping_server_gets_one_time_out_in_all() -> None:
    dripped = []

    def drip(to: socket.socket, _: int) -> None:
        to.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        stop = threading.Event()
        while not stop.wait(0.05):
            try:
                to.sendall(b"x")
            except OSError:
                return
            dripped.append(1)

    with server(drip) as (url, _):
        assert connections(url, timeout=0.4).ask("GET", f"{url}/", {}, limit=1000) is None
        assert 0 < len(dripped) < 100


def test_server_that_is_not_there_is_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert connections(url).ask("HEAD", f"{url}/", {}, limit=0) is None
