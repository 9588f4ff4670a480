"""Repositories and tags as the registry has them now. Only index/ingest.py writes here."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import models
from django.db.models import OuterRef, Subquery

from .description import Description

# Sortable times are never NULL: keyset paging needs an order. This one means "not known", "never".
UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


class RepositoryQuerySet(models.QuerySet["Repository"]):
    def within(self, namespace: str) -> RepositoryQuerySet:
        """Repositories below `namespace` at any depth; `team` holds `team/a`, not `team` itself."""
        first, slash, _rest = namespace.partition("/")
        below = self.filter(namespace=first)  # an index finds it; no LIKE has one everywhere
        return below.filter(name__startswith=f"{namespace}/") if slash else below

    def described(self) -> RepositoryQuerySet:
        """With `description`, the line that an operator wrote about each; None: nobody did."""
        written = Description.objects.filter(repository=OuterRef("name"))
        return self.annotate(description=Subquery(written.values("text")))


class Repository(models.Model):
    name = models.CharField(max_length=255, unique=True)
    namespace = models.CharField(max_length=255, blank=True)  # first part; "" of one-part names
    tag_count = models.PositiveIntegerField(default=0)  # without referrer tags (see Tag.refers_to)
    manifest_count = models.PositiveIntegerField(default=0)
    size = models.BigIntegerField(default=0)  # bytes of its distinct blobs: what it takes on disk
    # Bytes of the blobs that only it has: what would be freed if it went. See index/sizes.py.
    own_size = models.BigIntegerField(default=0, db_default=0)
    pushed_at = models.DateTimeField(default=UNKNOWN)  # the newest push that an event told of
    pushed_by = models.CharField(max_length=255, blank=True)
    pulled_at = models.DateTimeField(default=UNKNOWN)
    pull_count = models.BigIntegerField(default=0)
    newest_tag = models.CharField(max_length=128, blank=True)
    changed_at = models.DateTimeField(auto_now_add=True)  # an open page compares it and refreshes
    # What the store said of its folders when all of it was read (Store.stamp). "": not known, or
    # the first build was cut off in the middle of this repository.
    stamp = models.CharField(max_length=255, blank=True)

    objects = RepositoryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "repositories"
        ordering = ["name"]
        indexes = [
            # the list of repositories, one for each column that sorts it
            models.Index(fields=["namespace", "name"], name="repository_namespace"),
            models.Index(fields=["size", "id"], name="repository_size"),
            models.Index(fields=["own_size", "id"], name="repository_own_size"),  # storage
            models.Index(fields=["pushed_at", "id"], name="repository_pushed"),
            models.Index(fields=["pulled_at", "id"], name="repository_pulled"),
            models.Index(fields=["tag_count", "id"], name="repository_tags"),
            models.Index(fields=["pull_count", "id"], name="repository_pull_count"),
            # the same within a namespace
            models.Index(fields=["namespace", "size", "id"], name="repository_ns_size"),
            models.Index(fields=["namespace", "pushed_at", "id"], name="repository_ns_pushed"),
            models.Index(fields=["namespace", "tag_count", "id"], name="repository_ns_tags"),
            models.Index(fields=["namespace", "pull_count", "id"], name="repository_ns_pulls"),
            models.Index(fields=["changed_at"], name="repository_changed"),  # "did anything move?"
        ]

    def __str__(self) -> str:
        return self.name


class NamespaceSize(models.Model):
    """A first part of repository names with what lies below it, as last measured by
    index/sizes.py; repositories of one part have none."""

    namespace = models.CharField(max_length=255, unique=True)
    repository_count = models.PositiveIntegerField(default=0)
    tag_count = models.PositiveIntegerField(default=0)
    size = models.BigIntegerField(default=0)  # bytes of its distinct blobs
    own_size = models.BigIntegerField(default=0)  # of those that no other namespace has

    class Meta:
        ordering = ["namespace"]
        indexes = [
            # the list of namespaces, one for each column that sorts it
            models.Index(fields=["size", "id"], name="namespace_size"),
            models.Index(fields=["own_size", "id"], name="namespace_own_size"),
            models.Index(fields=["tag_count", "id"], name="namespace_tags"),
            models.Index(fields=["repository_count", "id"], name="namespace_repositories"),
        ]

    def __str__(self) -> str:
        return self.namespace


class CountChange(models.Model):
    """By how much the numbers of a namespace changed; all its rows together are the numbers. The
    database adds a row with each change of Repository (triggers of migration 0013), so that no
    writer waits for another one; index/counts.py adds them up."""

    namespace = models.CharField(max_length=255)  # "": repositories of one part
    repositories = models.BigIntegerField()
    tags = models.BigIntegerField()
    manifests = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.namespace} {self.repositories:+}"


class Tag(models.Model):
    class Problem(models.TextChoices):
        NONE = "", ""
        DANGLING = "dangling"  # the registry lists the tag and has no manifest for it
        UNREADABLE = "unreadable"  # the registry answers with something that is no manifest
        INCOMPLETE = "incomplete"  # a child or config that the manifest names is not there
        BROKEN = "broken"  # the integrity check found that a part of it is missing or damaged

    # No index of its own here and below: tag_once begins with it.
    repository = models.ForeignKey(Repository, models.CASCADE, related_name="tags", db_index=False)
    name = models.CharField(max_length=128)
    manifest = models.ForeignKey(
        "Manifest", models.SET_NULL, related_name="tags", null=True, blank=True
    )
    tagged_at = models.DateTimeField(default=UNKNOWN)  # when a push last set it, if an event told
    tagged_by = models.CharField(max_length=255, blank=True)
    # The digest that this tag refers to (referrers fallback tag, cosign's tags), else "".
    # People do not think of these as tags: lists leave them out, their image's page shows them.
    refers_to = models.CharField(max_length=255, blank=True)
    problem = models.CharField(max_length=16, choices=Problem.choices, blank=True)
    # When it expires (retention/expiry.py), as somebody set it for this digest; NEVER: it does not,
    # whatever its label says; NULL: nothing is set. NULL, because SQLite adds such a column without
    # writing the table anew.
    expires_at = models.DateTimeField(null=True, blank=True)
    # When it expires by the label of its image, if labels count.
    label_expires_at = models.DateTimeField(null=True, blank=True)
    # Copies for sorting, so that every column sorts over all rows by an index.
    size = models.BigIntegerField(default=0)
    pulled_at = models.DateTimeField(default=UNKNOWN)
    version_key = models.BinaryField(max_length=512, default=b"")  # natural order: oci.names
    group_key = models.BinaryField(max_length=512, default=b"")  # highest version_key of its digest

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="tag_once")]
        indexes = [
            # the page of a repository, one for each order; tags of one digest are adjacent
            models.Index(
                fields=["repository", "refers_to", "group_key", "version_key", "id"],
                name="tag_version",
            ),
            models.Index(fields=["repository", "refers_to", "tagged_at", "id"], name="tag_moved"),
            models.Index(fields=["repository", "refers_to", "size", "id"], name="tag_size"),
            models.Index(fields=["repository", "refers_to", "pulled_at", "id"], name="tag_pulled"),
            models.Index(fields=["tagged_at", "id"], name="tag_latest"),  # dashboard: latest pushes
            models.Index(fields=["name", "id"], name="tag_name"),  # search, by name
            models.Index(fields=["size", "id"], name="tag_all_size"),  # search, by size
            models.Index(fields=["pulled_at", "id"], name="tag_all_pulled"),  # search, by pull
            models.Index(fields=["tagged_by", "tagged_at", "id"], name="tag_by"),  # search: by:
            # search: is:broken
            models.Index(fields=["id"], name="tag_problem", condition=~models.Q(problem="")),
            # search: is:signed
            models.Index(fields=["id"], name="tag_attached", condition=~models.Q(refers_to="")),
            # what has expired; search: expires<
            models.Index(
                fields=["expires_at", "id"],
                name="tag_expires",
                condition=models.Q(expires_at__isnull=False),
            ),
            models.Index(
                fields=["label_expires_at", "id"],
                name="tag_label_expires",
                condition=models.Q(label_expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.repository.name}:{self.name}"
