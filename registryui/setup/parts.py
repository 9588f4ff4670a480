"""The processes of one instance, started and supervised by `up`.

    up ── registry            each leads its own process group
       ├─ manifests, blobs    (the registry again, for writes; see registryui/sockets.py)
       ├─ passwords           (registryui/password_check)
       ├─ mirror              (registryui/mirror_service/)
       ├─ nginx ── workers
       ├─ web ── workers      (gunicorn)
       └─ worker              (huey)

A part that ends is restarted, because the proxy must outlive the portal; the start fails only if a
part keeps ending before all were healthy. Nothing else ends `up`: output that cannot be written is
lost.

If `up` is killed, the kernel signals the parts. Those that do not end (a frozen part) are found by
run/parts.lock, which they all inherit open: `down` and the next `up` end them.
"""

import collections
import contextlib
import fcntl
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from portal import logs
from registryui import files, sockets

from . import configuration, health
from .go_runtime import GO_RUNTIME

MOST_DEATHS = 5  # of one part while starting
LONGEST_PAUSE = 5.0  # seconds before a part is started again
STEADY = 30.0  # seconds a part must run for its failures to be forgotten
TURN = 0.1  # seconds between two checks of the parts, if they print nothing
END_SECONDS = 5.0  # until a part that was signalled is killed, and a killed one is given up
MOST_LINES = 10_000  # queued while the output blocks
LONGEST_LINE = 1_000_000
CONTROLS = {code: one for code, one in logs.CONTROLS.items() if code != ord("\n")}


def commands(*, registry_port: int, hook_port: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name of each part to its command line and environment, in the order of starting."""
    return {
        **{
            name: (registry_command(), registry_environment(name))
            for name in sockets.registries(registry_port)
        },
        "passwords": (passwords_command(), dict(os.environ)),
        "mirror": (mirror_command(), dict(os.environ)),
        "nginx": (nginx_command(), dict(os.environ)),
        "web": (web_command(), _python_environment(registry_port, hook_port)),
        "worker": (worker_command(), _python_environment(registry_port, hook_port)),
    }


def registry_command() -> list[str]:
    """The command line of the registry."""
    # Of a socket nginx's group, which the folder gives it, must be able to write.
    return [
        *("sh", "-c", 'umask 007; exec "$@"', "registry"),
        *(configuration.registry_program(), "serve", str(configuration.registry_file())),
    ]


def registry_environment(name: str) -> dict[str, str]:
    """Ours without variables that would change the registry's configuration or make its S3 driver
    panic; with the socket of that one of sockets.REGISTRIES."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("REGISTRY_") and name != "AWS_CA_BUNDLE"
    }
    return {**GO_RUNTIME, **kept, **registry_socket(name)}


def registry_socket(name: str) -> dict[str, str]:
    """The variables by which that one of sockets.REGISTRIES listens elsewhere than its
    configuration says."""
    if name == "registry":
        return {}
    own = {"REGISTRY_HTTP_ADDR": str(sockets.registry(name))}
    metrics = sockets.registry_metrics(name)
    return own | ({"REGISTRY_HTTP_DEBUG_ADDR": metrics} if metrics else {})


def passwords_command() -> list[str]:
    """The command line of the process that checks slow passwords."""
    files = (configuration.passwords_socket(), settings.HTPASSWD_FILE, settings.OVERLAP_FILE)
    return [sys.executable, "-m", "registryui.password_check", *map(str, files)]


def mirror_command() -> list[str]:
    """The command line of the service that fetches what mirrored repositories lack. It always runs:
    without mirrors it has 13 MB of memory and does nothing."""
    module = "registryui.mirror_service"
    return [sys.executable, "-m", module, str(configuration.mirror_file())]


def nginx_command() -> list[str]:
    """The command line of nginx; the configuration says `daemon off`."""
    return [configuration.nginx_program(), "-c", str(configuration.nginx_file())]


def web_command() -> list[str]:
    """The command line of gunicorn."""
    return [
        *(sys.executable, "-m", "gunicorn", "portal.wsgi"),
        *("--bind", f"unix:{sockets.web()}"),
        *("--worker-class", "gthread", "--workers", "2", "--threads", "4"),
        *("--timeout", "60", "--graceful-timeout", "3"),
        "--preload",  # Django is imported once; its pages of memory are shared
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


def _python_environment(registry_port: int, hook_port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "BOATHOUSE_REGISTRY_PORT": str(registry_port),
        "BOATHOUSE_HOOK_PORT": str(hook_port),
    }


class Lines:
    """Forwards the output of the parts, with time and name; keeps the last lines of each for the
    error of a failed start.

    A separate thread writes, so that a stopped terminal or a full disk only loses lines. If the
    output is `file`, and that was renamed (rotation.py), it is created again.
    """

    def __init__(
        self, output: int, *, redacted: Sequence[str] = (), file: Path | None = None
    ) -> None:
        self._output = output
        self._redacted = [secret.encode() for secret in redacted]
        # All outputs of this process that are the file, so that its own output follows, too.
        self._followers = [one for one in (1, 2) if file and _is_same(one, file)]
        self._file = file
        self._last: dict[str, collections.deque[str]] = {}
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MOST_LINES)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write_all, name="lines", daemon=True)
        self._writer.start()

    def write(self, name: str, data: bytes) -> None:
        """Lines of that part. Never waits."""
        for secret in self._redacted:  # a part may print its configuration when it fails
            data = data.replace(secret, b"[hidden]")
        text = data.decode("utf-8", "replace").removesuffix("\n")
        lines = text.translate(CONTROLS).split("\n")  # nginx prints untrusted names
        self._last.setdefault(name, collections.deque(maxlen=8)).extend(lines)
        for line in lines:
            try:
                text = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {name:<9} | {line}\n"
                self._waiting.put_nowait(text.encode("utf-8", "replace"))
            except queue.Full:
                self._dropped += 1

    def last(self, name: str) -> str:
        """The last lines of that part, one a line."""
        return "\n".join(self._last.get(name, ()))

    def close(self) -> None:
        """Waits shortly until all is written."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=1)
            self._writer.join(timeout=1)

    def _write_all(self) -> None:
        lost = 0
        while (line := self._waiting.get()) is not None:
            if missing := lost + self._dropped:
                line = b"... lines that could not be written: %d\n" % missing + line
            try:
                self._reopen()
                while line:
                    line = line[os.write(self._output, line) :]
                lost = self._dropped = 0
            except OSError:
                lost += 1

    def _reopen(self) -> None:
        if not self._followers or self._file is None or _is_same(self._output, self._file):
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        new = os.open(self._file, flags, 0o600)
        for one in self._followers:
            os.dup2(new, one)
        os.close(new)


def _is_same(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:
        return False


@dataclass(slots=True)
class _Part:
    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    output: int = -1  # what it prints is read here
    began: float = 0.0
    start_at: float = 0.0  # by time.monotonic: not before
    deaths: int = 0
    rest: bytes = field(default=b"")  # of a line that is not at its end


class Parts:
    """Starts the parts and restarts those that end, until it is stopped. `failure` says why it gave
    up."""

    def __init__(self, lines: Lines) -> None:
        self.is_healthy = False
        self.is_ending = False
        self.failure = ""
        self._lines = lines
        self._parts: list[_Part] = []
        self._outputs = selectors.DefaultSelector()
        self._lock = -1
        self._noted: dict[str, int] = {}
        self._note_at = 0.0

    def add(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Adds a part; it is started by `loop`."""
        self._parts.append(_Part(name, command, environment))

    def give_up(self, sentence: str) -> None:
        """Ends all parts; `failure` is the sentence."""
        self.failure = self.failure or sentence
        self.is_ending = True

    def loop(self) -> None:
        """Runs the parts until a signal or `give_up`; none is left then."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: setattr(self, "is_ending", True))
        self._lock = os.open(lock_file(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            while not self.is_ending:
                self._turn()
        finally:
            self._end()
            os.close(self._lock)

    def _turn(self) -> None:
        self._read()
        now = time.monotonic()
        for part in self._parts:
            if part.process is None:
                if now >= part.start_at:
                    self._start(part)
            elif _has_ended(part.process):
                self._bury(part, part.process)
                self._count_death(part)
        self._note_pids(now)

    def _read(self) -> None:
        for key, _events in self._outputs.select(TURN):
            self._read_one(key.data)

    def _read_one(self, part: _Part) -> bool:
        """Forwards its output; True if there may be more."""
        try:
            data = os.read(part.output, 65_536)
        except BlockingIOError:
            return False
        if not data:  # it has closed its output
            with contextlib.suppress(KeyError):
                self._outputs.unregister(part.output)
            return False
        lines, end, rest = (part.rest + data).rpartition(b"\n")
        part.rest = rest
        if len(rest) > LONGEST_LINE:
            lines, part.rest = lines + end + rest, b""
        if lines:
            self._lines.write(part.name, lines)
        return True

    def _start(self, part: _Part) -> None:
        part.began = time.monotonic()
        try:
            # setpriv: the part is signalled when this process is killed.
            part.process = subprocess.Popen(  # noqa: S603  (our own programs)
                ["setpriv", "--pdeathsig", "TERM", *_given_up(part.name), "--", *part.command],  # noqa: S607
                env=part.environment,
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(self._lock,),
            )
        except OSError as error:
            self._say(f"{part.name} cannot be started: {error}")
            self._count_death(part)
            return
        part.output = part.process.stdout.fileno() if part.process.stdout else -1
        os.set_blocking(part.output, False)
        self._outputs.register(part.output, selectors.EVENT_READ, part)
        self._say(f"{part.name} started (process {part.process.pid})")

    def _bury(self, part: _Part, process: subprocess.Popen[bytes]) -> None:
        """Ends what is left of a dead part's group, which may still use its port."""
        _signal_group(process.pid, signal.SIGKILL)  # before the wait: the id is its own
        with process:
            while self._read_one(part):
                pass
            with contextlib.suppress(KeyError):
                self._outputs.unregister(part.output)
        if part.rest:
            self._lines.write(part.name, part.rest)
            part.rest = b""
        part.process = None
        self._say(f"{part.name} ended ({process.returncode})")

    def _count_death(self, part: _Part) -> None:
        now = time.monotonic()
        part.deaths = 1 if now - part.began > STEADY else part.deaths + 1
        if not self.is_healthy and part.deaths >= MOST_DEATHS:
            self.give_up(
                f"{part.name} ended {MOST_DEATHS} times while starting; its last lines:\n"
                f"{self._lines.last(part.name)}"
            )
        part.start_at = now + min(LONGEST_PAUSE, 0.25 * 2 ** min(part.deaths, 10))

    def _note_pids(self, now: float) -> None:
        pids = {part.name: part.process.pid for part in self._parts if part.process}
        if now < self._note_at or (pids == self._noted and pids_file().exists()):
            return
        try:
            files.write(pids_file(), json.dumps(pids))
            self._noted = pids
        except OSError:  # a full disk: a second later there may be space
            self._note_at = now + 1

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for part in self._parts:
                if part.process:
                    _signal_group(part.process.pid, number)
            deadline = time.monotonic() + END_SECONDS
            while self._running() and time.monotonic() < deadline:
                self._read()
                for part in self._running():
                    if part.process and _has_ended(part.process):
                        self._bury(part, part.process)
        for part in self._running():
            self._say(f"{part.name} does not end: it waits for a disk or the network")
        self._lines.close()

    def _running(self) -> list[_Part]:
        return [part for part in self._parts if part.process]

    def _say(self, sentence: str) -> None:
        self._lines.write("up", sentence.encode())


def _given_up(name: str) -> tuple[str, ...]:
    """Options that drop the capability which `up` may have from root: only nginx needs it, and the
    worker, whose `nginx -t` opens the ports after a renewal."""
    return () if name in ("nginx", "worker") else ("--inh-caps=-all", "--ambient-caps=-all")


def pids_file() -> Path:
    """Where the process ids of the running parts are written, for `status`."""
    return Path(settings.RUN_DIR / "parts.json")


def lock_file() -> Path:
    """A file that every part has open, and nobody else."""
    return Path(settings.RUN_DIR / "parts.lock")


def end_left() -> int:
    """Ends the parts that an earlier `up` left running; the number of processes.

    Raises health.Stuck if some do not end.
    """
    try:
        with lock_file().open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0  # nobody has it open: no need to check all processes
    except OSError:
        pass
    return health.end(health.holders(lock_file()), seconds=END_SECONDS)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it is dead and not yet waited for, so that its process id is not reused."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(pid: int, number: int) -> None:
    # Each part leads its own group, so that its workers go with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
