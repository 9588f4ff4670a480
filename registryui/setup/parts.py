"""The four programs of one instance, run in the foreground by honcho.

    up ── runner ── registry         a runner is honcho's: it starts one part and hands on its lines
       ├─ runner ── nginx ── workers
       ├─ runner ── web ── workers   (gunicorn)
       └─ runner ── worker           (huey)

honcho ends all when one ends. Here a part that dies is started again, because the front door must
outlive the portal; only a part that keeps dying before all were healthy ends the start. If `up` is
killed, the kernel ends the runners, and then the parts.
"""

import collections
import contextlib
import ctypes
import json
import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import psutil
from django.conf import settings
from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Process

from . import configuration
from .data import write_file
from .go_runtime import GO_RUNTIME

MOST_DEATHS = 5  # of one part while starting
LONGEST_PAUSE = 10.0  # seconds before a part is started again
STEADY = 30.0  # seconds a part must live for its deaths to be forgotten
PR_SET_PDEATHSIG = 1


def commands(*, registry_port: int, web_port: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name of each part to its command line and environment, in the order of starting."""
    return {
        "registry": (registry_command(), registry_environment()),
        "nginx": (nginx_command(), dict(os.environ)),
        "web": (web_command(web_port), _python_environment(registry_port, web_port)),
        "worker": (worker_command(), _python_environment(registry_port, web_port)),
    }


def registry_command() -> list[str]:
    """The command line of the registry."""
    return [configuration.registry_program(), "serve", str(configuration.registry_file())]


def registry_environment() -> dict[str, str]:
    """Ours without what would change the registry's configuration behind our back, and without what
    its S3 driver panics at."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("REGISTRY_") and name != "AWS_CA_BUNDLE"
    }
    return {**GO_RUNTIME, **kept}


def nginx_command() -> list[str]:
    """The command line of nginx; the configuration says `daemon off`."""
    return [configuration.nginx_program(), "-c", str(configuration.nginx_file())]


def web_command(port: int) -> list[str]:
    """The command line of gunicorn."""
    return [
        *(sys.executable, "-m", "gunicorn", "portal.wsgi"),
        *("--bind", f"127.0.0.1:{port}"),
        *("--worker-class", "gthread", "--workers", "2", "--threads", "4"),
        *("--timeout", "60", "--graceful-timeout", "3"),
        *("--limit-request-line", "8190"),  # the address of a list names the tags that are chosen
        *("--log-level", "warning", "--no-control-socket"),
    ]


def worker_command() -> list[str]:
    """The command line of the worker."""
    return [
        sys.executable,
        str(settings.BASE_DIR / "manage.py"),
        "run_huey",
        "--quiet",
        "--skip-checks",
    ]


def _python_environment(registry_port: int, web_port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "BOATHOUSE_REGISTRY_PORT": str(registry_port),
        "BOATHOUSE_WEB_PORT": str(web_port),
    }


class Lines(Printer):  # type: ignore[misc]  # honcho has no types
    """Prints the parts' lines; remembers the last of each for the sentence of a failed start."""

    def __init__(self, output: TextIO, *, hidden: tuple[str, ...] = ()) -> None:
        super().__init__(output)
        self._hidden = [secret.encode() for secret in hidden]
        self._last: dict[str, collections.deque[str]] = {}

    def write(self, message: Any) -> None:
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        for secret in self._hidden:  # a part may print its configuration when it fails
            data = data.replace(secret, b"[hidden]")
        kept = self._last.setdefault(message.name, collections.deque(maxlen=8))
        kept.extend(data.decode("utf-8", "replace").splitlines())
        super().write(message._replace(data=data))

    def last(self, name: str) -> str:
        """The last lines of that part, one a line."""
        return "\n".join(self._last.get(name, ()))


class _Part(Process):  # type: ignore[misc]
    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # In the runner: if `up` dies, even by kill -9, no part is left behind.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        super().run(events, ignore_signals)


class Parts(Manager):  # type: ignore[misc]
    """honcho's manager, which starts a part again that died. `failure` says why it gave up."""

    def __init__(self, lines: Lines, *, on_turn: Callable[["Parts"], None]) -> None:
        super().__init__(lines)
        self._process_ctor = _Part
        self._on_turn = on_turn
        self._lines = lines
        self._asked_to_end = 0
        self._deaths: dict[str, int] = collections.defaultdict(int)
        self._began: dict[str, float] = {}
        self._again_at: dict[str, float] = {}
        self._looked_at = 0.0
        self._written: dict[str, int] = {}
        self.is_healthy = False
        self.failure = ""

    def add(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Adds a part; it is started by `loop`."""
        # setpriv: the part ends when its runner does. exec: no shell stays between.
        guarded = ["setpriv", "--pdeathsig", "TERM", "--", *command]
        self.add_process(
            name, "exec " + shlex.join(guarded), env=environment, cwd=str(settings.BASE_DIR)
        )

    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run now."""
        return {
            name: part["pid"]
            for name, part in self._processes.items()
            if part.get("pid") and "returncode" not in part
        }

    def give_up(self, sentence: str) -> None:
        """Ends all parts; `failure` is the sentence."""
        self.failure = self.failure or sentence
        self._asked_to_end = self._asked_to_end or signal.SIGTERM

    # -- what honcho asks at every turn of its loop, ten times a second ----------------------------

    def _start(self) -> None:
        # honcho's own handlers print, which must not happen in the middle of another print.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_end)
        for name in self._processes:
            self._began[name] = time.monotonic()
        super()._start()

    def _ask_to_end(self, number: int, _frame: FrameType | None) -> None:
        self._asked_to_end = number

    def _all_started(self) -> bool:
        self._turn()
        return bool(self._terminating or super()._all_started())

    def _any_stopped(self) -> bool:
        return bool(self._terminating)  # a part that died is not the end of the others

    def _all_stopped(self) -> bool:
        return bool(self._terminating) and not any(
            "returncode" not in part and part["process"].is_alive()
            for part in self._processes.values()
        )

    def _turn(self) -> None:
        if self._asked_to_end and not self._terminating:
            self.terminate()
        now = time.monotonic()
        if now - self._looked_at < 0.05:
            return
        self._looked_at = now
        if self._terminating:
            self._killall()  # also a part whose start was under way when the end was asked for
            return
        self._note_pids()
        self._free_the_dead()
        for name, part in self._processes.items():
            if "returncode" in part:
                self._start_again(name, part, now)
        self._on_turn(self)

    def _killall(self, force: bool = False) -> None:
        number = signal.SIGKILL if force else signal.SIGTERM
        for part in self._processes.values():
            if part.get("pid") and "returncode" not in part and part.get("told") != number:
                part["told"] = number
                _signal_group(part["pid"], number)

    def _note_pids(self) -> None:
        pids = self.pids()
        if pids != self._written:
            self._written = pids
            write_file(pids_file(), json.dumps(pids).encode())

    def _free_the_dead(self) -> None:
        # A part whose children live on keeps its output open, and honcho waits for the end of that.
        for pid in self.pids().values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    _signal_group(pid, signal.SIGKILL)

    def _start_again(self, name: str, part: dict[str, Any], now: float) -> None:
        if name not in self._again_at:
            if now - self._began[name] > STEADY:
                self._deaths[name] = 0
            self._deaths[name] += 1
            if not self.is_healthy and self._deaths[name] >= MOST_DEATHS:
                self.give_up(
                    f"{name} ended {MOST_DEATHS} times while starting; its last lines:\n"
                    f"{self._lines.last(name)}"
                )
                return
            self._again_at[name] = now + min(LONGEST_PAUSE, 0.25 * 2 ** self._deaths[name])
        if now >= self._again_at[name]:
            del self._again_at[name], part["returncode"], part["pid"]
            part.pop("told", None)
            self.returncode = None
            self._began[name] = now
            part["process"] = multiprocessing.Process(
                name=name, target=part["obj"].run, args=(self.events, True)
            )
            part["process"].start()


def pids_file() -> Path:
    """Where the process ids of the running parts are written, for `status` and `down`."""
    return Path(settings.RUN_DIR / "parts.json")


def _signal_group(pid: int, number: int) -> None:
    # Each part leads its own group, so that its workers go with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
