"""Pushes and deletes: from the registry's notifications and the audit log into the queue."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui import audit
from registryui.models import Delivery, Receiver
from registryui.notify import deliveries, events, receivers
from registryui.notify.receivers import Wanted

from .conftest import DIGEST, push

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
EVENTS = Wanted(
    "webhook", "https://h.example/", "", has_pushes=True, has_deletes=True, repositories="team/*"
)


@pytest.fixture
def chat() -> Receiver:
    return receivers.add("chat", EVENTS, by="tests")[0]


def subjects() -> list[str]:
    return list(Delivery.objects.order_by("id").values_list("subject", flat=True))


def test_pushes_of_tags_by_pattern_each_once(chat: Receiver) -> None:
    some = [
        push("team/app", replaced="sha256:" + "2" * 64),
        push("other/app"),
        push("team/app", ""),
        push("team/app", "2", action="pull"),
        push("team/app", "3", client="boathouse/0.6 act/x"),
    ]
    some[-1].actor = ""  # the portal's own
    events.queue_pushes(some)
    events.queue_pushes(some)  # another host had them, too
    assert subjects() == ["team/app:1.0"]
    event = json.loads(Delivery.objects.get().body)
    assert event["type"] == "boathouse.tag.pushed"
    assert event["data"] == {
        "repository": "team/app", "tag": "1.0", "digest": DIGEST,
        "replaced": "sha256:" + "2" * 64, "by": "ci", "address": "10.0.0.7",
        "media_type": "application/vnd.oci.image.manifest.v1+json",
    }  # fmt: skip


def test_pulls_cost_no_query(chat: Receiver) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        events.queue_pushes([push("team/app", action="pull")])
    assert len(queries) == 0


def test_deletes_from_the_audit_log_each_once(chat: Receiver) -> None:
    details = {"digest": DIGEST, "act": "x"}
    audit.record("tag.delete", "team/app:1.0", by="operator:ada", details=details)
    audit.record("tag.delete", "team/app:2", by="operator:ada", result="failed", details=details)
    audit.record("tag.delete", "other/app:1.0", by="operator:ada", details=details)
    audit.record("client.delete_manifest", f"team/app@{DIGEST}", by="ci", details=details)
    purge = {"tags": ["3", "4"]}
    audit.record("manifest.delete_for_good", f"team/app@{DIGEST}", by="policy x", details=purge)
    for _round in range(3):
        events.queue_deletes(list(Receiver.objects.all()))
    found = [json.loads(one.body)["data"] for one in Delivery.objects.order_by("id")]
    assert [(one["tag"], one["tags"], one["is_permanent"], one["by"]) for one in found] == [
        ("1.0", ["1.0"], False, "operator:ada"),
        (None, [], False, "ci"),
        (None, ["3", "4"], True, "policy x"),
    ]
    assert {one["digest"] for one in found} == {DIGEST}


def test_what_was_deleted_before_or_while_disabled_is_not_told(chat: Receiver) -> None:
    def delete() -> None:
        audit.record("tag.delete", "team/app:1.0", by="a", details={"digest": DIGEST})
        events.queue_deletes(list(Receiver.objects.filter(is_active=True)))

    receivers.set_active(chat, is_active=False, by="tests")
    delete()
    receivers.set_active(chat, is_active=True, by="tests")
    later = receivers.add("later", EVENTS, by="tests")[0]
    events.queue_deletes(list(Receiver.objects.all()))
    assert subjects() == []
    delete()
    assert subjects() == ["team/app:1.0"] * 2
    assert later.deliveries.count() == 1


def test_a_flood_is_bounded_and_counted(chat: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "MOST_A_MINUTE", 10)
    for start in range(0, 5000, 1000):
        events.queue_pushes([push("team/app", number=start + one) for one in range(1000)])
    chat.refresh_from_db()
    assert (chat.deliveries.count(), chat.omitted) == (10, 4990)
    deliveries.report_omitted(chat)
    assert chat.deliveries.count() == 10  # not in the same minute
    Delivery.objects.update(made_at=timezone.now() - timedelta(minutes=2))
    deliveries.report_omitted(chat)
    chat.refresh_from_db()
    assert chat.omitted == 0
    event = json.loads(Delivery.objects.get(kind="omitted").body)
    assert (event["type"], event["data"]) == ("boathouse.omitted", {"count": 4990})


def test_a_receiver_that_is_away_keeps_no_more_than_fits(
    chat: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST_WAITING", 3)
    events.queue_pushes([push("team/app", number=one) for one in range(10)])
    chat.refresh_from_db()
    assert (chat.deliveries.count(), chat.omitted) == (3, 7)


def test_the_log_is_bounded_by_days_and_rows(
    chat: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_DAYS = 30
    monkeypatch.setattr(deliveries, "KEPT", 4)
    events.queue_pushes([push("team/app", str(one)) for one in range(8)])
    days = timezone.now() - timedelta(days=31)
    Delivery.objects.filter(subject__in=["team/app:0", "team/app:1"]).update(made_at=days)
    Delivery.objects.exclude(subject="team/app:0").update(state=Delivery.State.SENT)
    deliveries.prune()
    assert subjects() == [f"team/app:{one}" for one in (0, 4, 5, 6, 7)]  # 0 still waits
