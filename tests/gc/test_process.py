"""Garbage collection in a separate process. Only what it does there is replaced."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from registryui.gc import process
from tests.support.waiting import until

run_gc = process.run_gc  # the fixture for all tests replaces it
ROOT = Path(__file__).parents[2]
NOTE = """
import os, sys
def note(**asked):
    import json
    told = [os.getpid(), os.nice(0), asked]
    open({file!r} + ".new", "w").write(json.dumps(told))
    os.rename({file!r} + ".new", {file!r})
    {then}
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the process writes its id, its priority, and what it was asked for."""
    _replace(monkeypatch, tmp_path / "told")
    return tmp_path / "told"


def _program(file: Path, then: str = "") -> str:
    note = NOTE.format(file=str(file), then=then)
    return (
        f"{note}\nimport django; django.setup(); from registryui.gc import process as apart;"
        " apart.here = note; apart.main()"
    )


def _replace(monkeypatch: pytest.MonkeyPatch, file: Path, then: str = "") -> None:
    monkeypatch.setattr(process, "_PROGRAM", _program(file, then))


def test_pushes_and_pulls_have_a_higher_priority(told: Path) -> None:
    run_gc(by="operator:ada", dry_run=True)
    pid, nice, asked = json.loads(told.read_text())
    assert asked == {
        "by": "operator:ada",
        "dry_run": True,
        "purge_now": False,
        "review": False,
    }
    assert (pid != os.getpid(), nice) == (True, min(os.nice(0) + 10, 19))


def test_while_it_freezes_writes_it_hurries(told: Path) -> None:
    run_gc(by="operator:ada", purge_now=True)
    assert json.loads(told.read_text())[1] == os.nice(0)


def test_one_that_is_killed_is_said_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    _replace(monkeypatch, tmp_path / "told", "os.kill(os.getpid(), 9)")
    with caplog.at_level(logging.ERROR):
        run_gc(by="schedule")
    assert "ended by SIGKILL; the next run continues" in caplog.text


def test_it_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    file = tmp_path / "told"
    begin = (
        "import django; django.setup(); from registryui.gc import process as apart;"
        f"apart._PROGRAM = {_program(file, 'import time; time.sleep(600)')!r};"
        "apart.run_gc(by='schedule')"
    )
    parent = subprocess.Popen([sys.executable, "-c", begin], cwd=ROOT, env=_environment(tmp_path))
    until(file.exists, "it has begun")
    child = psutil.Process(json.loads(file.read_text())[0])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    child.wait(10)


def test_one_whose_beginner_is_gone_begins_nothing(tmp_path: Path) -> None:
    asked = json.dumps([2**30, {"by": "x", "dry_run": False, "purge_now": False}])
    program = _program(tmp_path / "told")
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=asked,
        text=True,
        cwd=ROOT,
        env=_environment(tmp_path),
        check=False,
    )
    assert (done.returncode, (tmp_path / "told").exists()) == (0, False)


def _environment(data: Path) -> dict[str, str]:
    return os.environ | {
        "BOATHOUSE_DATA": str(data),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
