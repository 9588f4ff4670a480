"""Signing in and out, and what somebody who guesses learns: nothing."""

import fcntl
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest
from django.conf import settings
from django.contrib.auth import hashers
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from registryui.views.access import client_address, safe_next
from registryui.views.operators import password_turn
from tests.support.factories import PASSWORD, make_operator
from tests.support.waiting import until

pytestmark = pytest.mark.django_db


def _sign_in(client: Client, name: str = "vera", password: str = PASSWORD, **fields: str):
    return client.post("/login", {"username": name, "password": password, **fields})


def test_signing_in_leads_back_to_where_the_person_wanted_to_go() -> None:
    make_operator()
    client = Client()
    wanted = client.get("/search?q=api%20x")
    page = client.get(wanted["Location"])
    back = re.search(r'name="next" value="([^"]*)"', page.content.decode())
    assert back
    answer = _sign_in(client, next=back[1])
    assert (answer.status_code, answer["Location"]) == (302, "/search?q=api%20x")


@pytest.mark.parametrize(
    "sent",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "http://testserver//evil.example",
        "javascript:alert(1)",
        "\x00",
        "",
    ],
)
def test_nobody_is_sent_to_a_stranger_after_signing_in(sent: str) -> None:
    make_operator()
    location = _sign_in(Client(), next=sent)["Location"]
    assert location in ("/", "/evil.example")  # a path of our own is harmless


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer() -> None:
    make_operator()
    make_operator("gone", is_active=False)
    answers = [
        _sign_in(Client(), "vera", "wrong"),
        _sign_in(Client(), "nobody", "wrong"),
        _sign_in(Client(), "gone", PASSWORD),
    ]
    assert {answer.status_code for answer in answers} == {422}
    pages = {re.sub(r'value="[^"]*"', "", answer.content.decode()) for answer in answers}
    assert len(pages) == 1


def test_the_name_that_was_typed_is_escaped() -> None:
    page = _sign_in(Client(), '"><script>alert(1)</script>', "x").content.decode()
    assert "<script>alert" not in page


@pytest.mark.parametrize(("sent", "is_short"), [({}, True), ({"keep": "on"}, False)])
def test_a_session_ends_with_the_browser_unless_asked_to_stay(
    sent: dict[str, str], is_short: bool
) -> None:
    make_operator()
    client = Client()
    cookie = _sign_in(client, **sent).cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["max-age"] == "") is is_short
    if not is_short:
        assert cookie["max-age"] == 12 * 3600
    lasts = Session.objects.get().expire_date - timezone.now()
    assert lasts.total_seconds() <= 12 * 3600


def test_signing_in_gives_a_new_session() -> None:
    make_operator()
    client = Client()
    client.session["before"] = 1
    client.session.save()
    before = client.session.session_key
    _sign_in(client)
    assert client.session.session_key != before


def test_signing_out_ends_the_session_and_keeps_no_page() -> None:
    make_operator()
    client = Client()
    _sign_in(client)
    assert "no-store" in client.get("/")["Cache-Control"]
    client.post("/logout")
    assert client.get("/").status_code == 302
    assert not Session.objects.exists()


def _fail(client: Client, name: str, address: str, times: int = 5):
    for _ in range(times):
        answer = client.post(
            "/login", {"username": name, "password": "wrong"}, headers={"X-Real-IP": address}
        )
    return answer


def test_after_five_failures_the_page_says_when_to_try_again() -> None:
    make_operator()
    answer = _fail(Client(), "vera", "192.0.2.1")
    page = answer.content.decode()
    assert answer.status_code == 429
    assert answer["Retry-After"] == "900"
    assert re.search(r"Try again in 15 minutes, at \d\d:\d\d UTC\.", page)
    assert "Other users, and the same name from other machines" in page
    answer = Client().post(
        "/login", {"username": "vera", "password": PASSWORD}, headers={"X-Real-IP": "192.0.2.1"}
    )
    assert answer.status_code == 429


def test_a_name_that_does_not_exist_is_locked_in_the_same_way() -> None:
    assert _fail(Client(), "nobody", "192.0.2.1").status_code == 429


def test_nobody_is_locked_out_from_another_machine() -> None:
    make_operator()
    make_operator("jana")
    _fail(Client(), "vera", "192.0.2.1")
    for name, address in (("vera", "192.0.2.2"), ("jana", "192.0.2.1")):
        answer = Client().post(
            "/login", {"username": name, "password": PASSWORD}, headers={"X-Real-IP": address}
        )
        assert answer.status_code == 302


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("", "192.0.2.7", "192.0.2.7"),  # a Unix socket has no peer address
        ("127.0.0.1", "192.0.2.7, 10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "<script>", "127.0.0.1"),
        ("198.51.100.4", "192.0.2.7", "198.51.100.4"),  # only nginx on loopback is believed
        ("127.0.0.1", "", "127.0.0.1"),
    ],
)
def test_the_address_is_what_nginx_says(rf, peer: str, told: str, address: str) -> None:
    request = rf.get("/", REMOTE_ADDR=peer, headers={"X-Real-IP": told})
    assert client_address(request) == address


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a?b=c", "/a?b=c"),
        ("http://testserver/a?b=%2F", "/a?b=%2F"),
        ("https://other/a", "/home"),
        ("//other", "/home"),
        ("http://testserver//other/x", "/other/x"),
        ("a", "/home"),
        ("", "/home"),
    ],
)
def test_only_a_path_of_this_site_is_followed(rf, url: str, path: str) -> None:
    assert safe_next(rf.get("/"), url, default="/home") == path


def test_a_new_password_needs_the_old_one_and_ends_other_sessions() -> None:
    make_operator()
    here, there = Client(), Client()
    _sign_in(here)
    _sign_in(there)
    new = "four words of no sense"
    wrong = here.post(
        "/password", {"old_password": "x", "new_password1": new, "new_password2": new}
    )
    assert wrong.status_code == 422
    weak = here.post(
        "/password",
        {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"},
    )
    assert weak.status_code == 422
    done = here.post(
        "/password", {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    )
    assert (done.status_code, done["Location"]) == (302, "/")
    assert "Changed your password" in here.get("/").content.decode()
    assert there.get("/").status_code == 302
    assert _sign_in(Client(), password=new).status_code == 302


# -- many at once --------------------------------------------------------------------------------
def _another_process(folder: Path) -> IO[str]:
    """Has the turn until it is closed."""
    file = (folder / "passwords.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


@pytest.mark.parametrize("address", ["/login", "/password"])
def test_who_gets_no_turn_is_told_so_and_no_password_is_checked(
    address: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RUN_DIR = tmp_path
    monkeypatch.setattr(password_turn, "PATIENCE", 0.0)
    monkeypatch.setattr(hashers, "check_password", lambda *_: pytest.fail("it was checked"))
    client = Client()
    client.force_login(make_operator(), backend=settings.AUTHENTICATION_BACKENDS[1])
    if address == "/login":
        client = Client()
    with _another_process(tmp_path):
        answer = client.post(address, {"username": "vera", "password": PASSWORD})
    assert (answer.status_code, answer["Retry-After"]) == (429, "5")
    assert "Too many logins" in answer.content.decode()


def test_a_turn_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    settings.RUN_DIR = tmp_path
    make_operator()
    with _another_process(tmp_path) as other, ThreadPoolExecutor(1) as pool:
        pool.submit(other.close)
        assert _sign_in(Client()).status_code == 302


def test_a_process_keeps_threads_for_pages(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third one is refused at once, while one has its turn and another one waits."""
    settings.RUN_DIR = tmp_path
    places = threading.BoundedSemaphore(2)
    monkeypatch.setattr(password_turn, "_places", places)

    def second() -> bool:
        with password_turn.password_turn() as is_ours:
            return is_ours

    with ThreadPoolExecutor(1) as pool:
        with password_turn.password_turn() as first:
            waiting = pool.submit(second)
            until(lambda: places._value == 0, "the second one waits")
            with password_turn.password_turn() as third:
                assert (first, third) == (True, False)
        assert waiting.result() is True
