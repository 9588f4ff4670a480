"""What parts print is handed on whatever the output does, and no wait is without an end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pytest_django.fixtures import Settings

from registryui import locks, sockets
from registryui.setup import health
from registryui.setup.parts import MOST_LINES, Lines, Parts
from tests.support.waiting import until


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "log"
    full, good = os.open("/dev/full", os.O_WRONLY), os.open(place, os.O_WRONLY | os.O_CREAT)
    output = os.dup(full)
    lines = Lines(output)
    for number in range(3):
        lines.write("web", b"%d\n" % number)
    until(lambda: lines._waiting.empty(), "the writer took them")
    os.dup2(good, output)
    lines.write("web", b"again\n")
    lines.close()
    first, second = place.read_text().splitlines()
    assert first.startswith("... lines that could not be written: ")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} web", second)
    assert second.endswith("web       | again")
    assert lines.last("web") == "0\n1\n2\nagain"


def test_an_output_that_takes_nothing_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    lines = Lines(writer)
    for _ in range(MOST_LINES + 20_000):
        lines.write("web", b"x" * 100)
    lines.close()
    os.close(reader)


def test_a_renamed_log_is_made_anew_and_no_line_is_lost(tmp_path: Path) -> None:
    """With all the words of the process itself, which are no part's."""
    script = """
import sys
from pathlib import Path
import django
django.setup()
from registryui.setup.parts import Lines
log = Path(sys.argv[1])
lines = Lines(1, file=log)
for number in range(300):
    lines.write("web", b"%d" % number)
    if number % 100 == 50:
        while not lines._waiting.empty():
            pass
        log.rename(log.with_name(f"log.{number}"))
lines.close()
print("of its own", file=sys.stderr)
"""
    place = tmp_path / "log"
    with place.open("ab") as log:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
        command = [sys.executable, "-c", script, str(place)]
        subprocess.run(command, stdout=log, stderr=log, check=True, env=environment)
    text = "".join(one.read_text() for one in tmp_path.iterdir())
    numbers = [int(line.rpartition(" ")[2]) for line in text.splitlines() if "web" in line]
    assert sorted(numbers) == list(range(300))
    assert len(list(tmp_path.iterdir())) == 4
    assert place.read_text().endswith("of its own\n")


def test_a_secret_is_in_no_line(tmp_path: Path) -> None:
    place = tmp_path / "log"
    with place.open("wb") as output:
        lines = Lines(output.fileno(), redacted=["s3cret"])
        lines.write("registry", b"http: secret: s3cret\n")
        lines.close()
    assert "[hidden]" in place.read_text()
    assert "s3cret" not in place.read_text()


def test_what_strangers_typed_neither_ends_a_line_nor_moves_the_cursor(tmp_path: Path) -> None:
    """nginx prints the name of a wrong login as it came."""
    place = tmp_path / "log"
    with place.open("wb") as output:
        lines = Lines(output.fileno())
        lines.write("nginx", 'user "é\x1b[2J\r\x85\u2028\x0bforged" was not found\n'.encode())
        lines.close()
    said = place.read_bytes().decode()
    assert said.count("\n") == 1
    assert said.endswith('| user "é\\x1b[2J\\x0d\\x85\\x2028\\x0bforged" was not found\n')


HOLDS = """
import signal, sys, time
from registryui import locks
signal.signal(signal.SIGTERM, signal.SIG_IGN)
file = open(sys.argv[1], "a")
locks.take(file.fileno())
print("held", flush=True)
time.sleep(3600)
"""


def test_a_lock_is_not_waited_for_for_ever_and_its_holder_is_found_and_ended(
    tmp_path: Path,
) -> None:
    place = tmp_path / "folder" / "lock"
    place.parent.mkdir()
    (tmp_path / "link").symlink_to(place.parent)
    command = [sys.executable, "-c", HOLDS, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"held\n"
            process.send_signal(signal.SIGSTOP)
            with place.open("a") as lock, pytest.raises(TimeoutError, match="another process"):
                locks.take(lock.fileno(), seconds=0.1)
            (found,) = health.holders(tmp_path / "link" / "lock")
            place.unlink()
            assert health.holders(place) == [found] == [psutil.Process(process.pid)]
            assert health.end([found], seconds=0.2) == 1
        finally:
            process.kill()
    assert health.holders(place) == []


LISTENS = """
import signal, socket, sys, time
from pathlib import Path
place = Path(sys.argv[1])
new = place.with_name(place.name + ".new")
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(str(new))
    listening.listen()
    new.rename(place)
    time.sleep(3600)
"""


def listens(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(place)) == 0


def turn(manager: Parts, is_so: Callable[[], object], what: str) -> None:
    until(lambda: manager._turn() or is_so(), what)


def test_a_part_is_replaced_by_one_that_listens_and_only_then_ended(
    tmp_path: Path, settings: Settings
) -> None:
    settings.RUN_DIR, settings.SOCKETS_DIR = tmp_path, tmp_path
    (tmp_path / "restart").mkdir()
    place, request = sockets.mirror(), tmp_path / "restart" / "mirror"
    lines = Lines(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    manager = Parts(lines)
    manager._lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    manager.add("mirror", [sys.executable, "-c", LISTENS, str(place)], dict(os.environ))
    (part,) = manager._parts
    try:
        turn(manager, place.is_socket, "it listens")
        assert part.process
        first = part.process.pid
        request.touch()
        turn(manager, lambda: not request.exists(), "it is replaced")
        second = part.process.pid
        assert second != first
        turn(manager, lambda: not psutil.pid_exists(first), "the old process has ended")
        assert json.loads((tmp_path / "parts.json").read_text()) == {"mirror": second}

        os.kill(second, signal.SIGKILL)  # it dies before another one listens
        request.touch()
        turn(manager, lambda: not request.exists(), "it is replaced all the same")
        turn(manager, lambda: not manager._leaving and listens(place), "another one listens")
        second = part.process.pid

        part.command = ["false"]  # say, a configuration that it refuses
        request.touch()
        turn(manager, request.with_name("mirror.failed").exists, "it is not replaced")
        assert part.process.pid == second
        assert psutil.Process(second).status() != psutil.STATUS_ZOMBIE
        assert listens(place)
        assert json.loads((tmp_path / "parts.json").read_text()) == {"mirror": second}
    finally:
        manager._end()
    assert not psutil.pid_exists(second)


def test_a_frozen_part_without_a_socket_ends_and_is_started_again(
    tmp_path: Path, settings: Settings
) -> None:
    settings.RUN_DIR = settings.SOCKETS_DIR = tmp_path
    (tmp_path / "restart").mkdir()
    request = tmp_path / "restart" / "worker"
    manager = Parts(Lines(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)))
    manager._lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    manager.add("worker", ["sleep", "3600"], dict(os.environ))
    (part,) = manager._parts
    try:
        turn(manager, lambda: part.process, "it runs")
        assert part.process
        first = part.process.pid
        os.kill(first, signal.SIGSTOP)
        request.touch()
        turn(manager, lambda: not request.exists() and part.process, "it runs again")
        assert part.process.pid != first
        assert not psutil.pid_exists(first)
        (tmp_path / "restart" / "nobody").touch()
        turn(manager, lambda: True, "an unknown name")
    finally:
        manager._end()
