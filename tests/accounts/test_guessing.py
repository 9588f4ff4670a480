"""Guessing at the real nginx: who waits for a slow hash, for a limit, and what the time tells."""

from __future__ import annotations

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
from tests.support.instance import Instance, wait_for
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
    process = instance.processes["passwords"]
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def with_limits(instance: Instance, **limits: float) -> None:
    """Starts the check of passwords again, with other limits of turns.py."""
    settings_of_it = "".join(f"turns.{name} = {value}\n" for name, value in limits.items())
    code = "from registryui.password_check import __main__, turns\n" + settings_of_it
    python, _option, _module, *arguments = parts.passwords_command()
    if "passwords" in instance.processes:
        instance.stop("passwords")
    instance.start("passwords", [python, "-c", f"{code}__main__.main()", *arguments])
    wait_for(configuration.passwords_socket())


def ask_from(address: str, user: tuple[str, str]) -> int:
    connection = connected()
    connection.source_address = (address, 0)
    return ask("GET", "/v2/", user, over=connection).status


def marked() -> set[str]:
    return {path.name for path in (publish.logins_folder() / "quick").iterdir()}


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


def test_a_name_is_marked_if_its_hashes_cost_little(instance: Instance) -> None:
    lines = {f"user{n}": line for n, line in enumerate(OF_EACH_KIND)}
    adopted(**lines)
    quick = {name for name, line in lines.items() if line.startswith(("{SSHA}", "{SHA}"))}
    slow = {name for name, line in lines.items() if line.startswith(("$y$", "$gy$", "$7$"))}
    assert marked() == quick | {htpasswd.CANARY}
    # A second secret counts as well, while it works; then the first alone.
    row = RegistryUser.objects.get(name=min(slow))
    users.rotate(row, by="tests", overlap=timedelta(days=1))
    assert row.name not in marked()
    users.rotate(row, by="tests")
    assert row.name in marked()
    users.remove([row], by="tests")
    assert row.name not in marked()
    before = marked()
    for path in publish.logins_folder().glob("*/*"):
        path.unlink()
    publish.prepare()
    assert marked() == before


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
    assert "anna" not in marked()
    assert {"bob", secret[0]} <= marked()
    settings.HTPASSWD_FILE.write_bytes(htpasswd.change(now, {"ci": slow}))
    publish.catch_up()
    assert "ci" not in marked()


def test_a_remembered_login_ends_with_its_line(instance: Instance) -> None:
    """A user who is changed, disabled or removed is refused from the next request on."""
    done = users.create("person", by="tests", password=PASSWORD)
    row, person = done.user, ("person", PASSWORD)

    def status(user: tuple[str, str] = person) -> int:
        return ask("GET", "/v2/", user).status

    assert [status(), status()] == [200, 200]
    users.set_active([row], is_active=False, by="tests")
    assert status() == 401
    users.set_active([row], is_active=True, by="tests")
    assert status() == 200
    row.refresh_from_db()
    users.set_password(row, OTHER, by="tests")
    assert status() == 401
    assert status(("person", OTHER)) == 200
    users.remove([row], by="tests")
    assert status(("person", OTHER)) == 401


OTHER = "another horse of battery"
NAMES = ("person", "nobody-knows", "ci", "od/d", "sha", "apr")
GUESSES = 10  # after these an address waits


def test_each_wrong_guess_costs_the_same_time(instance: Instance) -> None:
    """Of the processor, which a busy machine does not change."""
    ci()
    users.create("person", by="tests", password=PASSWORD)
    adopted(sha="{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=", apr="$apr1$abcdefgh$sIQmFnT1CuEXAsyjuXjUX/")
    process = psutil.Process(instance.processes["passwords"].pid)
    computing = [process, *process.children()]

    def used() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in computing)

    def spent(name: str, address: str) -> float:
        before = used()
        with ThreadPoolExecutor(GUESSES) as pool:
            guesses = [pool.submit(ask_from, address, (name, "wrong")) for _ in range(GUESSES)]
        assert {one.result() for one in guesses} == {401}
        return used() - before

    found = {name: spent(name, f"127.0.0.{9 + n}") for n, name in enumerate(NAMES)}
    assert min(found.values()) > 0.5 * max(found.values()), found


def test_who_guesses_is_told_to_wait_and_pipelines_are_not(instance: Instance) -> None:
    secret = ci()
    users.create("person", by="tests", password=PASSWORD, may=rights.parse([("pull", "*")]))
    instance.stop("passwords")
    with ThreadPoolExecutor(8) as pool:
        gone = ask("GET", "/v2/", ("person", PASSWORD))
        assert gone.status == 500  # and no answer that lets anybody in
        assert ask("GET", "/v2/", secret).status == 200
        with_limits(instance, WRONG_AT_ONCE=1, WRONG_PER_SECOND=0.01, MOST_OF_ADDRESS=2)
        guesses = [pool.submit(ask, "GET", "/v2/", ("person", "wrong")) for _ in range(8)]
        until(lambda: sum(one.done() for one in guesses) >= 6, "all but two are answered")
        assert ask("GET", "/v2/", secret).status == 200
        told = [one.result() for one in guesses if one.done()]
        busy = [one for one in told if one.status == 429]
        assert len(busy) >= 4  # two at once are checked before the first is counted
        instance.stop("passwords")  # ends those that wait
    assert busy[0].headers["retry-after"] == "10"
    assert busy[0].message.startswith("too many logins at once")


def test_a_crowd_that_guesses_makes_nobody_else_wait(instance: Instance) -> None:
    """At another address, for a first login; and anywhere, for a login that was right before."""
    for name in ("person", "other"):
        users.create(name, by="tests", password=PASSWORD, may=rights.parse([("pull", "*")]))
    with_limits(instance, WRONG_AT_ONCE=4, WRONG_PER_SECOND=0.01)
    crowd = "127.0.0.9"
    assert ask_from(crowd, ("person", PASSWORD)) == 200
    with ThreadPoolExecutor(12) as pool:
        guesses = [pool.submit(ask_from, crowd, ("person", "wrong")) for _ in range(12)]
        # One more if it got its turn before the fourth was found wrong.
        until(lambda: sum(one.done() for one in guesses) >= 4, "four of them are answered")
        for _ in range(2):
            assert ask_from(crowd, ("person", PASSWORD)) == 200
            assert ask("GET", "/v2/", ("other", PASSWORD)).status == 200
        assert sum(one.done() for one in guesses) <= 5
        instance.stop("passwords")  # ends those that wait


def test_a_push_with_an_own_password_meets_no_limit(instance: Instance) -> None:
    """A hundred requests at once, as of a big image."""
    users.create("person", by="tests", password=PASSWORD, cost=5, may=rights.parse([("pull", "*")]))
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(ask, "GET", "/v2/", ("person", PASSWORD)) for _ in range(100)]
    assert {one.result().status for one in asked} == {200}
