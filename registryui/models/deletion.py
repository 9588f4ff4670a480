"""What is deleted, what may not be, and what can still be restored. Only deletion/ writes here, and
index/ notes what a push overwrote and what a client deleted."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from .actors import actor_name, portal_actor
from .repository import UNKNOWN


class TagTombstoneQuerySet(models.QuerySet["TagTombstone"]):
    def kept(self, at: datetime) -> TagTombstoneQuerySet:
        """Those that undo still keeps at that moment: their images may not be garbage-collected."""
        return self.filter(keep_until__gt=at, restored_at=None, ended_at=None)


class TagTombstone(models.Model):
    """A tag on a digest that it no longer names. Until `keep_until` it can be restored."""

    class How(models.TextChoices):
        DELETED = "deleted"
        OVERWRITTEN = "overwritten"  # a push, or a restored tag, set it on another digest

    repository = models.CharField(max_length=255)  # a name: the row may be dropped meanwhile
    tag = models.CharField(max_length=128)  # "": a manifest that had no tag
    digest = models.CharField(max_length=255)
    media_type = models.CharField(max_length=255, blank=True)
    size = models.BigIntegerField(default=0)  # as Tag.size was
    refers_to = models.CharField(max_length=255, blank=True)  # as Tag.refers_to was
    how = models.CharField(max_length=16, choices=How.choices)
    act = models.CharField(max_length=32, blank=True)  # all of one delete; undone together
    at = models.DateTimeField()
    by = models.CharField(max_length=255, blank=True)
    # of the client that deleted it
    address = models.CharField(max_length=64, blank=True, default="", db_default="")
    # As Tag.tagged_at and Tag.tagged_by were: restored as well.
    tagged_at = models.DateTimeField(default=UNKNOWN)
    tagged_by = models.CharField(max_length=255, blank=True)
    keep_until = models.DateTimeField()  # from then on garbage collection may take its image
    restored_at = models.DateTimeField(null=True, blank=True)
    restored_by = models.CharField(max_length=255, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)  # purged before its time

    objects = TagTombstoneQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["at", "id"], name="former_at"),  # the list, newest first
            models.Index(fields=["repository", "tag", "at"], name="former_tag"),  # one tag's
            models.Index(fields=["act"], name="former_act"),  # undo of a whole act
            models.Index(fields=["digest"], name="former_digest"),  # does undo need this image?
            models.Index(fields=["keep_until"], name="former_until"),  # what is kept; pruning
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def who(self) -> str:
        """Who it was, in words. Of clients the address is known, and no name of theirs is ours."""
        return actor_name(self.by) if self.by and self.address else portal_actor(self.by)


class ManifestTombstone(models.Model):
    """The bytes of a manifest that a client deleted, for undo. Its blobs are in the store until
    then: garbage collection reads here what they are."""

    repository = models.CharField(max_length=255)  # a name: the row may be dropped meanwhile
    digest = models.CharField(max_length=255)
    media_type = models.CharField(max_length=255, blank=True)
    size = models.BigIntegerField(default=0)  # as Manifest.size was
    raw = models.BinaryField()
    keep_until = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "digest"], name="tombstone_once")
        ]
        indexes = [models.Index(fields=["keep_until"], name="tombstone_until")]  # pruning

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


class Protection(models.Model):
    """Tags that nobody can delete before an administrator takes this away."""

    repositories = models.CharField(max_length=512)  # patterns: oci/patterns.py
    tags = models.CharField(max_length=512)
    # Nor can a push, or an undo, move them to another digest. Default for hosts still on old code.
    is_immutable = models.BooleanField(default=False, db_default=False)
    note = models.CharField(max_length=255, blank=True)
    by = models.CharField(max_length=255, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["repositories", "tags"], name="protection_once")
        ]

    def __str__(self) -> str:
        return f"{self.repositories}:{self.tags}"


class RetentionPolicy(models.Model):
    """In `repositories`, delete `tags`, but for what one of the four below keeps (deletion/
    retention.py). A policy that keeps nothing is refused."""

    name = models.CharField(max_length=64, unique=True)
    repositories = models.CharField(max_length=512)  # patterns: oci/patterns.py
    tags = models.CharField(max_length=512, default="*")  # only these may go
    keep_newest = models.PositiveIntegerField(null=True, blank=True)  # in each repository
    keep_pushed_days = models.PositiveIntegerField(null=True, blank=True)
    keep_pulled_days = models.PositiveIntegerField(null=True, blank=True)
    keep_tags = models.CharField(max_length=512, blank=True)  # patterns
    schedule = models.CharField(max_length=64, blank=True)  # cron; "": only by hand
    is_active = models.BooleanField(default=False)  # a draft runs nowhere
    next_at = models.DateTimeField(null=True, blank=True)
    made_by = models.CharField(max_length=255, blank=True)
    made_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
