"""A file that is put in place at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from registryui import files


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_is_as_given_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write(tmp_path / "open", b"1", mode=0o644)
        files.write(tmp_path / "closed", "2")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o600
    assert (tmp_path / "closed").read_text() == "2"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    files.write(tmp_path / "one", "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            files.write(tmp_path / "one", "new")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("one", "old")]


def test_the_file_is_on_the_disk_before_its_name_and_its_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, seen = tmp_path / "one", list[tuple[bool, bool]]()
    real = os.fsync

    def sync(handle: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), place.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    files.write(place, "new")
    assert seen == [(False, False), (True, True)]
