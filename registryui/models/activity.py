"""What happened: the registry's notifications, what they add up to, and our own long work."""

from django.db import models
from django.db.models import Q

from .repository import UNKNOWN, Repository

OWN_CLIENT = "boathouse/"  # User-Agent of the portal's own requests
OWN_ACT = "act-"  # begins the id of an event that the portal wrote for what an operator did


class RegistryEvent(models.Model):
    """One notification. Pushes and deletes are kept as the history of a tag; pulls are pruned."""

    event_id = models.CharField(max_length=64, unique=True)  # the registry repeats itself: no harm
    action = models.CharField(max_length=16)  # push, pull, delete, mount
    repository = models.CharField(max_length=255)  # a name: the row may come later, or be gone
    tag = models.CharField(max_length=128, blank=True)
    digest = models.CharField(max_length=255, blank=True)
    # of a push, applied: the digest that it took the tag from
    replaced = models.CharField(max_length=255, blank=True, default="", db_default="")
    media_type = models.CharField(max_length=255, blank=True)
    at = models.DateTimeField()  # by the registry's clock
    actor = models.CharField(max_length=255, blank=True)  # the verified Basic user
    address = models.CharField(max_length=64, blank=True)
    client = models.CharField(max_length=255, blank=True)  # User-Agent, cut
    received_at = models.DateTimeField(auto_now_add=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(default=UNKNOWN)  # not before, after a failed attempt
    error = models.CharField(max_length=255, blank=True)

    class Meta:
        indexes = [
            # what is still to apply, oldest first
            models.Index(fields=["id"], name="event_pending", condition=Q(applied_at=None)),
            # history of a tag, and of a digest; a tag in use has a thousand pulls for each push
            models.Index(fields=["repository", "tag", "action", "at"], name="event_tag_action"),
            models.Index(fields=["digest", "action", "at"], name="event_digest"),
            models.Index(fields=["action", "at"], name="event_prune"),  # pulls past their time
            models.Index(fields=["actor", "-at"], name="event_actor"),  # page of a registry user
        ]

    @property
    def is_ours(self) -> bool:
        """Whether the portal did it. Nobody gives the registry its name there; whoever comes by
        nginx has one, whatever his User-Agent says."""
        return self.event_id.startswith(OWN_ACT) or (
            not self.actor and self.client.startswith(OWN_CLIENT)
        )


class DailyActivity(models.Model):
    """Pulls and pushes of a repository on one day (UTC): the charts, without reading events."""

    repository = models.ForeignKey(Repository, models.CASCADE, related_name="days")
    day = models.DateField()
    pulls = models.PositiveIntegerField(default=0)
    pushes = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "day"], name="activity_once")]
        indexes = [models.Index(fields=["day"], name="activity_day")]  # dashboard: 30 days


class StoreDay(models.Model):
    """The store as it was last measured on one day (UTC), and what happened on that day.

    Written by index/sizes.py, pulls and pushes by index/events.py: what a page would have to sum
    over every blob, tag or repository. The newest row is the store as it is now.
    """

    day = models.DateField(unique=True)
    measured_at = models.DateTimeField(default=UNKNOWN)  # UNKNOWN: only pulls and pushes so far
    seconds = models.FloatField(default=0)  # that measuring took
    repositories = models.PositiveIntegerField(default=0)
    tags = models.PositiveIntegerField(default=0)  # without referrer tags
    manifests = models.PositiveIntegerField(default=0)
    blobs = models.PositiveIntegerField(default=0)  # layers and configs: no manifests
    size = models.BigIntegerField(default=0)  # bytes of all of these, each once
    shared_size = models.BigIntegerField(default=0)  # of them, in two manifests or more
    named_size = models.BigIntegerField(default=0)  # bytes if each tag lay there alone
    undo_size = models.BigIntegerField(default=0, db_default=0)  # bytes that only undo keeps
    pulls = models.PositiveIntegerField(default=0)
    pushes = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["day"]


class Run(models.Model):
    """Long work with a beginning and an end. The database allows one running of a kind."""

    class Kind(models.TextChoices):
        SYNC = "sync"
        SIZES = "sizes"  # what index/sizes.py measures
        DOCTOR = "doctor"  # result: {"findings": [...]}, what pages show of the health
        DELETE = "delete"  # many tags at once
        RETENTION = "retention"
        DRY_RUN = "dry_run"  # of retention: a kind of its own, so that it stops no real one
        EXPIRY = "expiry"  # of tags
        GC = "gc"  # garbage collection
        INTEGRITY = "integrity"
        IMPORT = "import"  # of images: registryui/imports/
        BACKUP = "backup"

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        STOPPED = "stopped"  # somebody asked for it; what was done is consistent

    kind = models.CharField(max_length=16, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    by = models.CharField(max_length=255, blank=True)  # an operator, "schedule", "command line"
    host = models.CharField(max_length=32, blank=True)  # which one did it; "": the only one
    started_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(default=UNKNOWN)  # older than a minute: the worker died
    finished_at = models.DateTimeField(null=True, blank=True)
    stop_asked_by = models.CharField(max_length=255, blank=True)  # "": it may go on
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict)  # what it did, as counts; see the module that ran it
    log = models.TextField(blank=True)  # lines for a person, newest last

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=Q(state="running"), name="one_running_of_a_kind"
            )
        ]
        indexes = [models.Index(fields=["kind", "-started_at"], name="run_latest")]  # dashboard
