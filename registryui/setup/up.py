"""`up`: sets up an instance, or continues with an existing one, until the registry responds.

    refuse early ── claim ── keys, certificate, ports ── database, static files ── configuration
                                                                                        │
         report ── first operator and user ── all healthy ── registry, passwords, nginx, web, worker

Each step creates only what is missing, so an interrupted start continues with the next one.
"""

import contextlib
import http.client
import json
import logging
import os
import select
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
from django.db import DatabaseError, connection
from huey.contrib.djhuey import HUEY

from registryui import database_errors, hosts, proxy, space, tls, write_freeze
from registryui.deletion import guard_files
from registryui.mirrors import publish as mirror_files
from registryui.models import AuditEvent
from registryui.quotas import marks
from registryui.refused import Refused

from . import (
    configuration,
    data,
    first,
    health,
    keys,
    parts,
    ports,
    report,
    static,
    store,
    watching,
)

END_SECONDS = 15  # until the parts must have ended
Say = Callable[[str], None]
Facts = dict[str, Any]

log = logging.getLogger(__name__)


def up(*, say: Say, lines: TextIO, ready: Callable[[Facts, bool], None]) -> int:
    """Starts all parts and waits until they end; the exit code.

    `say` gets one sentence a step, `lines` the output of the parts, `ready` the facts (see
    report.py) once all is healthy, with True if another `up` was already running (then this returns
    at once). Raises Refused.
    """
    with _ended_by_signals(), _in_words():
        store.check()
        data.make()
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
        words = space.advice(trouble) or database_errors.sentence(trouble) or str(trouble)
        raise Refused(words) from trouble
    except OSError as trouble:
        if words := space.advice(trouble):
            raise Refused(words) from trouble
        place = trouble.filename2 or trouble.filename
        if not place:
            raise
        raise Refused(
            f"{place} cannot be used ({trouble.strerror}): give it to the user that runs "
            "./boathouse, or move it away, and try again."
        ) from trouble


def _start(*, say: Say, lines: TextIO, ready: Callable[[Facts, bool], None]) -> int:
    _end_left(say)
    ports.check_proxy()
    if warning := space.warning():
        say(f"Warning: {warning}")
    chosen = prepare(say=say)
    try:
        return _run(chosen.ports, say=say, lines=lines, ready=ready)
    finally:
        chosen.release()
        parts.pids_file().unlink(missing_ok=True)
        watching.forget()


def _end_left(say: Say) -> None:
    try:
        if count := parts.end_left():
            say(f"Ended {count} processes that an earlier up had left running.")
    except (health.Stuck, psutil.AccessDenied) as trouble:
        raise Refused(
            f"Processes of an earlier up are still there and do not end ({trouble}): end them as "
            "root, or restart the machine."
        ) from trouble


def prepare(*, say: Say) -> ports.Chosen:
    """Creates everything that the parts need; the ports, reserved for the caller."""
    configuration.registry_program()
    configuration.wanted_storage()
    configuration.nginx_program()
    for sentence in keys.make():
        say(sentence)
    _make_certificate(say)
    chosen = ports.choose()
    try:
        say("Preparing the database.")
        with hosts.alone():
            call_command("migrate", interactive=False, verbosity=0)
            if settings.IS_POSTGRESQL:
                HUEY.storage.initialize_schema()
        hosts.join()
        for sentence in store.sentences():
            say(sentence)
        _prepare_guard(say)
        _prepare_users()
        if static.gather():
            say("Made the typefaces and static files.")
        configuration.write(registry_port=chosen.ports["registry"], hook_port=chosen.ports["hook"])
        write_freeze.clear()
        with contextlib.suppress(OSError):  # the worker reports it
            space.check(uploads=lambda: 0)
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
    except OSError as trouble:
        raise Refused(
            f"The files of registry users cannot be written ({trouble}): give them to the user "
            "that runs ./boathouse, or run it as that user."
        ) from trouble


def _prepare_guard(say: Say) -> None:
    try:
        is_new = not AuditEvent.objects.exists()
        if count := guard_files.adopt_lost():
            say(f"The database is new: restored {count} protections of tags from the old one.")
        guard_files.write()
        marks.write()
        if is_new and (count := mirror_files.adopt_lost()):
            say(f"The database is new: restored {count} mirrors from the old one.")
        mirror_files.write()
    except OSError as trouble:
        raise Refused(
            f"The files of protections, quotas and mirrors cannot be written ({trouble}): give "
            f"{settings.DATA} to the user that runs ./boathouse, or run it as that user."
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
    secrets = [*(keys.read(name) for name in keys.NAMES), settings.STORAGE_SECRET]
    printer = parts.Lines(
        lines.fileno(), redacted=[secret for secret in secrets if secret], file=log_file()
    )
    manager = parts.Parts(printer)
    commands = parts.commands(registry_port=chosen["registry"], hook_port=chosen["hook"])
    for name, (command, environment) in commands.items():
        manager.add(name, command, environment)
    say(f"Starting {', '.join(commands)}.")
    health.note_start(health.START_SECONDS)
    _Watch(instance, manager, printer, ready).start()
    manager.loop()
    if manager.failure:
        raise Refused(manager.failure)
    return 0


class _Watch(threading.Thread):
    """Polls the parts until all are healthy, reports it, and watches them from then on, in a
    thread: the loop of the parts must not wait for answers, for the database or for the reader of
    the report."""

    def __init__(
        self,
        instance: health.Running,
        manager: parts.Parts,
        printer: parts.Lines,
        ready: Callable[[Facts, bool], None],
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._instance, self._manager = instance, manager
        self._printer, self._ready = printer, ready

    def run(self) -> None:
        end = time.monotonic() + health.START_SECONDS
        while not self._manager.is_ending:
            seen = health.examine(self._instance)
            slow = [name for name, part in seen.items() if part.health != "ok"]
            if not slow:
                self._tell(seen)
                break
            if time.monotonic() > end:
                self._manager.give_up(_slow(seen, self._printer.last(slow[0])))
                return
            time.sleep(0.1)
        watch = watching.Watch("up")
        while not self._manager.is_ending:
            with contextlib.suppress(OSError):  # a full disk: the next round may find space
                watch.note(health.examine(self._instance))
            time.sleep(watching.SECONDS)

    def _tell(self, seen: dict[str, health.Part]) -> None:
        try:
            facts = _facts(self._instance, seen)
        except Exception as error:  # whatever it is, the process that waits for this start is told
            log.exception("the first accounts")
            self._manager.give_up(
                space.advice(error) or f"The first accounts cannot be made: {error}"
            )
            return
        finally:
            connection.close()
        is_recorded = self._record()
        self._manager.is_healthy = True
        with contextlib.suppress(OSError):  # the reader has ended, or the disk is full
            self._ready(facts, False)
        while not is_recorded:
            time.sleep(1)
            is_recorded = self._record()

    def _record(self) -> bool:
        """Lets `status` know of this instance; False if there is no disk space for that yet."""
        try:
            health.record(self._instance)  # after the first accounts
        except OSError:
            return False
        return True


def _slow(seen: dict[str, health.Part], last_lines: str) -> str:
    missing = "; ".join(f"{name} {part.note}" for name, part in seen.items() if part.note)
    sentence = f"Not all parts were healthy within {health.START_SECONDS} seconds: {missing}."
    return f"{sentence} Last lines:\n{last_lines}" if last_lines else sentence


def _facts(instance: health.Running, seen: dict[str, health.Part]) -> Facts:
    user = first.registry_user()  # before the operator: with an operator, the doctor expects it
    return report.facts(instance, seen, first.operator(), user)


def _facts_of_the_other() -> Facts:
    """The facts of the `up` that was already running; waits for it if it is still starting."""
    while (found := health.running()) is None:
        if not health.is_claimed():
            raise Refused("Another ./boathouse up was starting here and ended: try again.")
        if not health.is_starting():
            raise Refused(
                "Another ./boathouse up is here and does not get ready: run ./boathouse down, then "
                "./boathouse up."
            )
        time.sleep(0.1)
    facts = facts_of(found)
    if changed := health.changed_variables():
        facts["warnings"].append(
            f"{', '.join(changed)}: not as when Boathouse was started. To apply what is set now: "
            "./boathouse down, then ./boathouse up."
        )
    return facts


def _show_new_certificate() -> None:
    """Reloads the running nginx if the certificate was replaced since its start."""
    wanted = tls.read_certificate(tls.server_certificate()).fingerprint.replace(":", "").lower()
    try:
        is_old = proxy.ask("/healthz", {}).fingerprint != wanted
    except ssl.SSLCertVerificationError:  # by another authority
        is_old = True
    except (OSError, ValueError, http.client.HTTPException):
        return  # `status` says what is wrong there
    if is_old:
        configuration.reload()


def facts_of(instance: health.Running) -> Facts:
    """The facts of an instance that is up; creates nothing. A database that cannot be read is one
    of them."""
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
    """SIGTERM and a closed terminal end the setup like Ctrl-C; later parts.py handles them."""

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
    """Starts a detached `up`; its facts once all is healthy, and True if one was already running.

    The facts come through a pipe, because they may contain secrets, which must not be logged.
    Raises Refused with the other's sentence if it fails.
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
        told = _answer(end)
    except BaseException:  # Ctrl-C while waiting: nothing is left behind
        _end_child(child)
        raise
    if not told:
        _end_child(child)
        raise Refused(f"The start ended without an answer; {log_file()} has its last words.")
    answer: dict[str, Any] = json.loads(told)
    if "error" in answer:
        raise Refused(str(answer["error"]))
    return answer["facts"], bool(answer["was_up"])


def _answer(handle: int) -> str:
    """The line from that pipe; "" if it was closed without one."""
    told, end = b"", time.monotonic() + health.PREPARE_SECONDS + health.START_SECONDS
    with os.fdopen(handle, "rb", buffering=0) as answers:
        while not told.endswith(b"\n"):
            readable, _, _ = select.select([answers], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                raise Refused(f"The start takes too long; {log_file()} has its last words.")
            piece = answers.read(65_536)
            if not piece:
                return ""
            told += piece
    return told.decode()


def _end_child(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(END_SECONDS)


def tell(handle: int, answer: dict[str, Any]) -> None:
    """The other end of `up_in_background`: one line of JSON; a parent that has ended is no
    error."""
    with contextlib.suppress(OSError), os.fdopen(handle, "w") as pipe:
        pipe.write(json.dumps(answer) + "\n")


# -- down ----------------------------------------------------------------------------------------
def down() -> bool:
    """Stops the `up` of this data folder, and what another one has left; False if there is neither.

    Works in any state: processes that hang are killed. Raises Refused if one cannot be ended.
    """
    ups = [one for one in health.holders(health.lock_file()) if _is_up(one)]
    if not ups and health.is_claimed():
        raise Refused("./boathouse up belongs to another user: end it as that user or root.")
    try:
        count = health.end(ups, seconds=END_SECONDS) + parts.end_left()
    except psutil.AccessDenied as refusal:
        raise Refused(
            f"./boathouse up (process {refusal.pid}) belongs to another user: end it as that user "
            "or root."
        ) from refusal
    except health.Stuck as stuck:
        raise Refused(
            f"These processes cannot be ended, not even killed: {stuck}. They wait for a disk or "
            "the network; if that does not come back, restart the machine."
        ) from stuck
    return count > 0


def _is_up(process: psutil.Process) -> bool:
    """Others, such as `status`, also have the file open for a moment."""
    try:
        return "up" in process.cmdline()
    except psutil.Error:
        return False
