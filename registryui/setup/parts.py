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

`./boathouse restart` asks by files in run/restart/, NAME for each part. The socket of a new process
replaces that of the old one, which then ends what it has begun:

    start the new one ──► it listens ──► TERM to the old one ──► it drains, at most DRAIN_SECONDS
                      └─► it does not ──► NAME.failed; the old one goes on

So they listen at NAME.new, which is renamed: a program that ends removes the name it knows.

nginx does the same by itself, at HUP. What has no socket (worker) ends before it is started again.

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
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
DRAIN_SECONDS = 600  # for what a replaced registry or mirror service has begun: pulls, pushes
REPLACE_SECONDS = 30.0  # until a new process must listen
_RENAMED = (*sockets.REGISTRIES, "web")  # the others give their socket its name themselves
MOST_LINES = 10_000  # queued while the output blocks
LONGEST_LINE = 1_000_000
CONTROLS = {code: one for code, one in logs.CONTROLS.items() if code != ord("\n")}


def names(registry_port: int) -> tuple[str, ...]:
    """The parts, in the order of starting; registry_port 0: the registry is on sockets."""
    return (*sockets.registries(registry_port), "passwords", "mirror", "nginx", "web", "worker")


def commands(*, registry_port: int, hook_port: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name of each part to its command line and environment, in the order of starting."""
    ours = _python_environment(registry_port, hook_port)
    return {
        **{
            name: (
                registry_command(),
                registry_environment(name) | _replaceable(name, registry_port),
            )
            for name in sockets.registries(registry_port)
        },
        "passwords": (passwords_command(), dict(os.environ)),
        "mirror": (mirror_command(), dict(os.environ)),
        "nginx": (nginx_command(), dict(os.environ)),
        "web": (web_command(sockets.unnamed(sockets.web())), ours),
        "worker": (worker_command(), ours),
    }


def _replaceable(name: str, registry_port: int) -> dict[str, str]:
    """Variables by which a registry can be replaced while it is asked."""
    drain = {"REGISTRY_HTTP_DRAINTIMEOUT": f"{DRAIN_SECONDS}s"}
    if registry_port:
        return drain
    return {**drain, "REGISTRY_HTTP_ADDR": str(sockets.unnamed(sockets.registry(name)))}


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


def web_command(place: Path | None = None) -> list[str]:
    """The command line of gunicorn, which listens there instead of at its socket."""
    return [
        *(sys.executable, "-m", "gunicorn", "portal.wsgi"),
        *("--bind", f"unix:{place or sockets.web()}"),
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
    replaces: "_Part | None" = None  # the process that goes on until this one listens
    socket_before: tuple[int, int] = (0, 0)  # what the new process replaces
    kill_at: float = 0.0  # 0: never
    is_asked: bool = False  # it ends because it is restarted


class Parts:
    """Starts the parts and restarts those that end, until it is stopped. `failure` says why it gave
    up."""

    def __init__(self, lines: Lines) -> None:
        self.is_healthy = False
        self.is_ending = False
        self.failure = ""
        self._lines = lines
        self._parts: list[_Part] = []
        self._leaving: list[_Part] = []  # replaced processes that end
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
        for name in _requests():
            self._restart(name, now)
        for part in self._parts:
            if part.process is None:
                if now >= part.start_at:
                    self._start(part)
            elif _has_ended(part.process):
                self._bury(part, part.process)
                self._follow_end(part)
            elif part.replaces:
                self._replace(part, part.replaces, now)
            elif 0 < part.kill_at <= now:
                _signal_group(part.process.pid, signal.SIGKILL)
            if part.process:
                _take_place(part.name)
        for part in list(self._leaving):
            self._let_go(part, now)
        self._note_pids(now)

    # -- restarts --------------------------------------------------------------------------------
    def _restart(self, name: str, now: float) -> None:
        part = next((one for one in self._parts if one.name == name), None)
        if part is None or part.process is None:
            if part:
                part.start_at = now
            _answer(name)
        elif part.replaces is None and not part.is_asked:
            self._say(f"{name} is restarted")
            _signal_group(part.process.pid, signal.SIGCONT)  # a frozen one, too
            if name == "nginx":
                _signal(part.process.pid, signal.SIGHUP)
                _answer(name)
            elif (place := _socket(name)) is not None and place.is_socket():
                part.replaces, part.socket_before = self._set_aside(part), _identity(place)
                self._start(part)
            elif name in sockets.REGISTRIES:  # on a port: it listens no more, and drains
                self._dismiss(self._set_aside(part), now)
                part.start_at = now
                _answer(name)
            else:
                part.is_asked, part.kill_at = True, now + END_SECONDS
                _signal(part.process.pid, signal.SIGTERM)

    def _set_aside(self, part: _Part) -> _Part:
        """Its process as a part of its own; `part` has none then."""
        old = replace(part)
        with contextlib.suppress(KeyError):  # it has closed its output
            self._outputs.modify(old.output, selectors.EVENT_READ, old)
        part.process, part.output, part.rest, part.deaths = None, -1, b"", 0
        return old

    def _replace(self, part: _Part, old: _Part, now: float) -> None:
        """Looks whether the new process listens: then the old one may end."""
        place = _socket(part.name)
        if place is not None and _identity(place) not in ((0, 0), part.socket_before):
            part.replaces = None
            self._dismiss(old, now)
            _answer(part.name)
        elif now > part.began + REPLACE_SECONDS and part.process:
            _signal_group(part.process.pid, signal.SIGKILL)

    def _dismiss(self, old: _Part, now: float) -> None:
        is_slow = old.name in (*sockets.REGISTRIES, "mirror")
        old.kill_at = now + (DRAIN_SECONDS if is_slow else END_SECONDS)
        self._leaving.append(old)
        if old.process is None:
            return
        _leave_for(old.name)
        _signal(old.process.pid, signal.SIGUSR1 if old.name == "mirror" else signal.SIGTERM)

    def _let_go(self, old: _Part, now: float) -> None:
        """Looks after a replaced process until it has ended."""
        if old.process is None or _has_ended(old.process):
            if old.process:
                self._bury(old, old.process)
            self._leaving.remove(old)
        elif now >= old.kill_at:
            _signal_group(old.process.pid, signal.SIGKILL)

    def _follow_end(self, part: _Part) -> None:
        """What comes after the end of a process: another attempt, or what it was to replace."""
        if part.replaces:
            old, part.replaces = part.replaces, None
            part.process, part.output, part.rest = old.process, old.output, old.rest
            part.began = old.began
            with contextlib.suppress(KeyError):
                self._outputs.modify(part.output, selectors.EVENT_READ, part)
            self._say(f"{part.name} was not replaced: the new process ended")
            _answer(part.name, is_done=False)
        elif part.is_asked:
            part.is_asked, part.kill_at, part.deaths, part.start_at = False, 0.0, 0, 0.0
            _answer(part.name)
        else:
            self._count_death(part)

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
        if part.name == "web" and (left := sockets.unnamed(sockets.web())).is_file():
            left.unlink()
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
        known = [part.replaces or part for part in self._parts]
        pids = {part.name: part.process.pid for part in known if part.process}
        if now < self._note_at or (pids == self._noted and pids_file().exists()):
            return
        try:
            files.write(pids_file(), json.dumps(pids))
            self._noted = pids
        except OSError:  # a full disk: a second later there may be space
            self._note_at = now + 1

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for part in self._running():
                if part.process:
                    _leave_for(part.name)
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
        replaced = [part.replaces for part in self._parts if part.replaces]
        return [part for part in (*self._parts, *replaced, *self._leaving) if part.process]

    def _say(self, sentence: str) -> None:
        self._lines.write("up", sentence.encode())


def _given_up(name: str) -> tuple[str, ...]:
    """Options that drop the capability which `up` may have from root: only nginx needs it, and the
    worker, whose `nginx -t` opens the ports after a renewal."""
    return () if name in ("nginx", "worker") else ("--inh-caps=-all", "--ambient-caps=-all")


def pids_file() -> Path:
    """Where the process ids of the running parts are written, for `status`."""
    return Path(settings.RUN_DIR / "parts.json")


def restart_folder() -> Path:
    """Where `./boathouse restart` asks for a part, by a file with its name, which is removed when
    that is done; NAME.failed: the old process goes on."""
    return Path(settings.RUN_DIR / "restart")


def _requests() -> list[str]:
    try:
        return [one.name for one in os.scandir(restart_folder()) if "." not in one.name]
    except OSError:
        return []


def _answer(name: str, *, is_done: bool = True) -> None:
    file = restart_folder() / name
    with contextlib.suppress(OSError):
        if is_done:
            file.unlink(missing_ok=True)
        else:
            file.rename(file.with_name(f"{name}.failed"))


def _socket(name: str) -> Path | None:
    """Where that part listens, if it is a socket that a new process replaces."""
    if name in sockets.REGISTRIES:
        return sockets.registry(name)
    places = {"web": sockets.web, "mirror": sockets.mirror}
    places["passwords"] = configuration.passwords_socket
    return places[name]() if name in places else None


def _identity(place: Path) -> tuple[int, int]:
    """Changes when another process listens there; (0, 0): none does."""
    try:
        found = place.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _take_place(name: str) -> None:
    """Gives the socket at which that part has just begun to listen its name for others, in one
    step: there is no moment without one."""
    place = _socket(name)
    if name not in _RENAMED or place is None:
        return
    new = sockets.unnamed(place)
    if new.is_socket():
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.setblocking(False)
            probe.connect(str(new))
            new.rename(place)


def _leave_for(name: str) -> None:
    """gunicorn removes its socket by the name that it had at first, and fails if there is none."""
    if name == "web":
        with contextlib.suppress(OSError):
            sockets.unnamed(sockets.web()).touch()


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


def _signal(pid: int, number: int) -> None:
    # Not by Popen, which would wait for a dead one: `_has_ended` is to find it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _signal_group(pid: int, number: int) -> None:
    # Each part leads its own group, so that its workers go with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
