"""How big everything is, measured by the worker so that no page sums over the store.

    size         bytes of the distinct blobs (config and layers) of a repository, of a namespace,
                 of the store: what they take on disk. A blob that two repositories have counts in
                 both, and in their namespace once.
    own size     of these, the bytes of blobs that no other repository (namespace) has: what would
                 be freed if it went away. size - own size is shared with others.
    shared size  of the store: bytes of blobs that two manifests or more need.
    named size   bytes of all tags together if each lay there alone.
    undo size    bytes that only deleted and overwritten tags need which undo still keeps; of these
                 blobs, too, an estimate: see freed.py.

Manifests themselves, some kB each, count in Repository.size (kept by ingest.py) and nowhere else.
Foreign layers are not in the registry and have size 0. The rest is as true as it is old:
StoreDay.measured_at says when.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from registryui import runs
from registryui.models import (
    UNKNOWN,
    Blob,
    NamespaceSize,
    Repository,
    Run,
    StoreDay,
    Tag,
    TagTombstone,
)

from . import counts, freed

PAUSE = timedelta(seconds=2)  # between two measurements, at least
SHARE = 20  # the pause is so many times what measuring took: it takes 5 % of one processor
BATCH = 500  # rows a transaction: nobody waits long for it


def newest() -> StoreDay | None:
    """The store as it was last measured; None: it never was."""
    return StoreDay.objects.filter(measured_at__gt=UNKNOWN).order_by("-day").first()


def pause_left() -> float:
    """Seconds until it may be measured again, 0.0 if it may be now."""
    last = newest()
    return _pause_left(last) if last else 0.0


def _pause_left(last: StoreDay) -> float:
    pause = max(PAUSE, timedelta(seconds=SHARE * last.seconds))
    return max(0.0, (last.measured_at + pause - timezone.now()).total_seconds())


def is_due() -> bool:
    """True if something changed, or a day began, since the last time, and that is not just now."""
    last, now = newest(), timezone.now()
    if last is None:
        return True
    if _pause_left(last):
        return False
    at = Repository.objects.aggregate(at=Max("changed_at"))["at"]
    changed = at is not None and at >= last.measured_at
    ended = TagTombstone.objects.filter(keep_until__gt=last.measured_at, keep_until__lte=now)
    count = counts.of_store().repositories
    is_other = changed or count != last.repositories or last.day != now.date()
    return is_other or ended.exists()


@dataclass(slots=True)
class Result(runs.Result):
    """Run.result of a SIZES."""

    changed: int = 0  # repositories
    seconds: float = 0.0


def measure(*, by: str) -> Run | None:
    """Measures all of it; None if somebody else does so already."""
    run = runs.begin(Run.Kind.SIZES, by=by)
    if run is None:
        return None
    with runs.Work(run, Result()) as work:
        started, clock = timezone.now(), time.monotonic()
        work.result.changed = _write_repositories(_own_sizes())
        _write_namespaces(_namespace_sizes())
        store = _store()
        work.result.seconds = seconds = round(time.monotonic() - clock, 3)
        StoreDay.objects.update_or_create(
            day=started.date(), defaults={**store, "measured_at": started, "seconds": seconds}
        )
    return run


# A pair: which repository has which blob, once; an index of the edges holds it in this order.
_OWN = """
    WITH pair AS (SELECT DISTINCT blob_id, repository_id FROM registryui_manifestblob)
    SELECT one.repository_id, SUM(blob.size)
    FROM (
        SELECT blob_id, MIN(repository_id) AS repository_id FROM pair
        GROUP BY blob_id HAVING COUNT(*) = 1
    ) one
    JOIN registryui_blob blob ON blob.id = one.blob_id
    GROUP BY one.repository_id
"""
_NAMESPACES = """
    WITH pair AS (SELECT DISTINCT blob_id, repository_id FROM registryui_manifestblob)
    SELECT held.namespace, SUM(blob.size), SUM(CASE WHEN holders = 1 THEN blob.size ELSE 0 END)
    FROM (
        SELECT blob_id, namespace, COUNT(*) OVER (PARTITION BY blob_id) AS holders
        FROM (
            SELECT DISTINCT pair.blob_id, repository.namespace FROM pair
            JOIN registryui_repository repository ON repository.id = pair.repository_id
        ) below
    ) held
    JOIN registryui_blob blob ON blob.id = held.blob_id
    GROUP BY held.namespace
"""


def _own_sizes() -> dict[int, int]:
    """Own size of each repository that has one, by its id."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN)
        return {repository: int(size) for repository, size in cursor.fetchall()}


def _namespace_sizes() -> dict[str, tuple[int, int]]:
    """Size and own size by namespace; repositories without one are under ""."""
    with connection.cursor() as cursor:
        cursor.execute(_NAMESPACES)
        return {name: (int(size), int(own)) for name, size, own in cursor.fetchall()}


def _write_repositories(sizes: Mapping[int, int]) -> int:
    """Returns how many changed."""
    changed = [
        Repository(pk=pk, own_size=sizes.get(pk, 0))
        for pk, before in Repository.objects.values_list("pk", "own_size")
        if before != sizes.get(pk, 0)
    ]
    for start in range(0, len(changed), BATCH):
        Repository.objects.bulk_update(changed[start : start + BATCH], ["own_size"])
    return len(changed)


@transaction.atomic
def _write_namespaces(sizes: Mapping[str, tuple[int, int]]) -> None:
    rows = [
        NamespaceSize(
            namespace=name,
            repository_count=counted.repositories,
            tag_count=counted.tags,
            size=sizes.get(name, (0, 0))[0],
            own_size=sizes.get(name, (0, 0))[1],
        )
        for name, counted in counts.by_namespace().items()
        if name
    ]
    NamespaceSize.objects.bulk_create(
        rows,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["namespace"],
        update_fields=["repository_count", "tag_count", "size", "own_size"],
    )
    gone = set(NamespaceSize.objects.values_list("namespace", flat=True))
    gone -= {row.namespace for row in rows}
    for name in gone:
        NamespaceSize.objects.filter(namespace=name).delete()


def _store() -> dict[str, int]:
    """The columns of StoreDay that are measured."""
    counted = asdict(counts.of_store())
    blobs = Blob.objects.aggregate(
        blobs=Count("pk"),
        total=Sum("size"),
        shared_size=Sum("size", filter=Q(manifest_count__gt=1)),
    )
    blobs["size"] = blobs.pop("total")
    named = Tag.objects.filter(refers_to="").aggregate(named_size=Sum("size"))
    undo = {"undo_size": freed.only_for_undo(timezone.now())}
    return {name: value or 0 for name, value in {**counted, **blobs, **named, **undo}.items()}
