"""Pages for what went wrong: with words, a way on, and nothing of the inside."""

import sqlite3

import pytest
from django.db import DatabaseError, OperationalError
from django.template.loader import render_to_string
from django.test import Client

from registryui.models import Repository, Role
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db


def test_a_page_that_is_not_there_leads_on() -> None:
    client = Client()
    page = client.get("/nowhere")
    assert page.status_code == 404
    assert 'href="/login"' in page.content.decode()
    assert 'href="/search"' not in page.content.decode()
    client.force_login(make_operator())
    assert 'href="/search"' in client.get("/nowhere").content.decode()


def test_a_missing_role_is_said_in_words_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    client.force_login(make_operator(role=Role.VIEWER))
    answer = client.get("/operators")
    assert "refused: GET /operators to vera" in caplog.messages
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "This requires the role “Administrator”; yours is “Viewer”." in page


def test_a_form_without_its_token_says_to_send_it_again() -> None:
    answer = Client(enforce_csrf_checks=True).post("/login", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "Please submit the form again" in answer.content.decode()


def test_the_page_of_a_failure_needs_nothing_that_may_be_broken() -> None:
    """Django renders it without a context; it has no static file, no table, no session."""
    page = render_to_string("500.html")
    assert "Internal error" in page
    assert "<link" not in page


def test_a_database_that_is_away_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_arguments: object, **_options: object) -> None:
        raise OperationalError("connection refused by 10.0.0.1")

    client = Client(raise_request_exception=False)
    client.force_login(make_operator())
    monkeypatch.setattr(Repository.objects, "filter", away)
    monkeypatch.setattr(Repository.objects, "all", away)
    answer = client.get("/repositories/", headers={"Accept-Language": "zh-hans"})
    assert answer.status_code == 503
    assert answer["Retry-After"] == "10"
    page = answer.content.decode()
    assert "数据库没有响应" in page
    assert "10.0.0.1" not in page
    assert "<link" not in page


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_CORRUPT, "database disk image is malformed"),
        (sqlite3.SQLITE_CANTOPEN, "unable to open database file"),
        (sqlite3.SQLITE_ERROR, "no such table: registryui_repository"),
    ],
)
def test_a_database_that_does_not_come_back_by_itself_is_another_page(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        cause = sqlite3.DatabaseError(said)
        cause.sqlite_errorcode = code
        raise DatabaseError(said) from cause

    client = Client(raise_request_exception=False)
    client.force_login(make_operator())
    monkeypatch.setattr(Repository.objects, "filter", broken)
    monkeypatch.setattr(Repository.objects, "all", broken)
    answer = client.get("/repositories/")
    assert answer.status_code == 500
    page = answer.content.decode()
    assert "./boathouse doctor" in page
    assert said not in page
    assert "<link" not in page


def test_nothing_is_kept_in_caches_and_nothing_runs_inline() -> None:
    client = Client()
    client.force_login(make_operator())
    for path in ("/", "/repositories/", "/search?q=a", "/password"):
        answer = client.get(path)
        assert "no-store" in answer["Cache-Control"]
        assert "HX-Request" in answer["Vary"]
        page = answer.content.decode()
        assert "style=" not in page
        assert " onclick" not in page
        assert "<script>" not in page
        assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_nor_is_what_is_downloaded_while_it_is_read() -> None:
    client = Client()
    client.force_login(make_operator(role=Role.ADMIN))
    answer = client.post("/activity/export", {"form": "csv"})
    assert answer.streaming
    assert "no-store" in answer["Cache-Control"]
