"""The floor, the reserve and who gives it back; on a real full disk: e2e/test_full_disk.py."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from registryui import space

MEGABYTE = 1_000_000


@pytest.fixture
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.DATA, settings.RUN_DIR = tmp_path, tmp_path / "run"
    settings.STORE_DIR, settings.LOG_DIR = tmp_path / "store", tmp_path / "log"
    settings.FLOOR_BYTES, settings.RESERVE_BYTES = 10 * MEGABYTE, 4 * MEGABYTE
    space.gate().parent.mkdir(parents=True)
    monkeypatch.setattr(space, "_full_since", None)
    return tmp_path


def leave(monkeypatch: pytest.MonkeyPatch, megabytes: float, *, entries: int = 10**6) -> None:
    """A disk with so much left, whatever is made on it."""
    real = os.statvfs

    def told(path: Path) -> os.statvfs_result:
        found = list(real(path))
        found[1], found[4] = 1, int(megabytes * MEGABYTE)  # f_frsize, f_bavail
        found[5], found[7] = 10**7, entries  # f_files, f_favail
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", told)


def look(uploads: int = 0) -> tuple[bool, bool]:
    """Whether uploads are refused, and whether the reserve is there."""
    space.check(uploads=lambda: uploads)
    found = space.reserve().exists() and space.reserve().stat().st_size == 4 * MEGABYTE
    return space.gate().exists(), found


def test_the_gate_and_the_reserve_follow_the_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    for megabytes, wanted in (
        (50, (False, True)),
        (10.5, (False, True)),
        (9.9, (True, True)),
        (10.5, (True, True)),  # not open again at once
        (11.1, (False, True)),
        (0.9, (True, False)),  # given back
        (4.9, (True, False)),  # what was given back is no room for another one
        (8.1, (True, True)),
        (12, (False, True)),
    ):
        with subtests.test(megabytes=megabytes):
            leave(monkeypatch, megabytes)
            assert look() == wanted


def test_files_that_cannot_be_made_are_a_full_disk_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch, 50, entries=999)
    assert look() == (True, True)


def test_the_store_may_be_another_disk(folder: Path, settings: Any) -> None:
    settings.STORE_DIR = Path("/proc")  # has no room at all
    assert look() == (True, True)


def test_uploads_that_began_before_do_not_get_the_reserve(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look()
    leave(monkeypatch, 0)
    assert look(uploads=1) == (True, True)
    assert look(uploads=1) == (True, True)
    monkeypatch.setattr(space, "PATIENCE", 0)
    assert look(uploads=1) == (True, False)


def test_any_program_gives_it_back_when_it_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    look()
    assert not space.give_back()
    leave(monkeypatch, 0)
    assert space.give_back()
    assert (space.gate().exists(), space.reserve().exists()) == (True, False)
    assert not space.give_back()
    settings.DATA = folder / "nothing"
    assert not space.give_back()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_root_removes_and_makes_nothing_in_the_folder_of_another_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look()
    os.chown(space.reserve(), 65534, 65534)
    space.gate().symlink_to(folder / "elsewhere")
    leave(monkeypatch, 0)
    assert not space.give_back()
    assert not (folder / "elsewhere").exists()


def test_another_size_is_made_anew(folder: Path, settings: Any) -> None:
    space.reserve().write_bytes(b"half")
    assert look() == (False, True)
    settings.RESERVE_BYTES = 0
    space.check(uploads=lambda: 0)
    assert not space.reserve().exists()


def test_errors_of_a_full_disk_are_told_from_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    wrapped = RuntimeError("something")
    wrapped.__cause__ = OperationalError("database or disk is full")
    for error, is_of_it in (
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (wrapped, True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OperationalError("disk I/O error"), False),
        (OperationalError("no such table"), False),
    ):
        with subtests.test(error=repr(error)):
            assert bool(space.advice(error)) is is_of_it
    leave(monkeypatch, 0)
    assert "gc --purge-now" in space.advice(OperationalError("disk I/O error"))


def test_a_full_folder_for_temporary_files_is_not_taken_for_the_data_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/the/small/one")
    full = OperationalError("database or disk is full")
    assert "/the/small/one" in space.advice(full)
    leave(monkeypatch, 0)
    assert "gc --purge-now" in space.advice(full)
