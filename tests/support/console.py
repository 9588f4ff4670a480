"""A process of one instance that has Django loaded, and runs a fork of itself for each command.

To start Python and Django takes most of a command; a test that waits for a row of `list` starts
them again and again. Only what the test has already typed once into ./boathouse is run here.
"""

from __future__ import annotations

import json
import os
import random
import socket
import socketserver
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parents[2]
# What commands import, which opens no connection to a database.
LOADED = ("registryui.tasks", "registryui.doctor", "registryui.index.search")


class Console:
    """`environment`: all of the variables of its commands."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.name = f"\0boathouse-console-{os.urandom(8).hex()}"  # abstract: no file, no modes
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.name[1:]],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def run(self, words: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Runs `./boathouse WORDS`; several may run at once."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(timeout)
            asked.connect(self.name)
            asked.sendall(json.dumps(list(words)).encode())
            asked.shutdown(socket.SHUT_WR)
            with asked.makefile("rb") as answer:
                code, out, error = json.loads(answer.read())
        return subprocess.CompletedProcess(list(words), code, out, error)

    def is_alive(self) -> bool:
        """Whether it can run another command."""
        return self._process.poll() is None

    def end(self) -> None:
        """Ends it; commands that run go on."""
        self._process.kill()
        self._process.communicate()


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 100


class _Command(socketserver.StreamRequestHandler):
    """In a fork."""

    def handle(self) -> None:
        words = json.loads(self.rfile.read())
        out, error = (os.memfd_create(name) for name in ("out", "error"))
        os.dup2(out, 1)
        os.dup2(error, 2)
        random.seed()
        code = _main(words)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        said = [_read(out), _read(error)]
        self.wfile.write(json.dumps([code, *said]).encode())


def _main(words: list[str]) -> int:
    from portal import manage

    sys.argv = [str(ROOT / "manage.py"), *(words[1:] if words[0] == "manage" else words)]
    try:
        manage.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _read(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb") as opened:
        return cast(bytes, opened.read()).decode(errors="replace")


def _serve(name: str) -> None:
    sys.path[0] = str(ROOT)  # this file's folder
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
    from registryui.setup import service_user

    service_user.leave_root(sys.argv[1:])  # this file again, as the user of the data folder
    os.umask(0o077)
    import django

    django.setup()
    for module in LOADED:
        import_module(module)
    with _Server(f"\0{name}", _Command) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1])
