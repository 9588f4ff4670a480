"""Sending what is queued: retries, receivers that are away, mail; with a real receiver and a real
mail server."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui.models import AuditEvent, Delivery, Receiver
from registryui.notify import deliveries, messages, receivers, sending
from registryui.notify.receivers import Wanted
from tests.support.receivers import Hook, MailServer
from tests.support.waiting import until

from .conftest import push

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat(receiver: Hook) -> Receiver:
    wanted = Wanted("webhook", receiver.url, has_pushes=True)
    return receivers.add("chat", wanted, by="tests")[0]


@pytest.fixture
def ops(mails: MailServer) -> Receiver:
    wanted = Wanted("mail", "ops@example.net duty@example.net", has_pushes=True)
    return receivers.add("ops", wanted, by="tests")[0]


def queue(receiver: Receiver, count: int = 1) -> None:
    deliveries.queue(receiver, [messages.test("operator:ada") for _one in range(count)])


def later(seconds: float) -> None:
    """As if so much time had passed."""
    for row in Delivery.objects.all():
        row.next_at -= timedelta(seconds=seconds)
        row.until -= timedelta(seconds=seconds)
        row.save()


def states() -> list[str]:
    return list(Delivery.objects.order_by("id").values_list("state", flat=True))


# -- webhooks --------------------------------------------------------------------------------------
def test_what_is_due_is_sent_once(chat: Receiver, receiver: Hook) -> None:
    queue(chat, 3)
    sending.send_due(chat.pk)
    sending.send_due(chat.pk)
    assert states() == ["sent"] * 3
    keys = list(Delivery.objects.order_by("id").values_list("key", flat=True))
    assert [headers["webhook-id"] for headers, _body in receiver.received] == keys
    (attempt,) = Delivery.objects.order_by("id")[0].attempts
    assert (attempt["status"], attempt["answer"]) == (200, "an answer of the receiver")


def test_a_failed_one_is_repeated_less_and_less_often_for_a_day(
    chat: Receiver, receiver: Hook
) -> None:
    receiver.status = 503
    queue(chat)
    pauses: list[int] = []
    for _number in range(30):
        sending.send_due(chat.pk)
        row = Delivery.objects.get()
        if row.state != Delivery.State.WAITING:
            break
        pauses.append(round((row.next_at - timezone.now()).total_seconds()))
        sending.send_due(chat.pk)  # not before its time
        later(pauses[-1] + 1)
    assert pauses[:8] == [5, 30, 120, 600, 1800, 3600, 7200, 7200]
    assert row.state == Delivery.State.FAILED
    assert 22 * 3600 < sum(pauses) < 24 * 3600
    assert len(receiver.received) == len(pauses) + 1 == len(row.attempts)
    assert len({headers["webhook-id"] for headers, _body in receiver.received}) == 1


def test_one_that_comes_through_is_done_and_can_be_sent_again(
    chat: Receiver, receiver: Hook
) -> None:
    receiver.status = 500
    queue(chat)
    sending.send_due(chat.pk)
    receiver.status = 204
    later(6)
    sending.send_due(chat.pk)
    assert states() == ["sent"]
    deliveries.send_again(Delivery.objects.get())
    sending.send_due(chat.pk)
    assert states() == ["sent"]
    assert [one["status"] for one in Delivery.objects.get().attempts] == [500, 204, 204]
    assert len({body for _headers, body in receiver.received}) == 1


def test_a_message_that_is_refused_does_not_stop_the_next(chat: Receiver, receiver: Hook) -> None:
    receiver.status = 400
    queue(chat, 3)
    sending.send_due(chat.pk)
    assert len(receiver.received) == 3


def test_a_receiver_that_is_away_is_asked_once_for_all(chat: Receiver) -> None:
    receivers.change(chat, Wanted("webhook", "http://127.0.0.1:1/"), by="tests")
    queue(chat, 3)
    sending.send_due(chat.pk)
    assert [len(row.attempts) for row in Delivery.objects.order_by("id")] == [1, 0, 0]
    assert not Delivery.objects.due(timezone.now()).exists()
    assert states() == ["waiting"] * 3


@pytest.mark.parametrize(("asked", "seconds"), [("90", 90), ("1", 5), ("999999", 7200)])
def test_a_busy_receiver_is_asked_again_when_it_says_within_bounds(
    chat: Receiver, receiver: Hook, asked: str, seconds: int
) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": asked}
    queue(chat, 3)
    sending.send_due(chat.pk)
    assert len(receiver.received) == 1  # the others wait as long
    for row in Delivery.objects.all():
        assert round((row.next_at - timezone.now()).total_seconds()) == seconds
    receiver.status = 200
    later(seconds + 1)
    sending.send_due(chat.pk)
    assert states() == ["sent"] * 3


def test_a_receiver_that_is_gone_is_disabled_and_the_log_says_why(
    chat: Receiver, receiver: Hook
) -> None:
    receiver.status = 410
    queue(chat, 3)
    sending.send_due(chat.pk)
    sending.send_due(chat.pk)
    assert len(receiver.received) == 1
    assert states() == ["failed", "waiting", "waiting"]
    chat.refresh_from_db()
    assert (chat.is_active, chat.is_gone) == (False, True)
    row = AuditEvent.objects.get(act="receiver.disable")
    assert (row.actor, row.target, row.details["reason"]) == ("schedule", "chat", "410 Gone")
    receivers.set_active(chat, is_active=True, by="tests")
    chat.refresh_from_db()
    assert (chat.is_active, chat.is_gone) == (True, False)
    sending.send_test(chat, by="operator:ada")
    assert AuditEvent.objects.filter(act="receiver.disable").count() == 2


def test_a_disabled_receiver_gets_nothing(chat: Receiver, receiver: Hook) -> None:
    queue(chat)
    receivers.set_active(chat, is_active=False, by="tests")
    sending.send_due(chat.pk)
    sending.follow()
    assert receiver.received == []


def test_a_test_is_sent_at_once_and_never_repeated(chat: Receiver, receiver: Hook) -> None:
    assert sending.send_test(chat, by="operator:ada").state == "sent"
    event = json.loads(receiver.received[0][1])
    assert (event["type"], event["data"]) == ("boathouse.test", {"by": "operator:ada"})
    receiver.status = 404
    row = sending.send_test(chat, by="operator:ada")
    assert (row.state, row.attempts[0]["error"]) == ("failed", "HTTP status 404")
    later(10**6)
    sending.send_due(chat.pk)
    assert len(receiver.received) == 2


def test_a_lost_key_is_said(chat: Receiver, receiver: Hook, settings: Any) -> None:
    settings.MIRROR_KEY_FILE.write_text("another")
    row = sending.send_test(chat, by="operator:ada")
    assert "cannot be decrypted" in row.attempts[0]["error"]
    assert receiver.received == []


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_hangs_keeps_up_no_other(receiver: Hook, settings: Any) -> None:
    from tests.support.receivers import hook

    with hook() as stuck:
        stuck.hangs = True
        first = receivers.add("a-stuck", Wanted("webhook", stuck.url), by="tests")[0]
        second = receivers.add("chat", Wanted("webhook", receiver.url), by="tests")[0]
        queue(first, 2)
        queue(second, 2)

        def is_so(ask: Callable[[], bool]) -> bool:
            """As each second: a thread that met a locked database has ended."""
            sending.follow()
            return ask()

        until(lambda: is_so(lambda: len(receiver.received) >= 2), "the other has its messages")
        until(lambda: is_so(lambda: len(stuck.received) == 1), "the one that hangs was asked once")
        stuck.hangs = False
        stuck.lifted.set()
        until(lambda: is_so(lambda: states() == ["sent"] * 4), "all are sent")
        until(lambda: not sending._busy, "the threads ended")


# -- mail ------------------------------------------------------------------------------------------
def test_messages_together_are_one_mail_in_the_language_of_the_receiver(
    ops: Receiver, mails: MailServer, settings: Any
) -> None:
    receivers.change(ops, Wanted("mail", language="zh-hans"), by="tests")
    queue(ops, 2)
    sending.send_due(ops.pk)
    assert states() == ["sent"] * 2
    (mail,) = mails.received
    assert mails.users == ["boathouse"]
    assert mail["To"] == "ops@example.net, duty@example.net"
    assert mail["From"] == settings.MAIL_FROM
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"].strip() == f"[{settings.REGISTRY_NAME}] 测试消息，以及另外 1 条"


def test_a_mail_names_conditions_before_pushes(ops: Receiver, mails: MailServer) -> None:
    from registryui.doctor import Finding

    failed = Finding("gc", "warn", "gc-failed", {"error": "no space", "at": "2026-12-01T10:00Z"})
    at = datetime.fromisoformat("2026-12-01T10:00:00+00:00")
    condition = messages.started(failed, host="h:8443", since=at, key="c")
    ended = messages.ended(failed, host="h:8443", since=at, key="d")
    deliveries.queue_events(ops, [messages.pushed(push("team/app", "1.0"))])
    sending.send_due(ops.pk)
    assert mails.received == []  # pushes of a minute are one mail
    deliveries.queue(ops, [condition, ended])
    sending.send_due(ops.pk)
    (mail,) = mails.received
    assert mail["Subject"].endswith(", and 2 more")
    text = mail.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert text.index("Garbage collection: The last run failed") < text.index("Ended: Garbage")
    assert text.index("Ended: Garbage collection") < text.index("Pushed team/app:1.0")
    assert "./boathouse gc continues where it ended" in text


def test_what_the_mail_server_refuses_is_said(
    ops: Receiver, mails: MailServer, settings: Any, subtests: pytest.Subtests
) -> None:
    with subtests.test("password"):
        settings.SMTP_PASSWORD = "wrong"
        error = sending.send_test(ops, by="a").attempts[0]["error"]
        assert error == "the mail server does not accept the user and password (535)"
    settings.SMTP_PASSWORD = "a secret of the server"
    with subtests.test("recipient"):
        mails.refuses = "550 no such mailbox"
        error = sending.send_test(ops, by="a").attempts[0]["error"]
        assert error == "the mail server answers 550 no such mailbox"
    with subtests.test("nobody there"):
        settings.SMTP_PORT = 1
        error = sending.send_test(ops, by="a").attempts[0]["error"]
        assert error == "Connection refused"
    with subtests.test("no server"):
        settings.SMTP_HOST = ""
        assert "BOATHOUSE_SMTP_HOST" in sending.send_test(ops, by="a").attempts[0]["error"]
    assert mails.received == []
