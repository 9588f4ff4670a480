"""The queue of jobs on a file that is damaged, gone or closed: put aside, and jobs go on."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from portal.jobs import JobStorage

from .support.folders import open_folder


def overwrite(path: Path) -> None:
    """With random bytes, in place: whoever has it open has them, too."""
    with path.open("r+b") as file:
        file.write(os.urandom(max(path.stat().st_size, 4096)))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_something_else(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE task (something TEXT)")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "random bytes": overwrite,
    "truncated": truncate,
    "empty": empty,
    "missing": Path.unlink,
    "a folder": replace_by_folder,
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A queue's file with jobs in it, closed by its last process."""
    place = tmp_path / "jobs.sqlite3"
    queue = opened(place)
    for number in range(200):
        queue.enqueue(b"job %d" % number)
    queue.close()
    yield place
    for left in tmp_path.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def opened(place: Path) -> Any:
    return JobStorage("boathouse", filename=str(place), fsync=False)


def test_a_file_that_cannot_be_used_is_put_aside_when_it_is_opened(
    path: Path, subtests: Any, caplog: pytest.LogCaptureFixture
) -> None:
    original = path.read_bytes()
    for name, damage in DAMAGES.items():
        with subtests.test(name):
            caplog.clear()
            damage(path)
            with closing(opened(path)) as queue:
                queue.flush_queue()
                queue.enqueue(b"new")
                assert queue.dequeue() == b"new"
            kept = sorted(path.parent.glob(f"{path.name}.damaged-*"))  # -shm and -wal behind it
            lines = [one.getMessage() for one in caplog.records]
            if name in ("empty", "missing"):
                assert (kept, lines) == ([], [])
            else:
                assert len(lines) == 1, lines
                assert "put aside as" in lines[0]
                assert str(kept[0]) in lines[0]
            for one in kept:
                shutil.rmtree(one) if one.is_dir() else one.unlink()
        path.write_bytes(original)


def test_every_process_follows_to_the_new_file(path: Path, subtests: Any) -> None:
    original = path.read_bytes()
    for name, damage in DAMAGES.items():
        with subtests.test(name), closing(opened(path)) as web, closing(opened(path)) as worker:
            for one in (web, worker):
                one.flush_queue()
                one.enqueue(b"before")
            damage(path)
            for number in range(3):
                web.enqueue(b"job %d" % number)
            got = taken(worker)
            # What was in it may be lost, what came after the damage is not.
            assert got[-3:] == [b"job 0", b"job 1", b"job 2"]
        for left in path.parent.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        path.write_bytes(original)


def taken(worker: Any) -> list[bytes]:
    """All that the worker gets; its loop tries again after an error."""
    got: list[bytes] = []
    for _ in range(300):
        try:
            job = worker.dequeue()
        except sqlite3.DatabaseError:
            continue
        if job is None:
            return got
        got.append(job)
    raise AssertionError("the worker does not come to an end")


def test_a_page_in_the_middle_that_is_damaged_is_met_later(path: Path) -> None:
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(4096))
    with closing(opened(path)) as queue:
        taken(queue)
        queue.enqueue(b"new")
        assert taken(queue)[-1:] == [b"new"]


def test_a_file_of_another_user_is_put_aside(path: Path) -> None:
    """What root left behind: the folder is ours, so it can be renamed."""
    if os.geteuid() != 0:
        pytest.skip("To have another user's file needs root.")
    nobody = 65534
    with open_folder("jobs") as folder:
        closed = folder / path.name
        shutil.copy(path, closed)
        closed.chmod(0o600)
        os.chown(folder, nobody, nobody)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setresuid(nobody, nobody, nobody)
                queue = opened(closed)
                queue.enqueue(b"new")
                code = 0 if queue.dequeue() == b"new" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert any(".damaged-" in one.name for one in folder.iterdir())


def test_a_file_that_is_only_busy_stays(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        queue = JobStorage("boathouse", filename=str(path), fsync=False, timeout=0.05)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            queue.enqueue(b"new")
        queue.close()
    assert not any(".damaged-" in one.name for one in path.parent.iterdir())


def test_a_folder_that_is_gone_stops_no_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        opened(tmp_path / "gone" / "jobs.sqlite3")
    assert "no job can be given to the worker" in caplog.text
