"""Rows for tests of pages: as ingest would write them, without a registry.

repository = make_repository("team/api")
tag = make_tag(repository, "1.0", make_manifest(repository))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.utils import timezone

from registryui.models import (
    Blob,
    DailyActivity,
    Grant,
    ImageIndexEntry,
    Manifest,
    ManifestBlob,
    Operator,
    RegistryEvent,
    Repository,
    Role,
    StoreDay,
    Tag,
    TagTombstone,
)

PASSWORD = "a boat in the house"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
IMAGE = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def make_operator(name: str = "vera", role: Role = Role.VIEWER, **fields: Any) -> Operator:
    operator = Operator(username=name, role=role, **fields)
    operator.set_password(PASSWORD)
    operator.save()
    return operator


def make_maintainer(
    name: str = "mo", *may: tuple[str, str], longest_days: int | None = 365
) -> Operator:
    """A maintainer who may grant these (action, scope), for at most so many days."""
    operator = make_operator(name, Role.MAINTAINER, longest_days=longest_days)
    Grant.objects.bulk_create(Grant(operator=operator, action=a, scope=s) for a, s in may)
    return operator


def make_repository(name: str = "team/api", **fields: Any) -> Repository:
    namespace, slash, _ = name.partition("/")
    return Repository.objects.create(name=name, namespace=namespace if slash else "", **fields)


def make_manifest(
    repository: Repository,
    key: str = "image",
    *,
    config: dict[str, Any] | None = None,
    layers: Sequence[int] = (),
    **fields: Any,
) -> Manifest:
    """An image. `key` chooses the digest, `layers` are sizes of its blobs from the base up.

    The same size is the same blob in all repositories, so sharing is easy to make.
    """
    defaults: dict[str, Any] = {
        "digest": digest_of(f"{repository.name} {key}"),
        "media_type": IMAGE,
        "kind": Manifest.Kind.IMAGE,
        "os": "linux",
        "architecture": "amd64",
        "size": sum(layers),
        "layer_count": len(layers),
        "raw": json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "key": key}).encode(),
        "config": json.dumps(config).encode() if config is not None else None,
    }
    manifest = Manifest.objects.create(repository=repository, **{**defaults, **fields})
    for position, size in enumerate(layers):
        blob, _ = Blob.objects.get_or_create(
            digest=digest_of(f"layer {size}"), defaults={"size": size, "media_type": LAYER}
        )
        ManifestBlob.objects.create(
            manifest=manifest, repository=repository, blob=blob, role="layer", position=position
        )
        Blob.objects.filter(pk=blob.pk).update(
            manifest_count=blob.edges.values("manifest").distinct().count()
        )
    Repository.objects.filter(pk=repository.pk).update(manifest_count=repository.manifests.count())
    return manifest


def make_image_index(
    repository: Repository, key: str, children: Sequence[Manifest], **fields: Any
) -> Manifest:
    defaults: dict[str, Any] = {
        "kind": Manifest.Kind.IMAGE_INDEX,
        "media_type": IMAGE_INDEX,
        "os": "",
        "architecture": "",
        "size": sum(child.size for child in children),
    }
    image_index = make_manifest(repository, key, **{**defaults, **fields})
    for position, child in enumerate(children):
        ImageIndexEntry.objects.create(
            image_index=image_index,
            position=position,
            digest=child.digest,
            media_type=child.media_type,
            size=len(child.raw),
            os=child.os,
            architecture=child.architecture,
            variant=child.variant,
        )
    return image_index


def make_tag(
    repository: Repository, name: str = "1.0", manifest: Manifest | None = None, **fields: Any
) -> Tag:
    """A tag; the repository's counts follow."""
    defaults: dict[str, Any] = {
        "tagged_at": timezone.now(),
        "tagged_by": "ci-team",
        "size": manifest.size if manifest else 0,
        "version_key": name.encode(),
        "group_key": name.encode(),
    }
    tag = Tag.objects.create(
        repository=repository, name=name, manifest=manifest, **{**defaults, **fields}
    )
    Repository.objects.filter(pk=repository.pk).update(
        tag_count=repository.tags.filter(refers_to="").count(),
        newest_tag=name,
        pushed_at=tag.tagged_at,
        pushed_by=tag.tagged_by,
        changed_at=timezone.now(),
    )
    repository.refresh_from_db()
    return tag


def make_activity(repository: Repository, day: date, *, pulls: int = 0, pushes: int = 0) -> None:
    DailyActivity.objects.create(repository=repository, day=day, pulls=pulls, pushes=pushes)
    store, _new = StoreDay.objects.get_or_create(day=day)
    store.pulls, store.pushes = store.pulls + pulls, store.pushes + pushes
    store.save()


def make_event(repository: str, **fields: Any) -> RegistryEvent:
    count = RegistryEvent.objects.count()
    defaults: dict[str, Any] = {"event_id": f"event-{count}", "action": "push", "at": NOW}
    return RegistryEvent.objects.create(repository=repository, **{**defaults, **fields})


def make_tombstone(repository: str, tag: str, **fields: Any) -> TagTombstone:
    """A deleted tag that can be restored for three days."""
    now = timezone.now()
    defaults: dict[str, Any] = {
        "digest": digest_of(f"{repository}:{tag}"),
        "how": TagTombstone.How.DELETED,
        "at": now,
        "by": "operator:ada",
        "keep_until": now + timedelta(days=3),
        "size": 1000,
    }
    return TagTombstone.objects.create(repository=repository, tag=tag, **{**defaults, **fields})
