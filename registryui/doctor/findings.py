"""A finding, and the stored rounds (Run rows of kind DOCTOR) that pages read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from registryui.models import Run, here

NAMES = (
    "registry",
    "proxy",
    "htpasswd",
    "certificate",
    "database",  # of SQLite only if something is wrong
    "hosts",  # only with several
    "events",
    "index",
    "store",
    "mirrors",  # only with an enabled one
    "disk",
    "clock",  # only if it jumped
    "gc",
    "quotas",  # only if one is used up, or nearly
    "retention",  # only if the last run of an active policy failed
    "backup",  # only if a place is set, or one was made
    "integrity",  # only if tags are damaged
    "audit log",  # only if it was changed
    "packages",  # only if a security update is pending
    "worker",
)
OLD_NAMES = {"front door": "proxy"}  # in rounds that an older version stored
STATES = ("ok", "warn", "bad")  # in order
SILENT = timedelta(minutes=3)  # a round runs each minute: after this the worker is down
KEPT = 100  # newest rounds
KEPT_DAYS = 30  # and the first round of each day, for "full in about N days"


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one part. `texts` makes sentences from code and params at display time."""

    name: str  # one of NAMES
    state: str  # one of STATES
    code: str  # what was found, see words.py
    params: Mapping[str, Any] = field(default_factory=dict)  # JSON values


def to_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as `from_json` takes them."""
    return [
        {"name": one.name, "state": one.state, "code": one.code, "params": dict(one.params)}
        for one in findings
    ]


def from_json(stored: Any) -> list[Finding]:
    """Findings of a stored round, in the order of NAMES; unknown ones are left out."""
    found = []
    for one in stored if isinstance(stored, list) else []:
        match one:
            case {
                "name": str(name),
                "state": str(state),
                "code": str(code),
                "params": dict(params),
            }:
                name = OLD_NAMES.get(name, name)
                if name in NAMES and state in STATES:
                    found.append(Finding(name, state, code, params))
    return sorted(found, key=lambda one: NAMES.index(one.name))


def worst(findings: Iterable[Finding]) -> str:
    """The overall state: that of the worst part."""
    return max((one.state for one in findings), key=STATES.index, default="ok")


def record(findings: Iterable[Finding], *, by: str = "schedule") -> Run | None:
    """Stores a round and deletes old ones. None if another round was being written.

    The worker calls it, so the finding about the worker is left out: `current` derives that one
    from the age of the round.
    """
    now = timezone.now()
    result = {"findings": to_json(one for one in findings if one.name != "worker")}
    try:
        with transaction.atomic():
            run = Run.objects.create(
                kind=Run.Kind.DOCTOR,
                host=here(),
                state=Run.State.DONE,
                by=by,
                heartbeat_at=now,
                finished_at=now,
                result=result,
            )
    except IntegrityError:
        return None
    _prune(now)
    return run


def latest() -> Run | None:
    """The newest stored round of this host."""
    rounds = Run.objects.filter(kind=Run.Kind.DOCTOR, state=Run.State.DONE, host=here())
    return rounds.order_by("-started_at").first()


def current(run: Run | None = None, *, now: datetime | None = None) -> list[Finding]:
    """What pages show: the newest round (or `run`), and the state of the worker by its age.

    One query; none with `run`.
    """
    run = run or latest()
    found = from_json(run.result.get("findings")) if run else []
    return [one for one in found if one.name != "worker"] + [worker(run, now=now)]


def history(*, length: int = 12) -> list[tuple[datetime, Finding]]:
    """Changes of the parts' states, newest first.

    From the rounds of the last hours and one of each day before. One query.
    """
    rounds = Run.objects.filter(kind=Run.Kind.DOCTOR, state=Run.State.DONE, host=here())
    rows = rounds.order_by("-started_at").values_list("started_at", "result")[: KEPT + KEPT_DAYS]
    before: dict[str, str] = {}
    changes: list[tuple[datetime, Finding]] = []
    for at, result in reversed(rows):
        for finding in from_json(result.get("findings")):
            if finding.name in before and before[finding.name] != finding.state:
                changes.append((at, finding))
            before[finding.name] = finding.state
    return changes[: -length - 1 : -1]


def worker(run: Run | None, *, now: datetime | None = None) -> Finding:
    """The finding about the worker, from its newest round."""
    if run is None or run.finished_at is None:
        return Finding("worker", "bad", "worker-never")
    params = {"at": run.finished_at.isoformat()}
    if (now or timezone.now()) - run.finished_at > SILENT:
        return Finding("worker", "bad", "worker-silent", params)
    return Finding("worker", "ok", "worker-ok", params)


def _prune(now: datetime) -> None:
    """Keep the newest rounds, and one of each day for the history of the disk."""
    rounds = Run.objects.filter(kind=Run.Kind.DOCTOR, host=here())
    rows = list(rounds.order_by("-started_at").values_list("pk", "started_at")[KEPT:])
    first_of_day: dict[Any, int] = {}
    for pk, started_at in rows:  # newest first: the last one written is the first of its day
        if now - started_at < timedelta(days=KEPT_DAYS):
            first_of_day[started_at.astimezone(UTC).date()] = pk
    old = {pk for pk, _ in rows} - set(first_of_day.values())
    if old:
        rounds.filter(pk__in=old).delete()
