"""Theme and language, with and without a login, without a script."""

import pytest
from django.test import Client

from registryui.models import Operator, Role
from tests.support.factories import PASSWORD, make_operator

pytestmark = pytest.mark.django_db


def test_the_theme_is_kept_on_the_login_page_too() -> None:
    client = Client()
    assert "data-theme" not in client.get("/login").content.decode()
    answer = client.post("/preferences", {"theme": "dark", "next": "/login?next=/search"})
    assert (answer.status_code, answer["Location"]) == (302, "/login?next=/search")
    assert 'data-theme="dark"' in client.get("/login").content.decode()
    client.post("/preferences", {"theme": "auto"})
    assert "data-theme" not in client.get("/login").content.decode()


def test_the_language_is_kept() -> None:
    client = Client()
    client.post("/preferences", {"language": "zh-hans"})
    assert '<html lang="zh-Hans"' in client.get("/login").content.decode()
    client.post("/preferences", {"language": "en"})
    assert '<html lang="en"' in client.get("/login").content.decode()


def test_cookies_are_out_of_reach_for_scripts() -> None:
    answer = Client().post("/preferences", {"theme": "light", "language": "en"})
    for name in ("__Host-boathouse_theme", "__Host-boathouse_language"):
        cookie = answer.cookies[name]
        assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")


def test_every_cookie_is_of_this_host_alone() -> None:
    """By its prefix browsers take it from nobody else; then it has no domain and the path /."""
    make_operator("ada", role=Role.ADMIN)
    make_operator("vera")
    client = Client()
    client.get("/login")
    client.post("/login", {"username": "ada", "password": PASSWORD})
    client.post("/preferences", {"theme": "light", "language": "en", "steps": "off"})
    vera = Operator.objects.get(username="vera")
    client.post(f"/operators/{vera.pk}/change", {"act": "role", "role": "maintainer"})
    assert len(client.cookies) == 6, client.cookies.keys()
    for name, cookie in client.cookies.items():
        assert name.startswith("__Host-boathouse_")
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
        assert (cookie["domain"], cookie["path"]) == ("", "/")


@pytest.mark.parametrize("sent", [{"theme": "<b>"}, {"language": "xx"}, {}, {"theme": ""}])
def test_unknown_values_change_nothing(sent: dict[str, str]) -> None:
    assert not Client().post("/preferences", sent).cookies


def test_a_theme_cookie_that_is_not_ours_reaches_no_page() -> None:
    client = Client()
    client.cookies["__Host-boathouse_theme"] = '"><script>'
    assert "data-theme" not in client.get("/login").content.decode()


def test_the_page_that_sent_the_form_comes_back() -> None:
    client = Client()
    client.force_login(make_operator())
    answer = client.post(
        "/preferences",
        {"theme": "dark", "next": "/"},
        headers={"Referer": "http://testserver/repositories/?sort=-tags"},
    )
    assert answer["Location"] == "/repositories/?sort=-tags"


@pytest.mark.parametrize("referer", ["https://evil.example/", "//evil.example"])
def test_a_stranger_as_referer_leads_home(referer: str) -> None:
    answer = Client().post("/preferences", {"theme": "dark"}, headers={"Referer": referer})
    assert answer["Location"] == "/"
