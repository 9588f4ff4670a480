"""Which logs are turned over, and which of the old ones go."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from registryui.setup import rotation


@pytest.fixture
def logs(tmp_path: Path, settings: Any) -> Path:
    settings.LOG_DIR = settings.RUN_DIR = settings.CONFIG_DIR = tmp_path
    settings.LOG_BYTES, settings.LOG_DAYS = 2000, 30
    return tmp_path


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def test_one_that_is_big_is_turned_over_and_a_small_or_empty_one_is_not(logs: Path) -> None:
    log = logs / "boathouse.log"
    log.write_bytes(bytes(100))
    rotation.check()
    assert names(logs) == {"boathouse.log"}
    log.write_bytes(bytes(101))
    rotation.check()
    (old,) = names(logs)
    assert old.startswith("boathouse.log.2")
    log.touch()
    rotation.turn_over("boathouse.log")
    assert names(logs) == {old, "boathouse.log"}


def test_what_nginx_would_not_hear_of_stays(logs: Path) -> None:
    (logs / "access.json").write_bytes(bytes(500))
    (logs / "nginx.pid").write_text(f"{os.getpid()}\n")  # another program has its number
    rotation.check()
    assert names(logs) == {"access.json", "nginx.pid"}


def test_the_oldest_go_when_all_are_too_much_and_what_is_not_ours_stays(logs: Path) -> None:
    days = [f"202601{day:02}-031700" for day in range(1, 8)]
    for day in days[:6]:
        (logs / f"access.json.{day}").write_bytes(bytes(400))
    (logs / f"boathouse.log.{days[6]}").write_bytes(bytes(400))
    (logs / "access.json.1").write_bytes(bytes(5000))
    for name in rotation.NAMES:
        (logs / name).write_bytes(bytes(50))
    rotation.check()
    kept = {f"access.json.{day}" for day in days[3:6]} | {f"boathouse.log.{days[6]}"}
    assert names(logs) == kept | {"access.json.1", *rotation.NAMES}


def test_what_is_old_goes_but_never_what_may_still_be_written(logs: Path) -> None:
    old = time.time() - 31 * 86400
    for day in ("20260101-000000", "20260102-000000"):
        for name in rotation.NAMES:
            file = logs / f"{name}.{day}"
            file.write_bytes(b"x")
            os.utime(file, (old, old))
    (logs / "access.json").touch()
    rotation.check()
    assert names(logs) == {"access.json", "boathouse.log.20260102-000000"}
