"""The lines of the parts, read back: by part, by time, over a rotation, as they come."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from registryui.setup import log_lines
from tests.support.waiting import until

OLD = """2026-02-03T04:00:00+0000 registry  | first
2026-02-03T04:01:00+0000 nginx     | second
"""
NEW = """2026-02-03T04:02:00+0000 registry  | third
not a line of a part
2026-02-03T04:03:00+0000 up        | registry started (process 7)
"""


@pytest.fixture
def log(tmp_path: Path, settings: Settings) -> Path:
    settings.LOG_DIR = tmp_path
    (tmp_path / "boathouse.log.20260203-040130").write_text(OLD)
    (tmp_path / "boathouse.log").write_text(NEW)
    return tmp_path / "boathouse.log"


def words(lines: list[log_lines.Line]) -> list[str]:
    return [one.words for one in lines]


def test_lines_are_found_by_part_and_time_over_a_rotation(log: Path) -> None:
    assert words(log_lines.read()) == ["first", "second", "third", "registry started (process 7)"]
    assert words(log_lines.read("registry")) == ["first", "third"]
    assert words(log_lines.read(count=1)) == ["registry started (process 7)"]
    since = datetime(2026, 2, 3, 4, 1, 30, tzinfo=UTC)
    assert words(log_lines.read(since=since)) == ["third", "registry started (process 7)"]


def test_pages_get_the_newest_lines_without_secrets(log: Path) -> None:
    with log.open("a") as file:
        for said in (
            "connect postgresql://boathouse:geheim@db/x",
            'header "Authorization: Basic Z2VoZWlt" sent',
            'PUT /v2/a/blobs/uploads/1?_state=geheim&digest=sha256:0 "x"',
        ):
            file.write(f"2026-02-03T04:05:00+0000 web       | {said}\n")
    shown = log_lines.last("web", 5)
    assert len(shown) == 3
    assert "geheim" not in "".join(shown)
    assert "Z2VoZWlt" not in "".join(shown)
    assert "&digest=sha256:0" in shown[2]
    assert log_lines.last("registry", 1) == ["third"]


def test_no_log_is_no_line(tmp_path: Path, settings: Settings) -> None:
    settings.LOG_DIR = tmp_path
    assert log_lines.last("web", 5) == []
    assert log_lines.read() == []


def test_new_lines_are_followed_over_a_rotation(log: Path) -> None:
    seen: list[str] = []

    def read() -> None:
        for line in log_lines.follow("web"):
            seen.append(line.words)
            if line.words == "three":
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def add(said: str) -> None:
        with log.open("a") as file:
            file.write(f"2026-02-03T04:06:00+0000 web       | {said}\n")

    until(lambda: add("one") or seen, "it follows")
    log.rename(log.with_name("boathouse.log.20260203-040700"))
    log.touch()
    add("three")
    reader.join(30)
    assert seen[-1] == "three"
