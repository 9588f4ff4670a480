"""What is kept out of the log, and what is added to it."""

import logging
import sys
import time

import pytest
from django.db import OperationalError
from django.test import Client

from portal.logs import Line, Seldom
from registryui.models import Repository

from .support.factories import make_operator


def test_the_same_trouble_is_said_once_a_minute_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    seldom = Seldom()

    def passes(words: str) -> str:
        try:
            raise OSError("connection\nrefused")
        except OSError:
            record = logging.LogRecord("huey", logging.ERROR, "", 1, words, None, sys.exc_info())
        return logging.Formatter().format(record) if seldom.filter(record) else ""

    assert passes("Error reading") == "Error reading: connection refused"
    assert [passes("Error reading") for _ in range(100)] == [""] * 100
    assert passes("Something else")
    now[0] += 61
    assert passes("Error reading")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OperationalError("database\nis locked"),
            "[0123abc] Service Unavailable: /repositories/: OperationalError: database is locked",
        ),
        (ValueError("a bug"), "[0123abc] Internal Server Error: /repositories/\nTraceback"),
    ],
)
def test_each_5xx_is_in_the_log_with_its_reason_and_the_id_of_the_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(Repository.objects, "filter", fail)
    monkeypatch.setattr(Repository.objects, "all", fail)
    client = Client(raise_request_exception=False)
    client.force_login(make_operator())
    answer = client.get("/repositories/?q=secret", headers={"X-Request-ID": "0123abc"})
    assert answer.status_code >= 500
    (record,) = [one for one in caplog.records if one.name == "django.request"]
    line = Line().format(record)
    assert line.startswith(said)
    assert "registryui/views/catalogue/repositories.py" in line
    assert "secret" not in line.partition("Traceback")[0]


def test_what_strangers_typed_neither_ends_a_line_nor_moves_the_cursor() -> None:
    name = "vera\nINFO registryui operator ada logged in\r\x1b[2J\x9b\u2028"
    record = logging.LogRecord("a", logging.WARNING, "", 1, "log-in of %s failed", (name,), None)
    line = Line("%(levelname)s %(message)s").format(record)
    assert line == (
        r"WARNING log-in of vera\x0aINFO registryui operator ada logged in\x0d\x1b[2J\x9b\x2028"
        " failed"
    )
