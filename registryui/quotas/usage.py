"""What is used of each quota, counted from the index.

    bytes  of the distinct blobs that tagged images of the namespace need, children of image indexes
           included. A blob that two of its repositories have counts once.
    tags   of its repositories, without referrer tags

One query over the repositories of a namespace tells whether anything changed. A complete count
reads the edges of all tagged images, a second in a large namespace: so there is one at most in
SHARE times what the last one took. In between, what newer manifests bring is added (`_added`), and
a complete count follows at once if that would use up the quota. So a quota is never refused by an
estimate; one that is used up is noticed with the push, and free space after that pause at the
latest.

What an estimate misses, until the next complete count: blobs of an older manifest that was without
a tag, and got one. What the query misses, for OLDEST at most: an overwritten tag that is restored.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Count, Max, Sum
from django.utils import timezone

from registryui.models import Manifest, Quota, Repository
from registryui.models.repository import RepositoryQuerySet

from . import marks

OLDEST = timedelta(minutes=10)  # then there is a complete count, whatever changed
SHARE = 20  # a pause is so many times what counting took: it takes 5 % of one processor


@dataclass(frozen=True, slots=True)
class _Summed:
    """What one query tells of the repositories of a namespace."""

    stamp: str  # another one if a tag or manifest came or went
    tags: int


def follow(repository: str = "") -> None:
    """Counts what changed (of that repository's namespaces; "": of all), and lets nginx refuse or
    accept pushes by it. One query if there are no quotas, and one more for each that did not
    change. OSError if nginx cannot be told."""
    rows = Quota.objects.covering(repository) if repository else Quota.objects.all()
    have_changed = [measure(row) for row in rows]
    if any(have_changed) or not repository:
        marks.catch_up()


def measure(row: Quota, *, is_complete: bool = False) -> bool:
    """Brings the row up to date, and saves it if it was not: then True. `is_complete`: without
    estimates."""
    seen = _summed(row.namespace)
    is_complete = is_complete or _is_over(row, OLDEST)
    is_due = is_complete or _is_over(row, timedelta(seconds=SHARE * row.counted_seconds))
    if seen.stamp == row.stamp and not (is_due and (is_complete or row.is_estimate)):
        return False
    row.stamp, row.used_tags = seen.stamp, seen.tags
    if not is_due:
        was_full = row.is_full_of_bytes
        row.used_bytes, row.is_estimate = row.counted_bytes + _added(row), True
        is_due = row.is_full_of_bytes and not was_full
    if is_due:
        _count(row)
    # An update: somebody may set another limit, or remove the row, meanwhile.
    Quota.objects.filter(pk=row.pk).update(**{name: getattr(row, name) for name in _COUNTED})
    return True


_COUNTED = ["stamp", "used_tags", "used_bytes", "is_estimate"]
_COUNTED += ["counted_bytes", "counted_at", "counted_seconds", "counted_to"]


def repositories(namespace: str) -> RepositoryQuerySet:
    """The repository of that name, and all below it."""
    return Repository.objects.within(namespace) | Repository.objects.filter(name=namespace)


def _summed(namespace: str) -> _Summed:
    found = repositories(namespace).aggregate(
        Count("pk"), Sum("tag_count"), Sum("manifest_count"), Sum("size"), Max("pushed_at")
    )
    return _Summed(" ".join(map(str, found.values())), int(found["tag_count__sum"] or 0))


def _is_over(row: Quota, pause: timedelta) -> bool:
    """Whether the last complete count is so long ago; also if the clock was set back."""
    now = timezone.now()
    return not row.counted_at <= now < row.counted_at + pause


def _count(row: Quota) -> None:
    """A complete count into the row."""
    row.counted_at, began = timezone.now(), time.monotonic()
    # Before the count: what comes meanwhile is newer, and counts twice rather than never.
    row.counted_to = Manifest.objects.aggregate(newest=Max("pk"))["newest"] or 0
    with connection.cursor() as cursor:
        cursor.execute(_BYTES, _inside(row.namespace))
        row.counted_bytes = row.used_bytes = int(cursor.fetchone()[0])
    row.counted_seconds, row.is_estimate = round(time.monotonic() - began, 3), False


def _added(row: Quota) -> int:
    """Bytes of the blobs that only manifests since the last complete count need."""
    inside = _inside(row.namespace)
    with connection.cursor() as cursor:
        cursor.execute(_ADDED, [*inside, row.counted_to, row.counted_to])
        return int(cursor.fetchone()[0])


def _inside(namespace: str) -> list[str]:
    """The parameters of _REPOSITORIES."""
    return [namespace, namespace.partition("/")[0], f"{namespace}/", f"{namespace}/"]


# As `repositories`.
_REPOSITORIES = """
    SELECT id FROM registryui_repository WHERE name = %s
    UNION ALL
    SELECT id FROM registryui_repository
    WHERE namespace = %s AND SUBSTR(name, 1, LENGTH(%s)) = %s
"""
_BYTES = f"""
    WITH RECURSIVE inside AS ({_REPOSITORIES}), needed(id, repository_id) AS (
        SELECT manifest.id, manifest.repository_id FROM inside
        JOIN registryui_tag tag ON tag.repository_id = inside.id
        JOIN registryui_manifest manifest ON manifest.id = tag.manifest_id
        UNION
        SELECT child.id, child.repository_id FROM needed
        JOIN registryui_imageindexentry entry ON entry.image_index_id = needed.id
        JOIN registryui_manifest child ON child.repository_id = needed.repository_id
            AND child.digest = entry.digest
    )
    SELECT COALESCE(SUM(size), 0) FROM registryui_blob WHERE id IN (
        SELECT edge.blob_id FROM needed
        JOIN registryui_manifestblob edge ON edge.manifest_id = needed.id
    )
"""  # noqa: S608  (nothing from outside)
# The plus signs keep SQLite from searching each repository: a hundred times slower.
_ADDED = f"""
    WITH inside AS ({_REPOSITORIES})
    SELECT COALESCE(SUM(size), 0) FROM registryui_blob WHERE id IN (
        SELECT edge.blob_id FROM registryui_manifest manifest
        JOIN registryui_manifestblob edge ON edge.manifest_id = manifest.id
        WHERE +manifest.repository_id IN (SELECT id FROM inside) AND manifest.id > %s
    ) AND NOT EXISTS (
        SELECT 1 FROM registryui_manifestblob edge
        WHERE edge.blob_id = registryui_blob.id
            AND +edge.repository_id IN (SELECT id FROM inside) AND edge.manifest_id <= %s
    )
"""  # noqa: S608  (nothing from outside)
