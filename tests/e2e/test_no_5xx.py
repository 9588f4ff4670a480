"""Readers, a scanner, logins, pushes and syncs at once and at full speed: no answer is a 5xx."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlencode

import pytest

from registryui import sockets
from tests.selection import Extent
from tests.support import postgres
from tests.support.portal import TOKEN
from tests.support.product import Product, product
from tests.support.registries import Registry
from tests.support.waiting import LONGEST

from .conftest import LOOPBACK

pytestmark = pytest.mark.e2e

PAGES = (
    *("/", "/repositories/", "/repositories/load/r0", "/repositories/load/r0:t0", "/activity"),
    *("/search?q=load", "/search?q=t1+repo:load", "/search?q=layer:sha256:00"),
    *("/search?q=is:untagged", "/search?q=label:a=b", "/search?q=pushed<9d"),
    *("/storage", "/maintenance", "/doctor", "/users", "/maintenance/recently-deleted"),
)
SCANNED = ("/.env", "/login", "/search?q='", "/v2/", "/healthz", "/admin", "/repositories/a/../b")


@pytest.fixture(params=["sqlite", "postgresql"])
def loaded(request: pytest.FixtureRequest, folder: Path) -> Iterator[Product]:
    is_postgresql = request.param == "postgresql"
    with postgres.running_cluster() if is_postgresql else nullcontext() as cluster:
        settings = {"DATABASE_URL": cluster.url()} if cluster else {}
        with product(folder / f"load-{request.param}", LOOPBACK, settings=settings) as made:
            yield made


LEAST = 40  # pages for the readers, however slow the machine is


class Crowd:
    """Threads that ask without a pause until the time is up and the readers have `LEAST` pages,
    and what they were answered."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.latest = self.end + LONGEST
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._threads: list[threading.Thread] = []

    def send(self, name: str, act: Callable[[int], int]) -> None:
        """One more in the crowd: `act` gets a number that grows and returns a status."""

        def go_on() -> None:
            for number in itertools.count():
                if self.is_over():
                    return
                try:
                    status = act(number)
                except Exception as error:
                    self.failures.append(f"{name}: {error!r}")
                    return
                self.answers[f"{name} {status}"] += 1
                if status >= 500:
                    self.failures.append(f"{name} {number}: {status}")

        self._threads.append(threading.Thread(target=go_on, name=name))
        self._threads[-1].start()

    def is_over(self) -> bool:
        now = time.monotonic()
        return now > self.end and (self.pages() >= LEAST or now > self.latest)

    def pages(self) -> int:
        return sum(n for what, n in list(self.answers.items()) if what.startswith("reader"))

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()


class Caller:
    """Somebody who asks the portal in nginx's place, where nothing slows a login down, on a
    connection that is kept. Each has an address of their own, as nginx would tell."""

    def __init__(self, data: Path, address: str) -> None:
        self.socket = data / "run" / "sockets" / "web"
        self.proof = (data / "secrets" / "proxy-token").read_text().strip()
        self.address = address
        self.cookies: dict[str, str] = {}
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        headers = {
            "Host": "localhost",
            "X-Forwarded-Proto": "https",
            "X-Real-IP": self.address,
            "X-Boathouse-Proxy": self.proof,
            "X-Request-ID": f"{threading.current_thread().name}-{path}",
            "Referer": f"https://localhost{path}",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        for attempt in range(3):
            self._connection = self._connection or sockets.Connection(self.socket, timeout=LONGEST)
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                text = answer.read().decode(errors="replace")
                break
            except (OSError, http.client.HTTPException):  # the server closed a kept connection
                self._connection = None
                if attempt == 2 or method != "GET":
                    raise
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, text

    def login(self, name: str, password: str) -> int:
        self.cookies.clear()
        token = TOKEN.search(self.ask("GET", "/login")[1])
        assert token
        fields = {"csrfmiddlewaretoken": token[1], "username": name, "password": password}
        return self.ask("POST", "/login", urlencode(fields).encode())[0]


def test_no_answer_is_a_5xx_under_a_crowd(loaded: Product, extent: Extent) -> None:
    registry = Registry(loaded.registry_url, loaded.data / "registry")
    for number in range(5):
        registry.push_image(f"load/r{number}", "t0", "t1", layers=(b"%d" % number,))
    loaded.boathouse("sync")
    name, password = loaded.operator
    readers = [Caller(loaded.data, f"10.0.0.{number}") for number in range(4)]
    assert {one.login(name, password) for one in readers} == {302}
    crowd = Crowd(extent(6.0, 70.0))

    def someone(one: Caller) -> Callable[[int], int]:
        def come_and_go(n: int) -> int:
            if n % 4 == 3:
                return one.login(name, f"wrong {n}") if n % 8 == 3 else one.login("nobody", "x")
            return one.login(name, password)

        return come_and_go

    for number, one in enumerate(readers):
        crowd.send(f"reader{number}", lambda n, one=one: one.ask("GET", PAGES[n % len(PAGES)])[0])
    for number in range(2):
        one = Caller(loaded.data, f"10.0.1.{number}")
        crowd.send(f"scanner{number}", lambda n, one=one: one.ask("GET", SCANNED[n % 7])[0])
    for number in range(2):
        crowd.send(f"login{number}", someone(Caller(loaded.data, f"10.0.2.{number}")))
    for number in range(2):

        def push(n: int, number: int = number) -> int:
            registry.push_image(f"load/p{number}", f"t{n % 50}", layers=(b"%d" % n,))
            return 201

        crowd.send(f"pusher{number}", push)
    crowd.send("sync", lambda _n: 200 + loaded.boathouse("sync", "--full").returncode)
    crowd.wait()
    log = (loaded.data / "log" / "boathouse.log").read_text(errors="replace")
    wrong = [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]
    assert (crowd.failures[:5], wrong[:5]) == ([], []), crowd.answers
    assert crowd.pages() >= LEAST, crowd.answers
