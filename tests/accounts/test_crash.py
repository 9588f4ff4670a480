"""Killed, crowded, without space: the files that nginx reads stay whole, and tell the truth.

The publisher works in processes of its own (publisher.py), nginx and the clients are real.
"""

from __future__ import annotations

import http.client
import itertools
import random
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from pytest_django import DjangoDbBlocker

from registryui import proxy
from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import RegistryUser
from registryui.registry.client import RegistryClient
from tests.selection import Extent
from tests.support.folders import open_folder
from tests.support.instance import running_instance
from tests.support.proxy_client import push
from tests.support.shared_database import Publisher, own_database, running_publisher
from tests.support.waiting import LONGEST

from .checks import inconsistent, temporary_files
from .hashes import PASSWORD

SEED = 20150401
TAGS = "/v2/team/api/tags/list"
HAND_MADE = b"# made by hand\nhand:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=:a comment\n\nno colon here\n"


# -- clients that never pause ----------------------------------------------------------------------
class Line:
    """One TLS connection to the proxy, opened again when nginx closes it."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.connection = self.opened()

    def opened(self) -> http.client.HTTPSConnection:
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection(
            "127.0.0.1",
            settings.PORT,
            context=context,
            timeout=LONGEST,
            source_address=(self.address, 0),
        )

    def status(self, path: str, name: str, secret: str) -> int:
        header = proxy.basic(name, secret)
        for is_last in (False, True):
            try:
                self.connection.request("GET", path, headers=header)
                answer = self.connection.getresponse()
                answer.read()
            except (http.client.HTTPException, OSError):  # kept open for too long or too often
                self.connection.close()
                self.connection = self.opened()
                if is_last:
                    raise
            else:
                return answer.status
        raise AssertionError


@dataclass
class Clients:
    """Those who may, and one who was disabled; `wrong` is what nginx must not have answered."""

    may: dict[str, str]  # name to secret: TAGS must be 200 with each, all the time
    off: tuple[str, str]  # refused whenever `off_since` is the same before and after
    off_since: int | None = None
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    _off: Iterator[int] = field(default_factory=itertools.count)

    def have_answers(self, least: int) -> bool:
        """Whether nginx has answered each of them, and who is off, so many times."""
        return all(self.answers[name] >= least for name in (*self.may, "off"))

    def say_off(self) -> None:
        self.off_since = next(self._off)

    def log_in(self) -> None:
        line = Line()
        while not self.is_over.is_set():
            for name, secret in list(self.may.items()):
                path = "/v2/" if name == "hand" else TAGS
                if (status := line.status(path, name, secret)) != 200:
                    self.wrong.append(f"{name}: {status}")
                self.answers[name] += 1

    def try_to(self) -> None:
        # From ever other addresses, so that guessing is not what refuses.
        for number in itertools.count(2):
            line = Line(f"127.9.{number // 250 % 250}.{number % 250 + 1}")
            for _ in range(8):
                if self.is_over.wait(0.005):  # the others need the processors, too
                    return
                since = self.off_since
                status = line.status(TAGS, *self.off)
                if since is not None and since == self.off_since:
                    self.answers["off"] += 1
                    if status != 401:
                        self.wrong.append(f"switched off: {status}")
            line.connection.close()

    def turned(self, name: str, secret: str) -> None:
        """Another secret from now on; waits until nobody uses the one before."""
        self.may[name] = secret
        seen = self.answers[name]
        while self.answers[name] < seen + 2 and not self.is_over.is_set():
            self.is_over.wait(0.001)


@contextmanager
def at_work(clients: Clients) -> Iterator[None]:
    def watched(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            clients.wrong.append(f"{type(error).__name__}: {error}")

    threads = [
        threading.Thread(target=watched, args=(work,)) for work in (clients.log_in, clients.try_to)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        clients.is_over.set()
        for thread in threads:
            thread.join()


# -- killed ----------------------------------------------------------------------------------------
Order = dict[str, Any]


def moves(dice: random.Random) -> Iterator[Order]:
    """Acts for ever. Each has its opposite, so that each has something to do."""
    wide, narrow = [["pull", "*"], ["push", "other/*"]], [["pull", "team/*"]]
    while True:
        yield {"act": "rights", "name": "busy", "may": wide}
        yield {"act": "off", "name": "gone"}
        yield {"act": "turn", "name": "turning", "secret": f"{dice.getrandbits(160):040x}"}
        yield {"act": "create", "name": "new", "may": wide}
        yield {"act": "rights", "name": "busy", "may": narrow}
        yield {"act": "on", "name": "gone"}
        yield {"act": "remove", "name": "new"}


@dataclass
class Story:
    """What is done to which user, where it is cut off, and who must see what of it."""

    publisher: Publisher
    clients: Clients
    dice: random.Random
    points: dict[str, list[Order]]  # act to the points where it can be cut off
    kills: int = 0
    done: int = 0
    left: dict[str, list[Order]] = field(default_factory=dict)

    def play(self, order: Order) -> None:
        """One act, killed somewhere, sometimes its catching up too; then all must be well."""
        act, name = order["act"], order["name"]
        if RegistryUser.objects.filter(name=name).exists() == (act == "create"):
            return  # the one before did not come so far
        if act == "on":
            self.clients.off_since = None
        before = publish.lines()
        answer = self.killed(order)
        self.look(before, name)
        if act == "off" and answer["said"]:
            self.clients.say_off()
        if self.dice.random() < 0.1:
            self.killed({"act": "catch up"})
            self.look(before, name)
        publish.catch_up()
        assert inconsistent() == [], order
        if act == "turn":
            row = RegistryUser.objects.get(name=name)
            if htpasswd.verify(row.secret_hash, order["secret"]):
                self.clients.turned(name, order["secret"])
        assert self.clients.wrong == [], order

    def killed(self, order: Order) -> Order:
        answer = self.publisher.order(**{**order, **self.end(order["act"])})
        self.kills += answer["killed"]
        self.done += answer["said"] is not None
        return answer

    def end(self, act: str) -> Order:
        """Mostly a line where nobody was cut off yet, else some moment, or none: let be."""
        if self.dice.random() < (0.5 if act == "off" else 0.1):
            return {}
        if act not in self.points or self.dice.random() < 0.33:
            return {"after": self.dice.uniform(0, 0.03)}
        left = self.left.setdefault(act, [])
        if not left:
            left += self.dice.sample(self.points[act], len(self.points[act]))
        return left.pop()

    def look(self, before: dict[str, str], name: str) -> None:
        """The file is whole, and says of everybody else what it said before."""
        content = publish.read()
        now = htpasswd.parse(content)
        assert htpasswd.CANARY in now
        assert content.startswith(HAND_MADE)
        assert content.endswith(b"\n")
        del now[htpasswd.CANARY]
        assert {**now, name: ""} == {**before, name: ""}


def points_of(publisher: Publisher, orders: Iterator[Order]) -> dict[str, list[Order]]:
    """Lets each act be done once; each line it runs is a point, the first and the last time."""
    found: dict[str, set[tuple[str, int]]] = {}
    for order in itertools.islice(orders, 7):
        ran = publisher.order(**order, trace=True)["said"]
        times = Counter(ran)
        found.setdefault(order["act"], set()).update(
            (line, time) for line in times for time in (1, times[line])
        )
    return {
        act: [{"line": line, "time": time} for line, time in sorted(points)]
        for act, points in found.items()
    }


def test_killed_a_thousand_times_it_refuses_nobody_and_lets_in_nobody(
    django_db_blocker: DjangoDbBlocker, extent: Extent
) -> None:
    kills = extent(12, 1000)
    dice = random.Random(SEED)
    with (
        open_folder("database") as folder,
        own_database(database := Path(folder, "index.sqlite3"), django_db_blocker),
        running_instance(),
        running_publisher(database) as publisher,
    ):
        with RegistryClient(settings.REGISTRY_URL) as client:
            push(client, "team/api")
        settings.HTPASSWD_FILE.write_bytes(HAND_MADE)
        drift.leave_alone(drift.find(), by="tests")
        may = rights.parse([("pull", "team/*")])
        made = {
            name: users.create(name, by="tests", may=may).secret
            for name in ("steady", "busy", "turning", "gone")
        }
        orders = moves(dice)
        points = points_of(publisher, orders)
        publish.catch_up()
        secret = users.rotate(RegistryUser.objects.get(name="turning"), by="tests").secret
        clients = Clients({**made, "turning": secret, "hand": PASSWORD}, ("gone", made["gone"]))
        del clients.may["gone"]
        story = Story(publisher, clients, dice, points)
        with at_work(clients):
            # Who logs in needs a processor, too: on until all of them did, again and again.
            while story.kills < kills or not clients.have_answers(kills // 4):
                story.play(next(orders))
        assert story.done > kills // 10  # some came to their end before they were killed
        assert set(clients.answers) == {"steady", "busy", "turning", "hand", "off"}
        assert temporary_files() == []
