"""What retention decided for each tag. Only retention/runs.py writes here."""

from __future__ import annotations

from django.db import models

from .activity import Run
from .repository import UNKNOWN


class RetentionFate(models.Model):
    """One tag in the report of a run. A dry run has a row for every tag of the policy's
    repositories, a real one for each tag that went or should have gone. Its words:
    retention/words.py."""

    class Kind(models.TextChoices):
        GOES = "goes"  # would go; after a real run: it went
        SAVED = "saved"  # it would go, but for an exception
        STAYS = "stays"
        FAILED = "failed"  # it should have gone; `reason` and `note` say why it did not

    # No index of its own: both below begin with it.
    run = models.ForeignKey(Run, models.CASCADE, related_name="fates", db_index=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    repository = models.CharField(max_length=255)  # a name: the row may be dropped meanwhile
    tag = models.CharField(max_length=128)
    digest = models.CharField(max_length=255, blank=True)
    size = models.BigIntegerField(default=0)  # as Tag.size was: bytes of its image, counted alone
    tagged_at = models.DateTimeField(default=UNKNOWN)  # as Tag.tagged_at, Tag.pulled_at were
    pulled_at = models.DateTimeField(default=UNKNOWN)
    reason = models.CharField(max_length=16)  # retention.Code
    policy = models.CharField(max_length=64, blank=True)  # another policy that keeps it
    number = models.PositiveIntegerField(default=0)  # of tags, days, or its place by push time
    note = models.CharField(max_length=255, blank=True)  # a pattern, a protection, what happened
    # A tag that stays on the same image: only a name goes. "": the image goes as well.
    beside = models.CharField(max_length=128, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["run", "id"], name="fate_run"),  # the report, in order of names
            models.Index(fields=["run", "kind", "id"], name="fate_kind"),  # its filter
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"
