"""Manifests, what image indexes list, and blobs. Only index/ingest.py writes here."""

from django.db import models

from .repository import UNKNOWN, Repository


class Manifest(models.Model):
    class Kind(models.TextChoices):
        IMAGE = "image"
        IMAGE_INDEX = "image index"
        ARTIFACT = "artifact"  # no image config: Helm chart, signature, SBOM …
        CACHE = "cache"  # BuildKit's: layers and a record, in a manifest or in an image index
        UNKNOWN = "unknown"  # stored, but nothing we can read

    repository = models.ForeignKey(
        Repository,
        models.CASCADE,
        related_name="manifests",
        db_index=False,  # manifest_once has it
    )
    digest = models.CharField(max_length=255)
    media_type = models.CharField(max_length=255, blank=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    artifact_type = models.CharField(max_length=255, blank=True)
    subject_digest = models.CharField(max_length=255, blank=True)
    # Bytes to pull: manifest, config and layers; of an image index those of its children, each
    # blob once. Foreign layers (with URLs) are not in the registry and do not count.
    size = models.BigIntegerField(default=0)
    layer_count = models.PositiveIntegerField(default=0)
    os = models.CharField(max_length=64, blank=True)
    architecture = models.CharField(max_length=64, blank=True)
    variant = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(null=True, blank=True)  # what the config says; only shown
    annotations = models.JSONField(default=dict)
    raw = models.BinaryField()  # as the registry stores it; undo puts these bytes back
    config = models.BinaryField(null=True, blank=True)  # the config blob, if it is JSON and small
    # Seconds, by the label or annotation quay.expires-after; of an image index by its images.
    expires_after = models.PositiveIntegerField(null=True, blank=True)
    pushed_at = models.DateTimeField(default=UNKNOWN)
    pushed_by = models.CharField(max_length=255, blank=True)
    pulled_at = models.DateTimeField(default=UNKNOWN)
    pulled_by = models.CharField(max_length=255, blank=True)
    pull_count = models.BigIntegerField(default=0)
    # by an image index of the same repository
    is_listed = models.BooleanField(default=False, db_default=False)
    untagged_at = models.DateTimeField(null=True, blank=True)  # since no tag names it
    seen_at = models.DateTimeField(auto_now_add=True)  # when the index first had it

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "digest"], name="manifest_once")
        ]
        indexes = [
            models.Index(fields=["digest"], name="manifest_digest"),  # search; known elsewhere?
            # the page of a tag: its referrers
            models.Index(
                fields=["repository", "subject_digest"],
                name="manifest_subject",
                condition=~models.Q(subject_digest=""),
            ),
            # the page of a repository: what no tag and no image index names
            models.Index(
                fields=["repository", "seen_at", "id"],
                name="manifest_loose",
                condition=models.Q(untagged_at__isnull=False, is_listed=False),
            ),
            models.Index(fields=["media_type", "id"], name="manifest_media"),  # search: media:
            models.Index(  # search: media:
                fields=["artifact_type", "id"],
                name="manifest_artifact",
                condition=models.Q(artifact_type__gt=""),
            ),
            # search: platform:
            models.Index(fields=["os", "architecture"], name="manifest_platform"),
            # search: is:multi-platform
            models.Index(
                fields=["id"], name="manifest_listing", condition=models.Q(kind="image index")
            ),
            # search: is:untagged
            models.Index(
                fields=["id"],
                name="manifest_untagged",
                condition=models.Q(untagged_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.repository.name}@{self.digest}"

    @property
    def platform(self) -> str:
        """`os/architecture[/variant]`, "" where the config names none."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class ImageIndexEntry(models.Model):
    """One line of an image index, in its order. The child is found by its digest in the same
    repository: it may arrive before, after or never."""

    image_index = models.ForeignKey(
        Manifest,
        models.CASCADE,
        related_name="entries",
        db_index=False,  # entry_once has it
    )
    position = models.PositiveIntegerField()
    digest = models.CharField(max_length=255)
    media_type = models.CharField(max_length=255, blank=True)
    size = models.BigIntegerField(default=0)  # of the child manifest itself, as the index says
    os = models.CharField(max_length=64, blank=True)
    architecture = models.CharField(max_length=64, blank=True)
    variant = models.CharField(max_length=64, blank=True)
    annotations = models.JSONField(default=dict)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["image_index", "position"], name="entry_once")
        ]
        indexes = [models.Index(fields=["digest"], name="entry_digest")]  # which index lists it

    @property
    def platform(self) -> str:
        """`os/architecture[/variant]`, "" where the index names none."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Blob(models.Model):
    digest = models.CharField(max_length=255, unique=True)  # once in the whole store
    size = models.BigIntegerField(default=0)
    media_type = models.CharField(max_length=255, blank=True)
    manifest_count = models.PositiveIntegerField(default=0)  # that name it, all repositories

    def __str__(self) -> str:
        return self.digest


class BlobName(models.Model):
    """Another digest of a blob, as manifests may name it: one that is no sha256."""

    digest = models.CharField(max_length=255, unique=True)  # search; the page of a layer
    blob = models.ForeignKey(Blob, models.CASCADE, related_name="names")

    def __str__(self) -> str:
        return self.digest


class ManifestBlob(models.Model):
    """An edge: this manifest needs this blob."""

    class Role(models.TextChoices):
        CONFIG = "config"
        LAYER = "layer"

    # The indexes below begin with these three: one more each would be half of the database.
    manifest = models.ForeignKey(Manifest, models.CASCADE, related_name="edges", db_index=False)
    repository = models.ForeignKey(  # the manifest's
        Repository, models.CASCADE, related_name="+", db_index=False
    )
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="edges", db_index=False)
    role = models.CharField(max_length=8, choices=Role.choices)
    position = models.PositiveIntegerField(default=0)  # of a layer, from the base up

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["manifest", "role", "position"], name="edge_once")
        ]
        indexes = [
            models.Index(fields=["blob", "position"], name="edge_blob"),  # used by
            # is this blob new to the repository? (Repository.size)
            models.Index(fields=["repository", "blob"], name="edge_repository"),
        ]


class ImageFact(models.Model):
    """Something that an image's config states, as a number (oci/facts.py): search finds it here."""

    # No id of its own and no index by manifest: there are some thirty of these for each image.
    # What goes with a manifest is computed once more from its config (ingest.py).
    pk = models.CompositePrimaryKey("fact", "manifest_id")
    fact = models.BigIntegerField()
    manifest = models.ForeignKey(
        Manifest, models.DO_NOTHING, related_name="facts", db_index=False, db_constraint=False
    )
