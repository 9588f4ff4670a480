"""From rounds of the doctor to one message at the beginning and one at the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registryui import hosts, tasks
from registryui.doctor import Finding
from registryui.models import Condition, Delivery
from registryui.notify import conditions, receivers
from registryui.notify.receivers import Wanted

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
FULL = Finding("disk", "bad", "disk-readonly", {"path": "/srv", "free": 1, "total": 2})
LOW = Finding("disk", "warn", "disk-readonly", {"path": "/srv", "free": 1, "total": 2})
FINE = Finding("disk", "ok", "disk-ok", {})


@pytest.fixture(autouse=True)
def chat() -> Any:
    return receivers.add("chat", Wanted("webhook", "https://h.example/"), by="tests")[0]


def queued() -> list[tuple[str, str]]:
    """Type without its beginning, and state, of all messages; oldest first."""
    bodies = [json.loads(one.body) for one in Delivery.objects.order_by("id")]
    return [(one["type"].rpartition(".")[2], one["data"]["state"]) for one in bodies]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ("f f f f", ""),
        ("b", ""),
        ("b f b f b f", ""),
        ("b b b b", "started:bad"),
        ("b b f", "started:bad"),
        ("b b f f f", "started:bad ended:ok"),
        ("b b f b f b", "started:bad"),
        ("w w b b w w", "started:warn started:bad"),
        ("w b w b", "started:bad"),
        ("b w b w", "started:warn"),
        ("b b f f b b", "started:bad ended:ok started:bad"),
    ],
)
def test_one_message_at_the_beginning_and_one_at_the_end(rounds: str, expected: str) -> None:
    for one in rounds.split():
        conditions.note([{"b": FULL, "w": LOW, "f": FINE}[one]])
    assert [f"{what}:{state}" for what, state in queued()] == expected.split()


def test_a_part_that_is_no_longer_named_is_well() -> None:
    broken = Finding("integrity", "bad", "integrity-broken", {"count": 3, "at": "2026-12-01"})
    for found in ([broken], [broken], [], []):
        conditions.note(found)
    assert queued() == [("started", "bad"), ("ended", "ok")]
    assert not Condition.objects.exists()


def test_a_message_says_what_a_page_says(settings: Any) -> None:
    failed = Finding("gc", "warn", "gc-failed", {"error": "no space", "at": "2026-12-01T10:00Z"})
    conditions.note([failed])
    conditions.note([failed])
    row = Delivery.objects.get()
    event = json.loads(row.body)
    since = Condition.objects.get().since.isoformat(timespec="seconds")
    assert event["data"] == {
        "component": "gc", "state": "warn", "code": "gc-failed", "title": "Garbage collection",
        "value": event["data"]["value"], "note": "no space",
        "advice": "./boathouse gc continues where it ended, and shows all errors.",
        "since": since, "host": hosts.name_here(), "url": f"{settings.PUBLIC_URL}/doctor",
    }  # fmt: skip
    assert {one: event[one] for one in ("specversion", "id", "source", "type", "subject")} == {
        "specversion": "1.0",
        "id": row.key,
        "source": settings.PUBLIC_URL,
        "type": "boathouse.condition.started",
        "subject": "gc",
    }


def test_a_receiver_chooses_from_where_and_in_which_language(chat: Any) -> None:
    wanted = Wanted("webhook", "https://h.example/", conditions="bad", language="zh-hans")
    errors = receivers.add("errors", wanted, by="tests")[0]
    receivers.add(
        "pushes", Wanted("webhook", "https://h.example/", "", has_pushes=True), by="tests"
    )
    receivers.set_active(
        receivers.add("off", Wanted("webhook", "https://h.example/"), by="tests")[0],
        is_active=False,
        by="tests",
    )
    for one in (LOW, LOW, FULL, FULL, LOW, LOW):
        conditions.note([one])
    by_name = [(one.receiver.name, json.loads(one.body)) for one in Delivery.objects.order_by("id")]
    assert [(name, one["type"].rpartition(".")[2]) for name, one in by_name] == [
        ("chat", "started"), ("chat", "started"), ("errors", "started"), ("errors", "ended"),
    ]  # fmt: skip
    assert by_name[2][1]["data"]["title"] == "磁盘"
    assert by_name[1][1]["id"] == by_name[2][1]["id"]  # the same event
    assert errors.pk != chat.pk


def test_nothing_is_said_while_the_database_is_away_nor_of_the_worker_itself() -> None:
    away = [Finding("database", "bad", "database-away", {}), FULL]
    silent = [Finding("worker", "bad", "worker-silent", {})]
    for found in (away, away, silent, silent):
        conditions.note(found)
    assert queued() == []


def test_of_several_hosts_one_speaks_for_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Finding("gc", "warn", "gc-failed", {"error": "x", "at": "2026-12-01T10:00Z"})
    for host, leads in (("a", False), ("b", True), ("a", False), ("b", True)):
        monkeypatch.setattr(conditions, "here", lambda host=host: host)
        monkeypatch.setattr(hosts, "leads", lambda leads=leads: leads)
        conditions.note([FULL, failed])
    rows = Condition.objects.order_by("host").values_list("host", "part")
    assert list(rows) == [("", "gc"), ("a", "disk"), ("b", "disk")]
    assert len(queued()) == 3


def test_each_round_of_the_worker_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.doctor, "examine", lambda: [FULL])
    monkeypatch.setattr(tasks.health, "is_starting", lambda: False)
    tasks.examine.call_local()
    tasks.examine.call_local()
    assert queued() == [("started", "bad")]
