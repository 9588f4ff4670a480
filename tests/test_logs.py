"""What is kept out of the log."""

import logging
import sys
import time

import pytest

from portal.logs import Seldom


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
