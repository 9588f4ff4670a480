"""Who did what: one row for each act of an operator, a command or the schedule."""

from django.db import models


class AuditEvent(models.Model):
    """Written by audit.py, never changed. Each row carries the hash of the one before."""

    class Result(models.TextChoices):
        DONE = "done"
        REFUSED = "refused"  # a rule said no; nothing changed
        FAILED = "failed"  # it was tried and went wrong; `details` say how far it came

    at = models.DateTimeField()
    # "operator:vera", "command line", "schedule", "rule NAME"
    actor = models.CharField(max_length=255)
    address = models.CharField(max_length=64, blank=True)  # of the person's machine, from a page
    act = models.CharField(max_length=64)  # "tag.delete", "user.create": object, then what was done
    target = models.CharField(max_length=512)  # "team/app:1.0", "team/app@sha256:…", a user's name
    result = models.CharField(max_length=16, choices=Result.choices)
    details = models.JSONField(default=dict)  # counts, digests, reasons; never a secret
    previous = models.CharField(max_length=64)  # hash of the row before; 64 zeros: there was none
    hash = models.CharField(max_length=64, unique=True)  # sha256, hexadecimal; see audit.py

    class Meta:
        ordering = ["id"]
        indexes = [
            # the page of activity, as it is filtered: newest first
            models.Index(fields=["actor", "-id"], name="audit_actor"),
            models.Index(fields=["act", "-id"], name="audit_act"),
            models.Index(fields=["target", "-id"], name="audit_target"),
            models.Index(fields=["at"], name="audit_at"),  # a day, and pruning
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.act} {self.target}"
