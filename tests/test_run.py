"""What tests leave behind is said, ended and removed, whoever was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.run import DISK, PREFIX, ROOT, files_of

from .support.waiting import LONGEST, until

LEAVES = """
import os, pathlib, subprocess, sys, tempfile, time

def test_that_leaves_something():
    folder = tempfile.mkdtemp(prefix="left-")
    left = subprocess.Popen(["sleep", "600"], start_new_session=True)
    told = pathlib.Path(__file__).with_name("told")
    told.write_text(f"{left.pid} {folder}")
    told.rename(told.with_name("left"))
"""
KILLED = LEAVES + "    os.kill(os.getpid(), 9)\n"
WAITS = LEAVES + "    time.sleep(600)\n"
PASSES = "def test_that_passes():\n    pass\n"


def begin(folder: Path, text: str) -> subprocess.Popen[str]:
    """A run of that test alone, by no settings of ours, as in the background of a shell."""
    file = folder / "test_it.py"
    file.write_text(text)
    ours = ["-n0", "-p", "no:django", "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.run", *ours, f"--rootdir={folder}", str(file)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_ignore_interrupts,
    )


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def left(folder: Path) -> tuple[int, Path]:
    """The process and the folder that the test left."""
    pid, place = (folder / "left").read_text().split()
    return int(pid), Path(place)


@pytest.mark.parametrize("text", [LEAVES, KILLED])
def test_what_is_left_behind_is_said_and_makes_the_run_fail(tmp_path: Path, text: str) -> None:
    run = begin(tmp_path, text)
    said = run.communicate(timeout=LONGEST)[0]
    pid, folder = left(tmp_path)
    assert run.returncode != 0
    assert f"Left behind: process {pid}: sleep 600" in said
    assert f"Left behind: folder {folder}" in said
    assert not psutil.pid_exists(pid)
    assert not folder.parent.exists()


def test_what_a_run_leaves_that_was_killed_the_next_one_removes(tmp_path: Path) -> None:
    killed = begin(tmp_path, WAITS)
    until((tmp_path / "left").exists, "the test runs")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=LONGEST)
    pid, folder = left(tmp_path)
    following = begin(tmp_path, PASSES)
    assert "1 passed" in following.communicate(timeout=LONGEST)[0]
    assert following.returncode == 0
    until(lambda: not psutil.pid_exists(pid), "the process has ended")
    assert not folder.parent.exists()


def test_a_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    """Its lock may be a link to a file that matters."""
    if os.geteuid() != 0:
        pytest.skip("A folder of another user needs root.")
    kept = tmp_path / "kept"
    kept.write_text("what matters")
    theirs = Path(tempfile.mkdtemp(prefix=PREFIX, dir=DISK))
    try:
        (theirs / "lock").symlink_to(kept)
        os.chown(theirs, 65534, 65534)
        run = begin(tmp_path, PASSES)
        assert "1 passed" in run.communicate(timeout=LONGEST)[0]
        assert kept.read_text() == "what matters"
        assert (theirs / "lock").is_symlink()
    finally:
        shutil.rmtree(theirs)


def test_a_word_is_a_room() -> None:
    assert "tests/e2e/test_gc.py" in files_of("gc")
    assert {"tests/views/test_users.py", "tests/test_users_command.py"} <= {*files_of("users")}
    assert "tests/views/test_users.py" not in files_of("gc")
    assert files_of("no-such-room") == []
    assert len(files_of("")) == len([*(ROOT / "tests").rglob("test_*.py")])
