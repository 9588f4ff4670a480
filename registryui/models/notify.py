"""Notifications: who gets them, what was sent, what is wrong now. Only registryui/notify/ writes
here."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q

from .repository import UNKNOWN


class Receiver(models.Model):
    """A webhook or mail addresses, and what they are sent."""

    class Kind(models.TextChoices):
        WEBHOOK = "webhook"
        MAIL = "mail"

    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    # Of a webhook the URL, encrypted, because it often contains a token; of mail the addresses.
    address = models.TextField()
    shown = models.CharField(max_length=512)  # the URL without its path; the addresses
    secret = models.TextField(blank=True)  # that signs, encrypted; "": mail
    conditions = models.CharField(max_length=8, blank=True)  # "": none; "warn", "bad": from there
    has_pushes = models.BooleanField(default=False)
    has_deletes = models.BooleanField(default=False)
    repositories = models.CharField(max_length=512, blank=True)  # patterns, for both; "": all
    language = models.CharField(max_length=16)
    is_active = models.BooleanField(default=True)
    is_gone = models.BooleanField(default=False, db_default=False)  # disabled: it answered 410
    audit_row = models.BigIntegerField(default=0)  # up to which deletes were queued
    omitted = models.PositiveIntegerField(default=0)  # pushes and deletes that were too frequent
    made_by = models.CharField(max_length=255, blank=True)
    made_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> DeliveryQuerySet:
        """Those that are to be sent, now or later."""
        return self.filter(state=Delivery.State.WAITING)

    def due(self, at: datetime) -> DeliveryQuerySet:
        """Those that are to be sent at that moment, the longest due first."""
        return self.waiting().filter(next_at__lte=at).order_by("next_at", "id")


class Delivery(models.Model):
    """One message to one receiver, and what came of it."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        FAILED = "failed"  # no more attempts

    class Kind(models.TextChoices):
        CONDITION = "condition"
        PUSH = "push"
        DELETE = "delete"
        OMITTED = "omitted"
        TEST = "test"

    receiver = models.ForeignKey(Receiver, models.CASCADE, related_name="deliveries")
    key = models.CharField(max_length=80)  # the same for each attempt: `id`, `webhook-id`
    kind = models.CharField(max_length=16, choices=Kind.choices)
    subject = models.CharField(max_length=400)  # "team/app:1.0", "disk"
    body = models.TextField()  # JSON, as it is sent: notify/messages.py
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    made_at = models.DateTimeField()
    next_at = models.DateTimeField(default=UNKNOWN)  # the next attempt
    until = models.DateTimeField(default=UNKNOWN)  # no attempt after that
    # Of the newest attempts: {"at", "status" (0: no answer), "ms", "answer", "error"}
    attempts = models.JSONField(default=list)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["receiver", "key"], name="delivery_once")]
        indexes = [
            # what is due, each second
            models.Index(fields=["next_at"], name="delivery_due", condition=Q(state="waiting")),
            # a receiver's newest, and how many it had within a minute
            models.Index(fields=["receiver", "-made_at"], name="delivery_newest"),
        ]

    def __str__(self) -> str:
        return self.key


class Condition(models.Model):
    """A component that the doctor finds something wrong with."""

    host = models.CharField(max_length=32, blank=True)  # which one's; "": of all together
    part = models.CharField(max_length=32)  # Finding.name
    state = models.CharField(max_length=8)  # of Finding.STATES, as receivers know it
    newest = models.CharField(max_length=8)  # of the newest round; two make it `state`
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "part"], name="condition_once")]

    def __str__(self) -> str:
        return self.part
