"""What operators write about a repository. Only registryui/descriptions.py writes here."""

from __future__ import annotations

from django.db import models


class Description(models.Model):
    """By the repository's name: it stays if the repository is deleted, and restored or pushed
    again."""

    repository = models.CharField(max_length=255, unique=True)
    text = models.CharField(max_length=500, blank=True)  # one line
    readme = models.TextField(blank=True)  # Markdown
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=255, blank=True)

    def __str__(self) -> str:
        return self.repository
