"""A backup that is killed at random points, and run again: all is as if it had not been killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.selection import Extent
from tests.support.folders import open_folder
from tests.support.product import ROOT
from tests.support.stores import Small
from tests.support.waiting import LONGEST


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("killed-backup") as made:
        yield made


def _command(data: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(data.parent),
        "BOATHOUSE_DATA": str(data),
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _run(data: Path, *words: str) -> None:
    said, _none = (process := _command(data, *words)).communicate(timeout=LONGEST)
    assert process.returncode == 0, said.decode()


def _store(data: Path) -> dict[str, bytes]:
    root = data / "registry"
    return {
        str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()
    }


def test_killed_at_random_points_and_run_again(folder: Path, extent: Extent) -> None:
    chance = random.Random(19)
    data, to = folder / "data", folder / "to"
    for name in ("registry", "secrets", "run", "rights"):
        (data / name).mkdir(parents=True)
    (data / "htpasswd").touch()
    store = Small(data / "registry")
    _run(data, "migrate", "--verbosity=0")
    store.image("team/app", "0", layers=(os.urandom(100_000),))
    began = time.monotonic()
    _run(data, "backup", str(to))
    longest = time.monotonic() - began

    password = data / "secrets" / "backup-password"
    for number in range(extent(2, 50)):
        store.image("team/app", f"1.{number}", layers=(chance.randbytes(300_000),))
        process = _command(data, "backup", str(to))
        assert process.stdout is not None
        with process.stdout:
            try:
                process.wait(timeout=chance.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.wait(timeout=LONGEST)
        _run(data, "backup", str(to))
        new = folder / f"new-{number}"
        _run(data, "restore", str(to), f"--to={new}", f"--password-file={password}")
        assert _store(new) == _store(data), number
    _run(data, "backup", "verify", str(to))
    _run(data, "backup", "prune", str(to), "--keep=1", "--yes")
    _run(data, "restore", str(to), f"--to={folder / 'last'}", f"--password-file={password}")
    assert _store(folder / "last") == _store(data)
