"""Long-running jobs: their begin, heartbeat, stop, end and result.

    begin ─► `with Work(run, result)`: advance … note ─► done, stopped or failed, with its result

Each package has its own Result, and reads stored ones with it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import timedelta
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin, get_type_hints

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from registryui import audit
from registryui.models import AuditEvent, Run, here
from registryui.refused import Refused
from registryui.registry.errors import RegistryError

log = logging.getLogger(__name__)

STALE = timedelta(seconds=60)  # without a heartbeat for so long: the process has ended
BEAT = 10.0  # seconds between two heartbeats, also without progress
STEP = 0.5  # seconds between two writes of the progress
KEPT = 100  # kept runs of a kind
LOG_LINES = 1000
DIED = "Its process ended before it was done."

Progress = Callable[[Run], None]


class Stopped(Exception):
    """The run was stopped, or counted as dead and closed."""


@dataclass(slots=True)
class Result:
    """What a run has done so far: its fields are the keys of Run.result."""

    problem: str = ""  # why it did not complete, a sentence

    @classmethod
    def of(cls, run: Run) -> Self:
        """The result of that run. Another version may have written it: missing fields, or those of
        another type, get their default; unknown ones are left out."""
        found: Self = _filled(cls, run.result if isinstance(run.result, dict) else {})
        return found

    def facts(self) -> dict[str, Any]:
        """As the database returns it."""
        return dict(json.loads(json.dumps(asdict(self))))


R = TypeVar("R", bound=Result)


def begin(kind: Run.Kind, *, by: str, result: Result | None = None, total: int = 0) -> Run | None:
    """A new running Run, or None if one of this kind is running. A dead one is closed first."""
    now = timezone.now()
    Run.objects.filter(kind=kind, state=Run.State.RUNNING, heartbeat_at__lt=now - STALE).update(
        state=Run.State.FAILED, finished_at=now, log=DIED
    )
    facts = result.facts() if result else {}
    try:
        with transaction.atomic():
            return Run.objects.create(
                kind=kind, by=by, host=here(), heartbeat_at=now, result=facts, total=total
            )
    except IntegrityError:
        return None


def end(run: Run, state: Run.State, *lines: str, **changes: object) -> None:
    """Closes the run, with `changes` to its result; keeps the newest runs of its kind."""
    run.state, run.log, run.result = state, "\n".join(lines), {**run.result, **changes}
    run.finished_at = run.heartbeat_at = timezone.now()
    run.save()
    old = Run.objects.filter(kind=run.kind).order_by("-started_at").values_list("pk", flat=True)
    Run.objects.filter(pk__in=list(old[KEPT : KEPT * 2])).delete()
    log.info("%s %s by %s: %s", run.kind, run.state, run.by, run.result)


def close_dead(pk: int) -> None:
    """Closes that run, whose process is known to be gone."""
    run = Run.objects.filter(pk=pk, state=Run.State.RUNNING).first()
    if run is not None:
        end(run, Run.State.FAILED, DIED, problem=DIED)


def ask_to_stop(run: Run, *, by: str) -> None:
    """Asks the run to end at its next safe point."""
    Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(stop_asked_by=by[:255])


def is_alive(run: Run) -> bool:
    """Whether it is running, and its process is alive."""
    return run.state == Run.State.RUNNING and timezone.now() - run.heartbeat_at < STALE


def is_silent(run: Run) -> bool:
    """Whether it is marked as running, but without a heartbeat for too long."""
    return run.state == Run.State.RUNNING and not is_alive(run)


@dataclass(slots=True)
class Work(Generic[R]):
    """A run in progress, in a `with` block, which ends it in `state`: stopped by Stopped and
    Ctrl-C, failed by other exceptions. Stopped and `expected` are not raised further."""

    expected: ClassVar[tuple[type[Exception], ...]] = (RegistryError, Refused)

    run: Run
    result: R
    progress: Progress | None = None
    state: Run.State = Run.State.DONE
    must_go_on: bool = False  # a stop has to wait
    written_at: float = 0.0  # by the clock of time.monotonic
    lines: list[str] = field(default_factory=list)
    left_out: int = 0  # lines over LOG_LINES
    _is_over: threading.Event = field(default_factory=threading.Event)
    _heart: threading.Thread = field(init=False)

    def note(self, line: str) -> None:
        """Adds a line for people; those over the limit are counted."""
        if len(self.lines) < LOG_LINES:
            self.lines.append(line)
        else:
            self.left_out += 1

    def advance(self, done: int = 0, *, total: int | None = None, at_once: bool = False) -> None:
        """Adds to the progress; Stopped if it is to end. Checks every STEP seconds, or now."""
        self.run.done += done
        self.run.total = max(self.run.total if total is None else total, self.run.done)
        if not self.may_go_on(at_once=at_once):
            raise Stopped

    def may_go_on(self, *, at_once: bool = False) -> bool:
        """Writes the progress; False once it is to end. One query every STEP seconds, or now."""
        run, now = self.run, time.monotonic()
        if now - self.written_at < STEP and not at_once:
            return True
        self.written_at = now
        run.heartbeat_at, run.result = timezone.now(), self.result.facts()
        asked = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING)
        asked = asked if self.must_go_on else asked.filter(stop_asked_by="")
        names = ("heartbeat_at", "done", "total", "result")
        if not asked.update(**{name: getattr(run, name) for name in names}):
            run.refresh_from_db(fields=["stop_asked_by"])
            return False
        if self.progress is not None:
            self.progress(run)
        return True

    def finish(self) -> audit.Entry | None:
        """Completes the result before it is written; returns its row for the audit log, if any."""
        return None

    def entry(self, act: str, target: str, details: dict[str, Any]) -> audit.Entry:
        """That row, as the run ended."""
        is_well = self.state != Run.State.FAILED
        result = AuditEvent.Result.DONE if is_well else AuditEvent.Result.FAILED
        return audit.Entry(act, target, self.run.by, result, details)

    def __enter__(self) -> Self:
        self._heart = threading.Thread(target=self._beat, name=self.run.kind, daemon=True)
        self._heart.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _at: object) -> bool:
        is_expected = isinstance(error, (Stopped, *self.expected))
        if isinstance(error, (Stopped, KeyboardInterrupt)):
            self.state = Run.State.STOPPED
            self.note(f"Stopped by {_who(error, self.run)}.")
        elif error is not None:
            self.state = Run.State.FAILED
            words = " ".join(str(error).split())
            self.result.problem = words if is_expected else f"{type(error).__name__}: {words}"[:500]
            self.note(self.result.problem)
        try:
            entry = self.finish()
            self.run.result = self.result.facts()
            more = [f"and {self.left_out} more"] if self.left_out else []
            with transaction.atomic():
                end(self.run, self.state, *self.lines, *more)
                if entry:
                    audit.record_entries([entry])
        finally:
            self._is_over.set()
            self._heart.join()
        return is_expected

    def _beat(self) -> None:
        """The heartbeat: reading a repository may take a minute."""
        while not self._is_over.wait(BEAT):
            try:
                running = Run.objects.filter(pk=self.run.pk, state=Run.State.RUNNING)
                running.update(heartbeat_at=timezone.now())
            except DatabaseError as error:
                log.warning("%s: no heartbeat: %s", self.run.kind, error)
            finally:
                connection.close()


def _who(error: BaseException, run: Run) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    return run.stop_asked_by or "the next run, which took it for dead"


# -- reading a stored result -----------------------------------------------------------------------
_hints = cache(get_type_hints)


def _filled(kind: Any, facts: Mapping[str, Any]) -> Any:
    """That dataclass, from known fields of the right types."""
    found = {}
    for name, hint in _hints(kind).items():
        with suppress(KeyError, TypeError):
            found[name] = _read(facts[name], hint)
    return kind(**found)


def _read(value: Any, kind: Any) -> Any:
    """`value` as that type, of a list the valid items; TypeError if it is not. No number is below
    0."""
    if isinstance(value, (int, float)) and value < 0:
        raise TypeError
    if type(value) is kind:
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list and isinstance(value, list):
        found = []
        for one in value:
            with suppress(TypeError):
                found.append(_read(one, inner[0]))
        return found
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(map(_read, value, inner))
    if origin is dict and isinstance(value, dict):
        return value
    if is_dataclass(kind) and isinstance(value, dict):
        return _filled(kind, value)
    if type(value) not in (inner if origin is UnionType else (int,) if kind is float else ()):
        raise TypeError
    return value
