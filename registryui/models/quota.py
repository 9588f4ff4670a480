"""Limits of namespaces, with what is used of them. quotas/quotas.py writes the limits,
quotas/usage.py what was counted."""

from __future__ import annotations

from django.db import models

from .repository import UNKNOWN


class QuotaQuerySet(models.QuerySet["Quota"]):
    def covering(self, repository: str) -> QuotaQuerySet:
        """Those of the repository's own name and of each namespace above it, widest first."""
        parts = repository.split("/")
        names = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return self.filter(namespace__in=names).order_by("namespace")


class Quota(models.Model):
    """How much a namespace may hold: `team` is the repository team and all below team/."""

    namespace = models.CharField(max_length=255, unique=True)
    limit_bytes = models.BigIntegerField(null=True, blank=True)  # None: no limit
    limit_tags = models.BigIntegerField(null=True, blank=True)
    by = models.CharField(max_length=255, blank=True)  # who set it last
    at = models.DateTimeField(auto_now=True)
    used_bytes = models.BigIntegerField(default=0)  # of distinct blobs that tagged images need
    used_tags = models.BigIntegerField(default=0)  # without referrer tags
    # The last complete count: its bytes, when it began, how long it took, the newest manifest then.
    counted_bytes = models.BigIntegerField(default=0)
    counted_at = models.DateTimeField(default=UNKNOWN)
    counted_seconds = models.FloatField(default=0)
    counted_to = models.BigIntegerField(default=0)
    stamp = models.CharField(max_length=255, blank=True)  # of the repositories, as last looked at
    is_estimate = models.BooleanField(default=False)  # used_bytes, until the next complete count

    objects = QuotaQuerySet.as_manager()

    class Meta:
        ordering = ["namespace"]

    def __str__(self) -> str:
        return self.namespace

    @property
    def is_full_of_bytes(self) -> bool:
        """Whether nothing new may be uploaded."""
        return self.limit_bytes is not None and self.used_bytes >= self.limit_bytes

    @property
    def is_full_of_tags(self) -> bool:
        """Whether no tag may be added."""
        return self.limit_tags is not None and self.used_tags >= self.limit_tags

    @property
    def is_full(self) -> bool:
        """Whether pushes are refused."""
        return self.is_full_of_bytes or self.is_full_of_tags

    @property
    def share(self) -> float:
        """Of the limit that is nearer, how much is used: 1.0 is all of it."""
        return max(
            _share(self.used_bytes, self.limit_bytes), _share(self.used_tags, self.limit_tags)
        )


def _share(used: int, limit: int | None) -> float:
    if limit is None:
        return 0.0
    return used / limit if limit else 1.0
