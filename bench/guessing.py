"""Guessing: pipelines and pages while others guess passwords; how long a wrong one takes.

All on loopback, with addresses of its own for those who guess.
"""

from __future__ import annotations

import http.client
import ssl
import statistics
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.support.portal import TOKEN, Visitor
from tests.support.product import ROOT, Product

from .instance import running
from .measure import Row, p, timed

GUESSING = (8, 64, 256)  # connections
ADDRESSES = 8  # that they come from
SECONDS = 6.0
PAUSE = 0.02  # between two requests of the one who is measured
GUESSES = 40
LOG_INS, BURSTS = 30, 3  # at once, of people nobody knows; each time when nginx lets them in again
DRAINED = 16.0  # seconds between two such bursts
PERSON, PASSWORD = "person", "four boats on a lake"


def measure() -> Iterator[Row]:
    """Needs ab of Debian's apache2-utils, which ./boathouse test installs."""
    with running() as one:
        _add_person(one)
        yield from _beside_guessing(one)
        yield _refusing(one)
        yield _beside_log_ins(one)


def _add_person(one: Product) -> None:
    subprocess.run(  # noqa: S603  (our own command)
        [str(ROOT / "boathouse"), *["user", "add", "person", "--pull", "*", "--password-stdin"]],
        env=one.environment,
        input=PASSWORD + "\n",
        text=True,
        check=True,
        capture_output=True,
    )


def _beside_guessing(one: Product) -> Iterator[Row]:
    """Quiet before and after each, so that the ratio is of one time."""
    for name, victim, how in (
        (PERSON, one.user, "one address"),
        (PERSON, one.user, f"{ADDRESSES} addresses"),
        (PERSON, (PERSON, PASSWORD), "one address"),
    ):
        for count in GUESSING:
            before = _asked(one, victim)
            with _guessing(one, name, count, 1 if how == "one address" else ADDRESSES):
                time.sleep(1)
                beside = _asked(one, victim)
            time.sleep(DRAINED)  # who waited in turn
            quiet = p(before, 95)
            ratio = p(beside, 95) / quiet
            yield Row(
                f"p95 of {'a generated secret' if victim == one.user else 'an own password'}"
                f" beside {count} connections from {how} that guess {name}, against quiet",
                f"{ratio:.2f}×",
                f"{quiet * 1000:.1f} to {p(beside, 95) * 1000:.1f} ms, "
                f"worst {max(beside) * 1000:.0f} ms",
                {"ratio": ratio, "p95_ms": p(beside, 95) * 1000},
            )


def _asked(one: Product, user: tuple[str, str]) -> list[float]:
    """Seconds of each answer, over one connection."""
    connection, header = _connection(one, "127.0.0.1"), _basic(*user)
    found, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        found.append(timed(lambda: _ask(connection, header, 200)))
        time.sleep(PAUSE)
    connection.close()
    return found


@contextmanager
def _guessing(one: Product, name: str, count: int, addresses: int) -> Iterator[None]:
    """Wrong passwords for that name over so many connections, until the end."""
    guesser = [
        *("nice", "-n", "19", "/usr/bin/ab", "-q", "-k", "-r", "-t", "60", "-n", "10000000"),
        *("-c", str(max(1, count // addresses)), "-H", f"Authorization: {_basic(name, 'wrong')}"),
    ]
    started = [
        subprocess.Popen(  # noqa: S603
            [*guesser, "-B", f"127.0.0.{10 + number}", f"https://{one.name}/v2/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(addresses)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _refusing(one: Product) -> Row:
    """Each guess from an address of its own: none waits for others."""
    names = {"own password": PERSON, "generated secret": one.user[0], "no user": "nobody-knows"}
    found: dict[str, list[float]] = {what: [] for what in names}
    for number in range(GUESSES):
        connection = _connection(one, f"127.0.1.{1 + number}")
        connection.connect()
        for what, name in names.items():
            header = _basic(name, "wrong")
            found[what].append(timed(lambda c=connection, h=header: _ask(c, h, 401)))
        connection.close()
    figures = {what: statistics.median(times) * 1000 for what, times in found.items()}
    return Row(
        f"a wrong password is refused after: {', '.join(figures)}",
        " / ".join(f"{figure:.1f}" for figure in figures.values()) + " ms",
        "the median; the time must not tell who is there",
        {what.replace(" ", "_") + "_ms": figure for what, figure in figures.items()},
    )


def _beside_log_ins(one: Product) -> Row:
    """Pages of somebody who is signed in, while strangers send passwords to the portal."""
    visitor = Visitor(one)
    visitor.login()
    quiet: list[float] = []
    beside: list[float] = []
    statuses: list[int] = []
    for _burst in range(BURSTS):
        end = time.monotonic() + DRAINED
        while time.monotonic() < end:
            quiet.append(visitor.get("/repositories/").seconds)
            time.sleep(PAUSE)
        strangers = [Visitor(one) for _ in range(LOG_INS)]
        forms = [TOKEN.search(stranger.get("/login").text) for stranger in strangers]
        with ThreadPoolExecutor(LOG_INS) as pool:
            sent = [
                pool.submit(
                    stranger.send,
                    "/login",
                    username=f"stranger-{number}",
                    password=PASSWORD,
                    csrfmiddlewaretoken=form[1] if form else "",
                )
                for number, (stranger, form) in enumerate(zip(strangers, forms, strict=True))
            ]
            while not all(answer.done() for answer in sent):
                beside.append(visitor.get("/repositories/").seconds)
                time.sleep(PAUSE)
        statuses += [answer.result().status for answer in sent]
    ratio = p(beside, 95) / p(quiet, 95)
    told = ", ".join(f"{statuses.count(one)} × {one}" for one in sorted(set(statuses)))
    return Row(
        f"p95 of a page beside {LOG_INS} log-ins at once, against quiet",
        f"{ratio:.2f}×",
        f"{p(quiet, 95) * 1000:.0f} to {p(beside, 95) * 1000:.0f} ms, worst "
        f"{max(beside) * 1000:.0f} ms of {len(beside)}; the log-ins got {told}",
        {"ratio": ratio, "p95_ms": p(beside, 95) * 1000},
    )


def _ask(connection: http.client.HTTPSConnection, header: str, expected: int) -> None:
    connection.request("GET", "/v2/", headers={"Authorization": header})
    answer = connection.getresponse()
    answer.read()
    if answer.status != expected:
        raise RuntimeError(f"/v2/ answers {answer.status}, not {expected}")


def _connection(one: Product, address: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(one.ca))
    return http.client.HTTPSConnection(
        one.host, one.port, context=context, timeout=60, source_address=(address, 0)
    )


def _basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()
