"""Which parts of this instance run, and whether they respond. Changes nothing."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
from django.conf import settings

from registryui import files, locks, sockets, tls

from . import configuration, ports, units

State = Literal["ok", "down"]
SECONDS = 3.0  # for one answer on loopback
PREPARE_SECONDS = 1800  # until `up` must start the parts: a migration of a huge index
START_SECONDS = 120  # until all of them must be healthy; a slow disk on a first start
CLAIM_SECONDS = 1.0  # for others that only check whether it is locked


@dataclass(frozen=True, slots=True)
class Running:
    """An instance that is up, as recorded at its start: its settings may differ from ours."""

    pid: int  # of `up`
    url: str
    registry_name: str
    address: str  # of the proxy on this machine
    port: int
    registry_port: int  # 0: on sockets
    certificate: str  # path of the certificate that nginx presents


@dataclass(frozen=True, slots=True)
class Part:
    """One part's health; `note` is its answer in a few words."""

    health: State
    pid: int  # 0 if it does not run
    note: str


def this_instance(chosen: dict[str, int]) -> Running:
    """What `running` will return for the instance that this process starts now."""
    first = ports.addresses()[0]
    address = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(first, first)  # noqa: S104
    return Running(
        pid=os.getpid(),
        url=settings.PUBLIC_URL,
        registry_name=settings.REGISTRY_NAME,
        address=address.strip("[]"),
        port=settings.PORT,
        registry_port=chosen["registry"],
        certificate=str(tls.server_certificate()),
    )


# -- is it up? -----------------------------------------------------------------------------------
def lock_file() -> Path:
    """Locked by `up` while it runs: the kernel leaves no stale lock after a crash."""
    return Path(settings.RUN_DIR / "up.lock")


@contextlib.contextmanager
def claim() -> Iterator[bool]:
    """True if this process is now the one `up` of this data folder; False if another one is."""
    with lock_file().open("a") as lock:
        try:
            locks.take(lock.fileno(), seconds=CLAIM_SECONDS)
        except TimeoutError:
            yield False
            return
        note_start(PREPARE_SECONDS)
        _record_file().unlink(missing_ok=True)  # of an `up` that was killed
        try:
            yield True
        finally:
            _record_file().unlink(missing_ok=True)


def is_claimed() -> bool:
    """True while an `up` of this data folder runs, also one that is still starting."""
    try:
        with lock_file().open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no such folder: never set up
    return False


def is_starting() -> bool:
    """True while an `up` of this data folder runs and has not yet reported all as healthy; with a
    time limit, because it may hang."""
    if not is_claimed() or running() is not None:
        return False
    with contextlib.suppress(OSError):
        return 0 < lock_file().stat().st_mtime - time.time() <= PREPARE_SECONDS
    return False


def note_start(seconds: float) -> None:
    """For `is_starting`: the start takes no longer than that from now. Needs no disk space."""
    until = time.time() + seconds
    os.utime(lock_file(), (until, until))


def holders(file: Path) -> list[psutil.Process]:
    """The processes that have that file open, also if it was deleted, as far as this user may see
    them."""
    wanted = {str(file.resolve()), f"{file.resolve()} (deleted)"}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            handles = Path(f"/proc/{process.pid}/fd")
            if process.pid != os.getpid() and any(
                str(one.readlink()) in wanted for one in handles.iterdir()
            ):
                found.append(process)
    return found


class Stuck(Exception):
    """Processes that do not end; the text names them."""


def end(processes: Sequence[psutil.Process], *, seconds: float) -> int:
    """Ends these: signals them, and kills them after so many seconds; their number.

    Raises Stuck if one does not end, psutil.AccessDenied if this user may not.
    """
    left = list(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                process.send_signal(signal.SIGCONT)  # or a frozen one would not get it
        deadline = time.monotonic() + seconds
        while (left := [one for one in left if _lives(one)]) and time.monotonic() < deadline:
            time.sleep(0.05)
    if left:
        raise Stuck(", ".join(f"{one.pid}" for one in left))
    return len(processes)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def record(running: Running) -> None:
    """Lets `status`, `down` and a second `up` know this instance."""
    files.write(_record_file(), json.dumps(asdict(running)), mode=0o644)


def running() -> Running | None:
    """The instance of this data folder; None if it does not run, or is still starting."""
    if not is_claimed():
        return None
    try:
        told = json.loads(_record_file().read_text())
        return Running(**{one.name: told[one.name] for one in fields(Running)})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _record_file() -> Path:
    return Path(settings.RUN_DIR / "up.json")


# -- does it answer? -----------------------------------------------------------------------------
def examine(instance: Running) -> dict[str, Part]:
    """The health of each part, asked now."""
    pids = _pids()
    registries = sockets.registries(instance.registry_port)
    asked: dict[str, Callable[[], str]] = {
        **{name: partial(registry_trouble, name, instance.registry_port) for name in registries},
        "passwords": passwords_trouble,
        "mirror": mirror_trouble,
        "nginx": lambda: _ask(_proxy(instance), "/v2/", 401),
        "web": lambda: _ask(sockets.Connection(sockets.web(), timeout=SECONDS), "/healthz", 200),
    }
    with ThreadPoolExecutor(len(asked)) as pool:  # several may hang
        answers = dict(zip(asked, pool.map(lambda ask: ask(), asked.values()), strict=True))
    if not any(pids.values()) and units.installed():
        pids = units.pids((*asked, "worker"))
    answers["worker"] = "" if _is_worker(pids.get("worker", 0)) else "is not running"
    if not answers["nginx"] and not answers["web"]:
        through = _ask(_proxy(instance), "/healthz", 200)
        answers["nginx"] = through and f"portal through it: {through}"
    return {
        name: Part(health="down" if trouble else "ok", pid=pids.get(name, 0), note=trouble)
        for name, trouble in answers.items()
    }


def registry_trouble(name: str, port: int) -> str:
    """ "" if that one of sockets.REGISTRIES answers, else the problem in a few words."""
    return _ask(sockets.to_registry(name, port, timeout=SECONDS), "/v2/", 200)


def passwords_trouble() -> str:
    """ "" if slow passwords are checked, else the problem in a few words."""
    place = configuration.passwords_socket()
    return _ask(sockets.Connection(place, timeout=SECONDS), "/healthz", 200)


def mirror_trouble() -> str:
    """ "" if the mirror service answers, else the problem in a few words."""
    return _ask(sockets.Connection(sockets.mirror(), timeout=SECONDS), "/healthz", 200)


def _proxy(instance: Running) -> http.client.HTTPConnection:
    # nginx must present the certificate in the file; its issuer does not matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the system's authorities
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with contextlib.suppress(OSError):
        context.load_verify_locations(instance.certificate)
    return http.client.HTTPSConnection(
        instance.address, instance.port, timeout=SECONDS, context=context
    )


def _ask(connection: http.client.HTTPConnection, path: str, expected: int) -> str:
    """ "" if `path` answers with that status, else the problem in a few words."""
    try:
        connection.request("GET", path, headers={"User-Agent": "boathouse-health"})
        status = connection.getresponse().status
    except TimeoutError:
        return f"no answer to {path} within {SECONDS:.0f} s"
    except (ConnectionRefusedError, FileNotFoundError):  # the latter of a socket
        return "does not listen"
    except (OSError, http.client.HTTPException) as trouble:
        return f"{path}: {trouble}"
    finally:
        connection.close()
    return "" if status == expected else f"{path} answers {status}, not {expected}"


def _pids() -> dict[str, int]:
    try:
        found = json.loads((settings.RUN_DIR / "parts.json").read_text())
        return {name: pid for name, pid in found.items() if psutil.pid_exists(pid)}
    except (OSError, ValueError, AttributeError):
        return {}


def changed_variables() -> list[str]:
    """Names of our variables that are set otherwise here than where the parts were started, sorted;
    [] if this user may not read that."""
    try:
        theirs = psutil.Process(_pids()["passwords"]).environ()  # as it was started
    except (KeyError, psutil.Error, OSError):
        return []
    names = {name for name in (*theirs, *os.environ) if name.startswith(_OURS)}
    names -= {"BOATHOUSE_CALLED_IN"}
    return sorted(name for name in names if theirs.get(name, "") != os.environ.get(name, ""))


_OURS = ("BOATHOUSE_", "DATABASE_URL")


def _is_worker(pid: int) -> bool:
    try:
        return bool(pid) and "run_huey" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
