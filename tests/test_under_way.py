"""What was under way when its process was killed is known, and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from registryui.under_way import dead, forget, under_way

from .support.pushing import in_child


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.RUN_DIR = tmp_path / "run"
    return tmp_path / "run/under-way"


def test_what_lives_or_ended_is_not_dead() -> None:
    assert dead() == []
    with under_way("gc-1"):
        assert dead() == []
    with pytest.raises(ValueError, match="no"), under_way("gc-2"):
        raise ValueError("no")
    assert dead() == []


@pytest.mark.django_db
def test_what_was_killed_is_dead_until_it_is_taken_up() -> None:
    def killed() -> int:
        with under_way("delete-abc"):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_child(killed) == -signal.SIGKILL
    assert dead() == ["delete-abc"]
    forget("delete-abc")
    assert dead() == []


def test_a_disk_that_takes_no_file_ends_no_work(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    done = []
    with under_way("gc-1"):
        done.append(1)
    assert done == [1]
