"""Who was refused: nginx's log, counted by registryui/denials/, which alone writes here."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Denial(models.Model):
    """Refusals of one day (UTC) that have all of this in common. Of too many on one day, a row
    without address, repository and action has those that were not told apart."""

    class Action(models.TextChoices):
        LOGIN = "login", pgettext_lazy("denied", "log in")
        PULL = "pull", _("pull")
        PUSH = "push", _("push")
        DELETE = "delete", _("delete")

    class Reason(models.TextChoices):
        """As nginx logs it (deploy/nginx.conf.template, $refusal)."""

        WRONG_PASSWORD = "wrong-password", _("wrong password")
        UNKNOWN_USER = "unknown-user", _("unknown user")
        DISABLED = "disabled", pgettext_lazy("denied", "disabled")
        EXPIRED = "expired", pgettext_lazy("denied", "expired")
        NO_RIGHT = "no-right", _("no right")
        PROTECTED = "protected", _("protected tag")
        QUOTA = "quota", _("quota exceeded")
        FROZEN = "frozen", _("write freeze")
        RATE_LIMITED = "rate-limited", _("rate limit")
        DISK_FULL = "disk-full", _("disk full")
        MIRROR = "mirror", _("mirror is read-only")

    day = models.DateField()
    actor = models.CharField(max_length=255, blank=True)  # a registry user; "": nobody known
    repository = models.CharField(max_length=255, blank=True)  # as asked for: it need not exist
    action = models.CharField(max_length=8, choices=Action.choices, blank=True)
    reason = models.CharField(max_length=16, choices=Reason.choices)
    address = models.CharField(max_length=64, blank=True)
    client = models.CharField(max_length=255, blank=True)  # User-Agent of the last one, cut
    count = models.BigIntegerField(default=0)
    first_at = models.DateTimeField()
    at = models.DateTimeField()  # of the last one

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "actor", "repository", "action", "reason", "address"],
                name="denial_once",
            )
        ]
        indexes = [
            models.Index(fields=["actor", "-at"], name="denial_actor"),  # page of a registry user
            models.Index(fields=["repository", "-at"], name="denial_repository"),  # its page
            models.Index(fields=["at"], name="denial_at"),  # activity
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.repository}: {self.reason}"

    @property
    def is_others(self) -> bool:
        """Whether these were too many to be told apart."""
        return not self.address


class LogPosition(models.Model):
    """How far the access log of a host is counted: written with the counts, so that a worker that
    is killed counts no line twice."""

    host = models.CharField(max_length=32, primary_key=True, default="")
    file = models.CharField(max_length=64)  # a hash of its first line: rotation renames it
    offset = models.BigIntegerField(default=0)  # bytes
