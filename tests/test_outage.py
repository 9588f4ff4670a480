"""What pages read of the state of the parts, and how rounds of the watcher become that state."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from registryui import outage
from registryui.setup import watching
from registryui.setup.health import Part

NOW = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
OK = Part("ok", 1, "")
BAD = Part("down", 1, "no answer to /v2/ within 3 s")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RUN_DIR = tmp_path
    monkeypatch.setattr(outage, "_kept", ((0, 0), outage.NOTHING))


def seen(name: str, *, is_down: bool) -> outage.Seen:
    return outage.Seen(name, is_down, NOW, "")


def test_nobody_watches_and_nothing_is_down() -> None:
    assert outage.down() == ()
    assert outage.token() == ""
    outage.file().write_text('{"parts": [["registry", true]]')
    assert outage.down() == ()


def test_a_part_is_down_until_the_file_says_otherwise() -> None:
    outage.write(outage.State((seen("registry", is_down=True), seen("web", is_down=False)), "up"))
    assert [one.name for one in outage.down()] == ["registry"]
    token = outage.token()
    assert token == f"registry-{NOW.timestamp():.0f}"
    outage.write(outage.State((seen("registry", is_down=False),), "up"))
    assert outage.token() == ""


def test_the_file_is_read_once_while_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = outage._read
    monkeypatch.setattr(outage, "_read", lambda: reads.append(1) or read())
    outage.write(outage.State((seen("registry", is_down=True),), "up"))
    for _ in range(5):
        assert outage.down()
    assert len(reads) == 1


def test_a_watcher_that_fell_silent_is_down_itself() -> None:
    outage.write(
        outage.State((seen("web", is_down=False), seen("worker", is_down=False)), "worker")
    )
    before = time.time() - outage.SILENT - 1
    os.utime(outage.file(), (before, before))
    (silent,) = outage.down()
    assert silent.name == "worker"
    assert abs(silent.since.timestamp() - before) < 1


def test_one_round_without_an_answer_is_not_an_outage() -> None:
    failed: dict[str, tuple[int, datetime]] = {}
    parts: dict[str, outage.Seen] = {}

    def round_of(part: Part, minute: int) -> outage.Seen:
        nonlocal parts
        parts = watching.follow(
            parts, failed, {"registry": part}, now=NOW + timedelta(minutes=minute)
        )
        return parts["registry"]

    assert not round_of(OK, 0).is_down
    assert not round_of(BAD, 1).is_down
    assert round_of(OK, 2).since == NOW  # nothing has happened
    assert not round_of(BAD, 3).is_down
    down = round_of(BAD, 4)
    assert (down.is_down, down.since) == (True, NOW + timedelta(minutes=3))
    assert down.note == BAD.note
    assert round_of(BAD, 5).since == down.since
    back = round_of(OK, 6)
    assert (back.is_down, back.since, back.note) == (False, NOW + timedelta(minutes=6), "")


def test_a_round_without_news_touches_the_file_and_writes_nothing() -> None:
    watch = watching.Watch("up")
    watch.note({"web": OK})
    os.utime(outage.file(), (1, 1))
    number = outage.file().stat().st_ino
    watch.note({"web": OK})
    found = outage.file().stat()
    assert found.st_ino == number
    assert time.time() - found.st_mtime < 60
    outage.file().unlink()
    watch.note({"web": OK})
    assert outage.file().exists()
