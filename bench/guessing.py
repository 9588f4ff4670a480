"""Guessing: pipelines and pages while others guess passwords; how long a wrong one takes.

All on loopback; the guesses come from other addresses.
"""

from __future__ import annotations

import http.client
import ssl
import statistics
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle, repeat
from tempfile import NamedTemporaryFile
from urllib.parse import urlencode

from registryui.accounts import htpasswd
from tests.support.portal import TOKEN, Visitor
from tests.support.product import ROOT, Product

from .instance import running
from .measure import Row, p, timed

GUESSING = (8, 64, 256)  # connections
OWN, OTHERS = "127.0.0.1", [f"127.0.0.{10 + number}" for number in range(8)]  # addresses
SECONDS = 6.0
PAUSE = 0.02  # between two requests of the one who is measured
GUESSES = 40
PASSWORDS = 8  # that are guessed at once: 8 connections, or that many each
LOG_INS, BURSTS = 30, 6  # at once, by unknown users; each time after nginx has accepted them again
DRAINED = 16.0  # seconds between two such bursts
PERSON, PASSWORD = "person", "four boats on a lake"


def measure() -> Iterator[Row]:
    """Needs ab of Debian's apache2-utils, which ./boathouse test installs."""
    with running() as one:
        _add_person(one)
        yield from _beside_guessing(one)
        yield _refusing(one)
        yield from _beside_log_ins(one)


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
    """Measured without guessing before and after each, so that the ratio is of one time."""
    generated, own, first = "a generated secret", "an own password", "a first login, own password"
    for what, how, addresses in (
        (generated, "another address", OTHERS[:1]),
        (generated, f"{len(OTHERS)} addresses", OTHERS),
        (own, "another address", OTHERS[:1]),
        (own, f"{len(OTHERS)} addresses", OTHERS),
        (own, "the same address", [OWN]),
        (first, "another address", OTHERS[:1]),
        (first, f"{len(OTHERS)} addresses", OTHERS),
        (first, "the same address", [OWN]),
    ):
        user = one.user if what == generated else (PERSON, PASSWORD)
        users = partial(_first_logins, one) if what == first else partial(repeat, user)
        for count in GUESSING:
            idle = _asked(one, users())
            with _guessing(one, PERSON, count, addresses):
                time.sleep(1)
                beside = _asked(one, users())
            time.sleep(DRAINED)  # who was queued
            quiet = p(idle + _asked(one, users()), 95)
            ratio = p(beside, 95) / quiet
            yield Row(
                f"p95 of {what} beside {count} connections from {how} that guess {PERSON},"
                " compared to idle",
                f"{ratio:.2f}×",
                f"{quiet * 1000:.1f} to {p(beside, 95) * 1000:.1f} ms, "
                f"worst {max(beside) * 1000:.0f} ms of {len(beside)}",
                {"ratio": ratio, "p95_ms": p(beside, 95) * 1000},
            )


def _first_logins(one: Product) -> Iterator[tuple[str, str]]:
    """Users who did not log in yet: each time their lines, written by hand, are others."""
    line, file = htpasswd.hash_password(PASSWORD), one.data / "htpasswd"
    users = [(f"person-{number}", PASSWORD) for number in range(int(SECONDS / PAUSE) + 1)]
    file.write_bytes(htpasswd.change(file.read_bytes(), {name: line for name, _secret in users}))
    return iter(users)


def _asked(one: Product, users: Iterator[tuple[str, str]]) -> list[float]:
    """Seconds of each answer, over one connection, each to the next of these users."""
    connection = _connection(one, OWN)
    found, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        header = _basic(*next(users))
        found.append(timed(lambda header=header: _ask(connection, header, 200)))
        time.sleep(PAUSE)
    connection.close()
    return found


@contextmanager
def _guessing(one: Product, name: str, count: int, addresses: Sequence[str]) -> Iterator[None]:
    """Wrong passwords for that name over so many connections, until the end."""
    guesser = [
        *("nice", "-n", "19", "/usr/bin/ab", "-q", "-k", "-r", "-t", "60", "-n", "10000000"),
        *("-c", str(count // PASSWORDS)),
    ]
    started = [
        subprocess.Popen(  # noqa: S603
            [
                *(*guesser, "-H", f"Authorization: {_basic(name, f'wrong {number}')}"),
                *("-B", address, f"https://{one.name}/v2/"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number, address in zip(range(PASSWORDS), cycle(addresses), strict=False)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _refusing(one: Product) -> Row:
    """Each guess from another address: none waits for others."""
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


def _beside_log_ins(one: Product) -> Iterator[Row]:
    """Pages of somebody who is signed in, while others request the login page, and while
    they send passwords to it: the first says what so many requests cost by themselves."""
    visitor = Visitor(one)
    visitor.login()
    quiet: list[float] = []
    beside: dict[str, list[float]] = {"openings of the log-in": [], "log-ins": []}
    for burst in range(BURSTS):
        for what, seconds in beside.items():
            end = time.monotonic() + DRAINED
            while time.monotonic() < end:
                quiet.append(_page(visitor))
            with _strangers(one, f"stranger-{burst}" if what == "log-ins" else "") as asking:
                while asking.poll() is None:
                    seconds.append(_page(visitor))
    for what, seconds in beside.items():
        ratio = p(seconds, 95) / p(quiet, 95)
        yield Row(
            f"p95 of a page beside {LOG_INS} {what} at once, compared to idle",
            f"{ratio:.2f}×",
            f"{p(quiet, 95) * 1000:.0f} to {p(seconds, 95) * 1000:.0f} ms (medians "
            f"{p(quiet, 50) * 1000:.0f} and {p(seconds, 50) * 1000:.0f}), worst "
            f"{max(seconds) * 1000:.0f} ms of {len(seconds)}",
            {"ratio": ratio, "p95_ms": p(seconds, 95) * 1000},
        )


def _page(visitor: Visitor) -> float:
    time.sleep(PAUSE)
    return visitor.get("/repositories/").seconds


@contextmanager
def _strangers(one: Product, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """So many at once on the login page, with a wrong password for that name if it has one.

    Another process: threads of this one would delay the measuring one, by Python's lock.
    """
    stranger = Visitor(one)
    form = TOKEN.search(stranger.get("/login").text)
    sent = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": form[1] if form else ""}
    address = f"{one.facts['url']}/login"
    with NamedTemporaryFile("w") as file:
        file.write(urlencode(sent))
        file.flush()
        cookies = [part for one in stranger.cookies.items() for part in ("-C", "=".join(one))]
        posting = ["-p", file.name, "-T", "application/x-www-form-urlencoded"]
        command = ["/usr/bin/ab", "-q", "-n", str(LOG_INS), "-c", str(LOG_INS), *cookies]
        command += [*(posting if name else []), "-H", f"Referer: {address}", address]
        asking = subprocess.Popen(  # noqa: S603
            ["nice", "-n", "19", *command],  # noqa: S607
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield asking
        finally:
            asking.kill()
            asking.wait()


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
