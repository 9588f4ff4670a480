"""The queue and its log: a row for each message and receiver.

Of a receiver wait at most MOST_WAITING messages, and at most MOST_A_MINUTE pushes and deletes are
queued in a minute; what is more is counted and reported as one number. Conditions are few and
always queued.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, F, Q
from django.utils import timezone

from registryui.models import Delivery, Receiver

from . import messages
from .messages import Message

MOST_WAITING = 1000
MOST_A_MINUTE = 100
KEPT = 1000  # newest rows of a receiver
GIVEN_UP = timedelta(hours=24)  # after the first attempt, or after it was asked for again
TOGETHER = timedelta(minutes=1)  # pushes and deletes of so long are one mail
_EVENTS = (Delivery.Kind.PUSH, Delivery.Kind.DELETE)


def queue(receiver: Receiver, some: Iterable[Message]) -> None:
    """Queues these messages, whatever waits already. One with a known key is not queued again."""
    _create(receiver, list(some), wait=timedelta(0))


def queue_events(receiver: Receiver, some: Sequence[Message]) -> None:
    """Queues pushes or deletes, as far as there is room; the rest is counted."""
    known = receiver.deliveries.filter(key__in=[one.key for one in some])
    keys = set(known.values_list("key", flat=True))
    fresh = [one for one in some if one.key not in keys]
    room = _room(receiver)
    is_mail = receiver.kind == Receiver.Kind.MAIL
    _create(receiver, fresh[:room], wait=TOGETHER if is_mail else timedelta(0))
    if more := len(fresh[room:]):
        Receiver.objects.filter(pk=receiver.pk).update(omitted=F("omitted") + more)


def report_omitted(receiver: Receiver) -> None:
    """Queues how many pushes and deletes were not queued, once there is room again."""
    if receiver.omitted and _room(receiver) > MOST_A_MINUTE // 2:
        queue(receiver, [messages.omitted(receiver.omitted)])
        count = F("omitted") - receiver.omitted
        Receiver.objects.filter(pk=receiver.pk).update(omitted=count)


def _room(receiver: Receiver) -> int:
    """How many pushes and deletes may be queued now."""
    since = timezone.now() - timedelta(minutes=1)
    recent = receiver.deliveries.filter(kind__in=_EVENTS, made_at__gt=since).count()
    waiting = receiver.deliveries.filter(state=Delivery.State.WAITING).count()
    return max(0, min(MOST_A_MINUTE - recent, MOST_WAITING - waiting))


def _create(receiver: Receiver, some: Sequence[Message], *, wait: timedelta) -> None:
    now = timezone.now()
    Delivery.objects.bulk_create(
        (
            Delivery(
                receiver=receiver,
                key=one.key,
                kind=one.kind,
                subject=one.subject,
                body=one.body,
                made_at=now,
                next_at=now + wait,
                until=now + GIVEN_UP,
            )
            for one in some
        ),
        batch_size=500,
        ignore_conflicts=True,
    )


def counts(receiver: Receiver) -> dict[str, int]:
    """How many of its deliveries are in each state. One query."""
    rows = receiver.deliveries.order_by().values_list("state").annotate(Count("pk"))
    return dict(rows)


def send_again(row: Delivery) -> None:
    """Queues it once more, with the same id."""
    now = timezone.now()
    state = Delivery.State.WAITING
    Delivery.objects.filter(pk=row.pk).update(state=state, next_at=now, until=now + GIVEN_UP)


def prune() -> None:
    """Deletes rows that are older than NOTIFY_DAYS, and all but the newest of a receiver; what
    waits stays."""
    old = timezone.now() - timedelta(days=settings.NOTIFY_DAYS)
    over = ~Q(state=Delivery.State.WAITING)
    Delivery.objects.filter(over, made_at__lt=old).delete()
    for receiver in Receiver.objects.all():
        rows = receiver.deliveries.order_by("-made_at", "-id").values_list("pk", flat=True)
        receiver.deliveries.filter(over, pk__in=list(rows[KEPT : KEPT * 10])).delete()
