"""The hosts of one installation, and what each of them has printed for its nginx.

With SQLite there is one host, and it has no name: "". With PostgreSQL each has its own data folder
and therefore its own files; `up` gives it a name by chance, which stays in that folder.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from .repository import UNKNOWN


def here() -> str:
    """The id of this host; "" if it is the only one, or its file is damaged."""
    try:
        found = str(settings.HOST_FILE.read_text().strip())
    except (OSError, ValueError):
        return ""
    return found if found.isalnum() and len(found) <= 32 else ""


class Host(models.Model):
    """One that has ever been up. None with SQLite."""

    id = models.CharField(max_length=32, primary_key=True)
    name = models.CharField(max_length=255)  # for people: machine and port
    seen_at = models.DateTimeField(default=UNKNOWN)  # its worker said so, by the database's clock

    class Meta:
        ordering = ["name"]


class Lease(models.Model):
    """What one host at a time does for all; it says again and again that it still does."""

    name = models.CharField(max_length=32, primary_key=True)
    host = models.CharField(max_length=32, blank=True)
    until = models.DateTimeField(default=UNKNOWN)  # then anybody may take it; database's clock


class Published(models.Model):
    """What the htpasswd file of one host says of one name, as far as we wrote it.

    A row may outlive its registry user: then that host has still to take the line away.
    """

    host = models.CharField(max_length=32, blank=True)
    name = models.CharField(max_length=255)
    line_hash = models.CharField(max_length=512, blank=True)  # "": no line
    # Which generation of the user's row that was; 0: the write was announced, and not seen to end.
    generation = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="published_once")]
