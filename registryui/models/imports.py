"""What an import did with each tag. Only imports/run.py writes here."""

from __future__ import annotations

from django.db import models

from .activity import Run


class ImportedTag(models.Model):
    """One tag in the report of a run of kind IMPORT."""

    class State(models.TextChoices):
        TAKEN = "taken"  # a dry run: it would be
        THERE = "there"  # the same digest is here already
        SKIPPED = "skipped"  # `note` says why
        FAILED = "failed"

    # No index of its own: both below begin with it.
    run = models.ForeignKey(Run, models.CASCADE, related_name="imported", db_index=False)
    state = models.CharField(max_length=8, choices=State.choices)
    repository = models.CharField(max_length=255)  # as the source names it
    tag = models.CharField(max_length=255)
    target = models.CharField(max_length=255, blank=True)  # the repository here; "": none
    target_tag = models.CharField(max_length=128, blank=True)
    digest = models.CharField(max_length=255, blank=True)
    size = models.BigIntegerField(default=0)  # bytes that were sent for it
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["run", "id"], name="imported_run"),  # the report
            models.Index(fields=["run", "state", "id"], name="imported_state"),  # its filter
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"
