"""`up`: from nothing, or from what the last one left, to a registry that answers.

    refuse early ── claim ── keys, certificate, ports ── database, static files ── configuration
                                                                                        │
         say it ── first operator and user ── all healthy ── registry, nginx, web, worker

Each step finds what is there and makes only what is missing, so a start that was cut off goes on
at the next one.
"""

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import psutil
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError
from huey.contrib.djhuey import HUEY

from registryui import database_errors, front_door, hold, hosts, tls
from registryui import refused as registryui_refused
from registryui.cleanup import guard_files

from . import configuration, data, first, health, keys, parts, ports, report, static
from .data import Refused

START_SECONDS = 120  # until all parts must be healthy; a slow disk on a first start
END_SECONDS = 15  # until the parts must have ended
Say = Callable[[str], None]
Facts = dict[str, Any]


def up(*, say: Say, lines: TextIO, ready: Callable[[Facts, bool], None]) -> int:
    """Starts all parts and stays until they end; the exit code.

    `say` gets one sentence a step, `lines` what the parts print, `ready` the facts (see report.py)
    once all is healthy, with True if another `up` was already there (then this returns at once).
    Raises Refused when it cannot be done.
    """
    with _ended_by_signals(), _in_words():
        data.make()
        os.umask(0o077)
        with health.claim() as is_ours:
            if not is_ours:
                facts = _facts_of_the_other()
                _show_new_certificate()
                ready(facts, True)
                return 0
            return _start(say=say, lines=lines, ready=ready)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """A database or a file that cannot be used is a sentence that says what to do."""
    try:
        yield
    except DatabaseError as trouble:
        raise Refused(database_errors.sentence(trouble) or str(trouble)) from trouble
    except OSError as trouble:
        place = trouble.filename2 or trouble.filename
        if not place:
            raise
        raise Refused(
            f"{place} cannot be used ({trouble.strerror}): give it to the user that runs "
            "./boathouse, or move it away, and try again."
        ) from trouble


def _start(*, say: Say, lines: TextIO, ready: Callable[[Facts, bool], None]) -> int:
    ports.check_front_door()
    chosen = prepare(say=say)
    try:
        return _run(chosen.ports, say=say, lines=lines, ready=ready)
    finally:
        chosen.release()
        parts.pids_file().unlink(missing_ok=True)


def prepare(*, say: Say) -> ports.Chosen:
    """Makes all that the parts need and is missing; the ports, held for the caller."""
    configuration.registry_program()
    configuration.wanted_storage()
    configuration.nginx_program()
    for sentence in keys.make():
        say(sentence)
    _make_certificate(say)
    chosen = ports.choose()
    try:
        say("Preparing the database.")
        try:
            with hosts.alone():
                call_command("migrate", interactive=False, verbosity=0)
                if settings.IS_POSTGRESQL:
                    HUEY.storage.initialize_schema()
            hosts.join()
        except registryui_refused.Refused as refusal:
            raise Refused(str(refusal)) from refusal
        _prepare_users()
        _prepare_guard()
        if static.collect():
            say("Made the typefaces and static files.")
        configuration.write(registry_port=chosen.ports["registry"], web_port=chosen.ports["web"])
        hold.clear()
    except BaseException:
        chosen.release()
        raise
    closed = data.closed_folder()
    if os.geteuid() == 0 and closed is not None:
        say(
            f"Warning: {data.NGINX_USER} cannot pass {closed}, so nginx's workers run as root; "
            "put BOATHOUSE_DATA where everybody may pass (chmod o+x), for example below /srv."
        )
    return chosen


def _prepare_users() -> None:
    if bool(settings.ANONYMOUS_PULL) != bool(settings.ANONYMOUS_PORT):
        raise Refused(
            "Pulling without a login needs both BOATHOUSE_ANONYMOUS_PULL (what, such as public/*) "
            "and BOATHOUSE_ANONYMOUS_PORT (where, such as 8444): set both or none."
        )
    try:
        first.prepare_files()
    except ValueError as bad:
        raise Refused(f"BOATHOUSE_ANONYMOUS_PULL: {bad}") from bad
    except OSError as trouble:
        raise Refused(
            f"The files of registry users cannot be made ready ({trouble}): give them to the user "
            "that runs ./boathouse, or run it as that user."
        ) from trouble


def _prepare_guard() -> None:
    try:
        guard_files.write()
    except OSError as trouble:
        raise Refused(
            f"The files of protections cannot be made ready ({trouble}): give "
            f"{guard_files.folder()} to the user that runs ./boathouse, or run it as that user."
        ) from trouble


def _make_certificate(say: Say) -> None:
    try:
        if settings.TLS_CERTIFICATE:
            tls.check_pair(tls.server_certificate(), tls.server_key())
        elif tls.ensure(settings.TLS_DIR, names=tls.wanted_names()):
            say("Made the server certificate.")
    except ValueError as trouble:
        raise Refused(str(trouble)) from trouble


def _run(
    chosen: dict[str, int], *, say: Say, lines: TextIO, ready: Callable[[Facts, bool], None]
) -> int:
    instance = health.this_instance(chosen)
    hidden = [*(keys.read(name) for name in keys.NAMES), settings.STORAGE_SECRET]
    printer = parts.Lines(lines, hidden=tuple(secret for secret in hidden if secret))
    watch = _Watch(instance)

    def on_turn(manager: parts.Parts) -> None:
        if manager.is_healthy or not watch.is_done.is_set():
            return
        slow = [name for name, part in watch.seen.items() if part.health != "ok"]
        if slow:
            manager.give_up(_slow(watch.seen, printer.last(slow[0])))
            return
        manager.is_healthy = True
        facts = _facts(instance, watch.seen)
        health.record(instance)  # after the first accounts: who waits for this finds them
        ready(facts, False)

    manager = parts.Parts(printer, on_turn=on_turn)
    commands = parts.commands(registry_port=chosen["registry"], web_port=chosen["web"])
    for name, (command, environment) in commands.items():
        manager.add(name, command, environment)
    say("Starting registry, nginx, web and worker.")
    watch.start()
    manager.loop()
    watch.is_done.set()
    if manager.failure:
        raise Refused(manager.failure)
    return 0


class _Watch(threading.Thread):
    """Asks the parts until all are healthy; honcho's loop must not wait for answers itself."""

    def __init__(self, instance: health.Running) -> None:
        super().__init__(daemon=True)
        self._instance = instance
        self.is_done = threading.Event()
        self.seen: dict[str, health.Part] = {}

    def run(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self.is_done.wait(0.1):
            self.seen = health.examine(self._instance)
            if all(part.health == "ok" for part in self.seen.values()):
                break
            if time.monotonic() > end:
                break
        self.is_done.set()


def _slow(seen: dict[str, health.Part], last_lines: str) -> str:
    missing = "; ".join(f"{name} {part.note}" for name, part in seen.items() if part.note)
    sentence = f"Not all parts were healthy within {START_SECONDS} seconds: {missing}."
    return f"{sentence} Last lines:\n{last_lines}" if last_lines else sentence


def _facts(instance: health.Running, seen: dict[str, health.Part]) -> Facts:
    user = first.registry_user()  # before the operator: with an operator, the doctor looks for it
    return report.facts(instance, seen, first.operator(), user)


def _facts_of_the_other() -> Facts:
    """The facts of the `up` that was there before; waits for it if it is still starting."""
    end = time.monotonic() + START_SECONDS
    while (found := health.running()) is None:
        if not health.is_claimed():
            raise Refused("Another ./boathouse up was starting here and ended: try again.")
        if time.monotonic() > end:
            raise Refused("Another ./boathouse up is starting here and does not get ready.")
        time.sleep(0.1)
    return facts_of(found)


def _show_new_certificate() -> None:
    """Lets the nginx that runs read a certificate that was replaced since its start."""
    wanted = tls.read_certificate(tls.server_certificate()).fingerprint.replace(":", "").lower()
    try:
        is_old = front_door.ask("/healthz", {}).fingerprint != wanted
    except ssl.SSLCertVerificationError:  # by another authority
        is_old = True
    except (OSError, ValueError, http.client.HTTPException):
        return  # `status` says what is wrong there
    if is_old:
        configuration.reload()


def facts_of(instance: health.Running) -> Facts:
    """The facts of an instance that is up, without making anything. A database that cannot be read
    is one of them."""
    seen = health.examine(instance)
    operator = user = first.Account("", "")
    try:
        operator, user = first.known_operator(), first.known_registry_user()
    except DatabaseError as trouble:
        note = database_errors.sentence(trouble) or str(trouble)
        seen["database"] = health.Part(health="down", pid=0, note=note)
    return report.facts(instance, seen, operator, user)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end the set-up like Ctrl-C; honcho takes over while it runs."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- in the background ---------------------------------------------------------------------------
def log_file() -> Path:
    """Where `up --background` writes what the foreground prints."""
    return Path(settings.LOG_DIR / "boathouse.log")


def up_in_background() -> tuple[Facts, bool]:
    """Starts a detached `up`; its facts once all is healthy, and True if one was there before.

    The facts come through a pipe, because they may hold secrets that belong in no log. Raises
    Refused with the other's sentence if it fails.
    """
    with _ended_by_signals(), _in_words():
        return _start_detached()


def _start_detached() -> tuple[Facts, bool]:
    data.make()
    log = log_file().open("ab")
    end, other_end = os.pipe()
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", f"--tell={other_end}"]
    with log:
        child = subprocess.Popen(  # noqa: S603  (our own program)
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(other_end,),
        )
    os.close(other_end)
    try:
        with os.fdopen(end) as answers:
            told = answers.readline()
    except BaseException:  # Ctrl-C while waiting: nothing is left behind
        child.terminate()
        child.wait()
        raise
    if not told:
        child.wait()
        raise Refused(f"The start ended without an answer; {log_file()} has its last words.")
    answer: dict[str, Any] = json.loads(told)
    if "error" in answer:
        raise Refused(str(answer["error"]))
    return answer["facts"], bool(answer["was_up"])


def tell(handle: int, answer: dict[str, Any]) -> None:
    """The other end of `up_in_background`: one line of JSON; a parent that left is no error."""
    with contextlib.suppress(OSError), os.fdopen(handle, "w") as pipe:
        pipe.write(json.dumps(answer) + "\n")


# -- down ----------------------------------------------------------------------------------------
def down() -> bool:
    """Ends the `up` of this data folder and waits for it; False if none runs.

    Raises Refused if it may not or cannot end it.
    """
    pid = _up_pid()
    if pid == 0:
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError as refusal:
        raise Refused(
            f"./boathouse up (process {pid}) belongs to another user: end it as that user or root."
        ) from refusal
    end = time.monotonic() + END_SECONDS
    while health.is_claimed():
        if time.monotonic() > end:
            raise Refused(f"./boathouse up (process {pid}) does not end: look at it, then kill it.")
        time.sleep(0.05)
    return True


def _up_pid() -> int:
    """The process that holds the lock of this data folder; 0 if none does."""
    if not health.is_claimed():
        return 0
    found = health.running()
    if found is not None:
        return found.pid
    # Still starting: the kernel knows who has the lock file open.
    wanted = str(health.lock_file())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path == wanted for file in process.open_files()) and (
                process.pid != os.getpid() and "up" in process.cmdline()
            ):
                return int(process.pid)
    raise Refused("An up is starting here, but cannot be seen from here: try again in a moment.")
