"""Guessing at the real nginx: who waits for a slow hash, for a limit, and what the time tells."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import psutil
import pytest
from django.conf import settings

from registryui.accounts import htpasswd, publish, rights, users
from registryui.models import RegistryUser
from registryui.setup import configuration, parts
from tests.support.instance import Instance, restart_nginx, wait_for
from tests.support.proxy_client import ask, connected
from tests.support.waiting import until

from .hashes import OF_EACH_KIND, PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


@pytest.fixture
def instance(standing: Instance) -> Instance:
    standing.renew()
    return standing


@contextmanager
def frozen(instance: Instance) -> Iterator[None]:
    """Whoever asks for a slow hash meanwhile gets no answer."""
    parent = psutil.Process(instance.processes["passwords"].pid)
    stopped = [parent, *parent.children()]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)


def marked(folder: str) -> set[str]:
    return {path.name for path in (publish.logins_folder() / folder).iterdir()}


def adopted(**lines: str) -> None:
    rows = users.adopt(lines, by="tests", may=rights.parse([("pull", "*")]))
    publish.write([row.pk for row in rows])


def ci() -> tuple[str, str]:
    done = users.create("ci", by="tests", may=rights.parse([("pull", "*")]))
    assert done.proof.is_proved
    return "ci", done.secret


def test_generated_secrets_never_wait_for_a_slow_hash(instance: Instance) -> None:
    """New, replaced a while ago, and without a login; guesses stand still meanwhile."""
    first = ci()
    users.create("person", by="tests", password=PASSWORD, may=rights.parse([("pull", "*")]))
    done = users.rotate(RegistryUser.objects.get(name="ci"), by="tests", overlap=timedelta(days=1))
    second = ("ci", done.secret)
    with ThreadPoolExecutor(12) as pool, frozen(instance):
        names = ("person", "nobody-knows", "ci", "od/d")
        waiting = [pool.submit(ask, "GET", "/v2/", (name, "wrong")) for name in names * 2]
        own = pool.submit(ask, "GET", "/v2/", ("person", PASSWORD))
        for _ in range(20):
            assert ask("GET", "/v2/", first).status == 200
            assert ask("GET", "/v2/", second).status == 200
            assert ask("GET", "/v2/").status == 401
        assert not [one for one in (own, *waiting) if one.done()]
    assert own.result().status == 200
    for one in waiting:
        assert one.result().status == 401
        assert one.result().headers["www-authenticate"].startswith("Basic ")


def test_a_name_is_marked_by_what_its_hashes_cost(instance: Instance) -> None:
    lines = {f"user{n}": line for n, line in enumerate(OF_EACH_KIND)}
    adopted(**lines)
    quick = {name for name, line in lines.items() if line.startswith(("{SSHA}", "{SHA}"))}
    slow = {name for name, line in lines.items() if line.startswith(("$y$", "$gy$", "$7$"))}
    slow |= {name for name, line in lines.items() if line.startswith("{PLAIN}")}  # bcrypt by us
    assert marked("quick") == quick | {htpasswd.CANARY}
    assert marked("slow") == slow
    # A second secret counts as well, while it works; then the first alone.
    row = RegistryUser.objects.get(name=min(slow))
    users.rotate(row, by="tests", overlap=timedelta(days=1))
    assert row.name not in marked("quick")
    users.rotate(row, by="tests")
    assert row.name in marked("quick") - marked("slow")
    users.remove([row], by="tests")
    assert row.name not in marked("quick") | marked("slow")
    before = marked("quick"), marked("slow")
    for path in publish.logins_folder().glob("*/*"):
        path.unlink()
    publish.prepare()
    assert (marked("quick"), marked("slow")) == before


def test_a_line_written_by_hand_counts_at_once_and_is_marked_soon(instance: Instance) -> None:
    secret = ci()
    slow = htpasswd.hash_clear(PASSWORD, rounds=8)
    now = htpasswd.change(
        publish.read(), {"anna": slow, "bob": "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A="}
    )
    settings.HTPASSWD_FILE.write_bytes(now)
    for name in ("anna", "bob"):
        assert ask("GET", "/v2/", (name, PASSWORD)).status == 200
    publish.catch_up()
    assert "anna" in marked("slow")
    assert {"bob", secret[0]} <= marked("quick")
    settings.HTPASSWD_FILE.write_bytes(htpasswd.change(now, {"ci": slow}))
    publish.catch_up()
    assert "ci" in marked("slow") - marked("quick")


NAMES = ("person", "nobody-knows", "ci", "od/d", "sha", "apr")
GUESSES = 10  # after these an address waits


def test_each_wrong_guess_costs_the_same_time(instance: Instance) -> None:
    """Of the processor, which a busy machine does not change."""
    ci()
    users.create("person", by="tests", password=PASSWORD)
    adopted(sha="{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=", apr="$apr1$abcdefgh$sIQmFnT1CuEXAsyjuXjUX/")
    [worker] = psutil.Process(instance.processes["passwords"].pid).children()

    def spent(name: str) -> float:
        before = sum(worker.cpu_times()[:2])
        with ThreadPoolExecutor(GUESSES) as pool:
            guesses = [pool.submit(ask, "GET", "/v2/", (name, "wrong")) for _ in range(GUESSES)]
        assert {one.result().status for one in guesses} == {401}
        return sum(worker.cpu_times()[:2]) - before

    found = {}
    for name in NAMES:  # each as a new address: what was refused is not counted yet
        found[name] = spent(name)
        restart_nginx(instance)
    assert min(found.values()) > 0.5 * max(found.values()), found


def test_who_guesses_is_told_to_wait_and_pipelines_are_not(instance: Instance) -> None:
    secret = ci()
    users.create("person", by="tests", password=PASSWORD, may=rights.parse([("pull", "*")]))
    file = configuration.passwords_file()
    changed = re.sub(r"burst=\d+ delay=\d+", "burst=2 delay=1", file.read_text())
    file.write_text(changed.replace("rate=20r/s", "rate=6r/m"))
    instance.stop("passwords")
    with ThreadPoolExecutor(8) as pool:
        gone = ask("GET", "/v2/", ("person", PASSWORD))
        assert gone.status == 500  # and no answer that lets anybody in
        assert ask("GET", "/v2/", secret).status == 200
        instance.start("passwords", parts.passwords_command())
        wait_for(configuration.passwords_socket())
        guesses = [pool.submit(ask, "GET", "/v2/", ("person", "wrong")) for _ in range(8)]
        found = sorted(one.result().status for one in guesses)
        assert found.count(429) >= 5
        assert ask("GET", "/v2/", secret).status == 200
        told = next(one.result() for one in guesses if one.result().status == 429)
    assert told.headers["retry-after"] == "10"
    assert told.message.startswith("too many logins at once")


def test_a_crowd_that_guesses_makes_nobody_at_another_address_wait(instance: Instance) -> None:
    """Who waits because of the own address is not counted among all."""
    users.create("person", by="tests", password=PASSWORD, may=rights.parse([("pull", "*")]))
    file = configuration.passwords_file()
    changed = re.sub(r"rate=\d+r/s", "rate=1r/m", file.read_text())
    changed = re.sub(r"(zone=address burst=\d+) delay=\d+", r"\1 delay=3", changed)
    file.write_text(re.sub(r"(zone=together burst=\d+) delay=\d+", r"\1 delay=6", changed))
    instance.stop("passwords")
    instance.start("passwords", parts.passwords_command())
    wait_for(configuration.passwords_socket())

    def guess() -> int:
        crowd = connected()
        crowd.source_address = ("127.0.0.9", 0)
        return ask("GET", "/v2/", ("person", "wrong"), over=crowd).status

    with ThreadPoolExecutor(12) as pool:
        guesses = [pool.submit(guess) for _ in range(12)]
        until(lambda: sum(one.done() for one in guesses) == 4, "four of them are answered")
        # Each one more in the queue of all would be a minute more.
        for _ in range(2):
            assert ask("GET", "/v2/", ("person", PASSWORD)).status == 200
        assert sum(one.done() for one in guesses) == 4
        instance.stop("passwords")  # answers those that wait


def test_a_push_with_an_own_password_meets_no_limit(instance: Instance) -> None:
    """A hundred requests at once, as of a big image."""
    users.create("person", by="tests", password=PASSWORD, cost=5, may=rights.parse([("pull", "*")]))
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(ask, "GET", "/v2/", ("person", PASSWORD)) for _ in range(100)]
    assert {one.result().status for one in asked} == {200}
