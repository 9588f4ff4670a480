"""Pages that are kept: the same bytes while nothing was written, and nobody else's."""

import re

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registryui.models import Repository, Role
from registryui.views import kept
from tests.support.factories import make_manifest, make_operator, make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
PAGE = "/repositories/team/app"
TOKEN = re.compile(r'csrfmiddlewaretoken" value="(\w+)"')


@pytest.fixture(autouse=True)
def _pages_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 8_000_000)


@pytest.fixture
def nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL, tests beside this one do: to other databases of the same server."""
    monkeypatch.setattr(kept, "state", lambda: "as it was")


@pytest.fixture
def app() -> Repository:
    row = make_repository("team/app")
    make_tag(row, "1.0", make_manifest(row, "1.0"))
    return row


def signed_in(name: str, role: Role = Role.ADMIN) -> Client:
    client = Client()
    client.force_login(make_operator(name, role))
    return client


def cost(client: Client, path: str = PAGE) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
        return len(captured)


def test_the_second_time_it_asks_for_the_session_and_its_operator_only(
    app: Repository, nobody_writes: None
) -> None:
    client = signed_in("ada")
    first = client.get(PAGE).content.decode()
    assert cost(client) <= 3
    again = client.get(PAGE).content.decode()
    assert TOKEN.sub("", again) == TOKEN.sub("", first)


def test_that_nothing_changed_is_kept_as_well(app: Repository, nobody_writes: None) -> None:
    client = signed_in("ada")
    seen = re.search(r"[?&]seen=([^&\"]+)", client.get(PAGE).content.decode())
    assert seen
    for most in (20, cost(client)):
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(f"{PAGE}?seen={seen[1]}", headers={"HX-Request": "true"})
        assert answer.status_code == 204
        assert answer.content == b""
        assert len(captured) <= most


@pytest.mark.django_db(transaction=True)  # as the portal writes
def test_a_write_ends_it(app: Repository) -> None:
    client = signed_in("ada")
    client.get(PAGE)
    make_tag(app, "2.0", make_manifest(app, "2.0"))
    assert ">2.0<" in client.get(PAGE).content.decode()


def test_who_asks_how_and_in_which_language_is_part_of_it(app: Repository) -> None:
    admin, viewer = signed_in("ada"), signed_in("vera", Role.VIEWER)
    assert "Delete repository" in admin.get(PAGE).content.decode()
    seen = viewer.get(PAGE).content.decode()
    assert "Delete repository" not in seen
    assert "ada" not in seen
    assert "<html" not in admin.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    admin.cookies[settings.LANGUAGE_COOKIE_NAME] = "zh-hans"
    assert 'lang="zh-Hans"' in admin.get(PAGE).content.decode()


def test_each_answer_has_a_token_of_its_own_that_works(app: Repository) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_operator("ada", Role.ADMIN))
    for _time in range(3):
        tokens = set(TOKEN.findall(client.get(PAGE).content.decode()))
        assert tokens
        for token in tokens:
            form = {"repository": "team/app", "all": "1", "csrfmiddlewaretoken": token}
            assert client.post("/delete", form).status_code != 403


def test_a_message_is_shown_once(app: Repository) -> None:
    client = signed_in("ada")
    client.get(PAGE)
    client.post("/delete", {"repository": "team/app", "tag": "1.0", "confirmed": "1"})
    shown = [client.get(PAGE).content.decode().count('role="status"') for _time in range(2)]
    assert shown[1] == 0


def test_the_oldest_go_when_there_are_too_many(
    app: Repository, nobody_writes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in("ada")
    monkeypatch.setattr(kept, "MOST_BYTES", 3 * len(client.get(PAGE).content))
    for number in range(6):
        client.get(PAGE, {"q": f"v{number}"})
    assert cost(client, f"{PAGE}?q=v5") <= 3
    assert cost(client, f"{PAGE}?q=v0") > 3
