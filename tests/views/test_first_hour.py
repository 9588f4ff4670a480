"""The first hour: an empty registry says what to do, and ticks off what is done."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from registryui.models import RegistryUser, Role
from tests.support.factories import make_event, make_operator, make_repository

pytestmark = pytest.mark.django_db

Done = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _nobody_was_here(settings: Settings, tmp_path: Path) -> None:
    settings.RUN_DIR = tmp_path


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def steps(client: Client, path: str = "/") -> dict[str, bool]:
    """The titles of the steps, and whether each is done; {}: they are not shown."""
    page = client.get(path).content.decode()
    items = re.findall(r"<li( data-state=.?done.?)?><p>.*?<strong>(.*?)</strong>", page, re.DOTALL)
    return {title: bool(done) for done, title in items}


def done(client: Client) -> list[str]:
    return [title for title, is_done in steps(client).items() if is_done]


TRUST, LOGIN, PUSH = "Trust the registry on the machine", "Log in as a registry user", "Push"


@pytest.mark.parametrize("path", ["/", "/repositories/"])
def test_an_empty_registry_says_what_to_do(client: Client, path: str) -> None:
    assert steps(client, path) == {TRUST: False, LOGIN: False, PUSH: False}
    page = client.get(path).content.decode()
    assert "docker login localhost:8443" in page
    assert "docker push localhost:8443/try/hello:1" in page
    assert "Done:" not in page


@pytest.mark.parametrize("path", ["/trust", "/ca.crt"])
def test_who_opens_the_certificate_has_done_the_first_step(
    client: Client, settings: Settings, tmp_path: Path, path: str
) -> None:
    settings.TLS_DIR = tmp_path
    (tmp_path / "ca.crt").write_text("the authority's certificate")
    assert done(client) == []
    Client().get(path)
    assert done(client) == [TRUST]


def test_a_certificate_of_somebody_else_needs_no_step(client: Client, settings: Settings) -> None:
    settings.TLS_CERTIFICATE = "/etc/ssl/registry.crt"
    assert done(client) == [TRUST]


def test_a_user_that_was_used_has_logged_in_and_trusts(client: Client) -> None:
    user = RegistryUser.objects.create(name="ci", secret_hash="x")
    assert "docker login --username ci localhost:8443" in client.get("/").content.decode()
    assert done(client) == []
    user.used_at = timezone.now()
    user.save()
    assert done(client) == [TRUST, LOGIN]


def test_the_name_of_a_user_is_for_those_who_manage_it(client: Client) -> None:
    RegistryUser.objects.create(name="ci", secret_hash="x")
    viewer = Client()
    viewer.force_login(make_operator("vic", Role.VIEWER))
    assert "--username" not in viewer.get("/").content.decode()


def test_after_the_first_push_the_last_step_leads_there_and_ends_them(client: Client) -> None:
    make_repository("try/hello")
    make_event("try/hello", at=timezone.now())
    assert steps(client) == {TRUST: True, LOGIN: True, PUSH: True, "See it here": False}
    sent = {"steps": "off", "to": "/repositories/try/hello"}
    answer = client.post("/preferences", sent, headers={"Referer": "https://testserver/"})
    assert answer["Location"] == "/repositories/try/hello"
    assert steps(client) == {}


def test_an_hour_after_the_first_push_they_are_gone(client: Client) -> None:
    make_repository("try/hello")
    make_event("try/hello", at=timezone.now() - timedelta(minutes=61))
    make_event("try/hello", at=timezone.now())
    assert steps(client) == {}


def test_a_registry_that_was_adopted_has_none(client: Client) -> None:
    make_repository("try/hello")
    assert steps(client) == {}


def test_they_can_be_dismissed_and_shown_again(client: Client) -> None:
    client.post("/preferences", {"steps": "off"})
    assert steps(client) == {}
    assert "No repositories yet" in client.get("/").content.decode()
    assert "Show the first steps" in client.get("/repositories/").content.decode()
    client.post("/preferences", {"steps": "on"})
    assert len(steps(client)) == 3


@pytest.mark.parametrize(("path", "target"), [("/", "dashboard-live"), ("/repositories/", "main")])
def test_an_open_page_learns_of_each_step(client: Client, path: str, target: str) -> None:
    headers = {"HX-Request": "true", "HX-Target": target}
    seen = re.search(r"seen=([\w-]+)", client.get(path).content.decode())
    assert seen
    assert client.get(f"{path}?seen={seen[1]}", headers=headers).status_code == 204
    Client().get("/trust")
    answer = client.get(f"{path}?seen={seen[1]}", headers=headers)
    assert b'data-state="done"' in answer.content or b"data-state=done" in answer.content
