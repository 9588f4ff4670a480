"""The worker's part: sends what is due, each receiver in a thread of its own.

    waiting ── 2xx ──► sent
       │ ├─ else ──► again after 5 s, 30 s, 2 min, 10 min, 30 min, 1 h, then every 2 h ──► failed
       │ └─ 410 ──► failed, and the receiver is disabled                                (24 h)
       └─ no answer, or a Retry-After: the receiver's other messages wait as long

A Retry-After (of 429 and 503) makes a pause longer, up to LAST_PAUSE, never shorter.

One host sends. A thread that hangs ends by itself (webhook.LONGEST), and keeps up only its own
receiver.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from registryui import hosts
from registryui.models import Delivery, Receiver
from registryui.refused import Refused

from . import deliveries, events, mail, messages, receivers, webhook
from .webhook import Attempt

log = logging.getLogger(__name__)

State = Delivery.State
PAUSES = (5, 30, 120, 600, 1800, 3600)  # seconds after each failed attempt
LAST_PAUSE = 7200
MOST_ATTEMPTS = 20  # that are kept in a row
BATCH = 100  # messages that a thread sends before it ends; of one mail
_busy: set[int] = set()
_lock = threading.Lock()


def follow() -> None:
    """Queues deletes, and starts a thread for each receiver that something is due for. Three
    queries; one without receivers."""
    active = list(Receiver.objects.filter(is_active=True))
    if not active or not hosts.leads():
        return
    events.queue_deletes(active)
    for receiver in active:
        deliveries.report_omitted(receiver)
    due = Delivery.objects.due(timezone.now()).order_by().values_list("receiver_id").distinct()
    pks = {one.pk for one in active}
    for (pk,) in due:
        with _lock:
            if pk not in pks or pk in _busy:
                continue
            _busy.add(pk)
        threading.Thread(target=_run, args=[pk], name=f"notify-{pk}", daemon=True).start()


def _run(pk: int) -> None:
    try:
        send_due(pk)
    except Exception as error:
        log.error("receiver %d: %s", pk, " ".join(str(error).split()) or type(error).__name__)
    finally:
        connection.close()
        with _lock:
            _busy.discard(pk)


def send_due(pk: int) -> None:
    """Sends what is due for that receiver, up to BATCH messages."""
    for _number in range(BATCH):
        receiver = Receiver.objects.filter(pk=pk, is_active=True).first()
        due = list(Delivery.objects.due(timezone.now()).filter(receiver=pk)[:1])
        if receiver is None or not due:
            return
        if receiver.kind == Receiver.Kind.MAIL:
            waiting = Delivery.objects.waiting().filter(receiver=pk)
            due = list(waiting.order_by("next_at", "id")[:BATCH])
        attempt = _attempt(receiver, due)
        for row in due:
            _note(row, attempt)
        if attempt.is_gone:
            receivers.disable_gone(receiver)
            return
        if not attempt.is_done and (attempt.retry_after or not attempt.status):
            _postpone(pk, due[0])
            return


def send_test(receiver: Receiver, *, by: str) -> Delivery:
    """Sends a test now, once; also to a disabled receiver. The row says what came of it. If the
    receiver is gone it is disabled, as by any message."""
    message = messages.test(by)
    row = Delivery.objects.create(
        receiver=receiver,
        key=message.key,
        kind=message.kind,
        subject="",
        body=message.body,
        state=State.FAILED,  # so that the worker does not send it, too
        made_at=timezone.now(),
    )
    attempt = _attempt(receiver, [row])
    _note(row, attempt)
    if attempt.is_gone:
        receivers.disable_gone(receiver)
    return row


def _attempt(receiver: Receiver, rows: Sequence[Delivery]) -> Attempt:
    """One for all of them: only mail takes several."""
    if receiver.kind == Receiver.Kind.MAIL:
        return mail.send(receiver, [row.body for row in rows])
    try:
        url, secret = receivers.url_and_secret(receiver)
    except Refused as error:
        return Attempt(0, 0, error=str(error))
    return webhook.send(url, secret, rows[0].key, rows[0].body)


def _note(row: Delivery, attempt: Attempt) -> None:
    """Writes down what came of an attempt, and when the next one is."""
    now = timezone.now()
    row.attempts = [
        *row.attempts[1 - MOST_ATTEMPTS :],
        {
            "at": now.isoformat(timespec="seconds"),
            "status": attempt.status,
            "ms": attempt.ms,
            "answer": attempt.answer,
            "error": attempt.error,
        },
    ]
    number = len(row.attempts) - 1
    pause = PAUSES[number] if number < len(PAUSES) else LAST_PAUSE
    pause = max(pause, min(attempt.retry_after, LAST_PAUSE))
    row.next_at = now + timedelta(seconds=pause)
    if attempt.is_done:
        row.state = State.SENT
    elif attempt.is_gone or row.next_at > row.until:
        row.state = State.FAILED
    row.save(update_fields=["attempts", "next_at", "state"])
    if not attempt.is_done:
        log.warning("%s to receiver %d: %s", row.key, row.receiver_id, attempt.error)


def _postpone(pk: int, row: Delivery) -> None:
    """The receiver does not answer or asks for a pause: its other messages wait as long."""
    waiting = Delivery.objects.waiting().filter(receiver=pk, until__gt=timezone.now())
    waiting.filter(next_at__lt=row.next_at).update(next_at=row.next_at)
