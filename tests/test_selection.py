"""Which process gets which file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import ROOT

SHARES = """
import pytest

@pytest.fixture
def boathouse():
    pass

def test_that_passes(boathouse):
    pass
"""


@pytest.mark.parametrize("cache", [[], ["-p", "no:cacheprovider"]])
def test_files_are_spread_with_a_cache_of_pytest_and_without(
    cache: list[str], tmp_path: Path
) -> None:
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(SHARES)
    ours = ["-n1", "--dist", "loadfile", "-p", "no:django", "-p", "tests.selection", *cache]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *ours,
            "-c",
            os.devnull,
            f"--rootdir={tmp_path}",
            f"--basetemp={tmp_path / 'temporary'}",
            tmp_path,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_nothing_imports_from_a_test_module() -> None:
    """What several tests need is in tests/support."""
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    assert len(files) > 200
    of_tests = re.compile(r"^\s*(from|import) (tests|\.)\S*\btest_\w+", re.MULTILINE)
    assert [str(file) for file in files if of_tests.search(file.read_text())] == []
