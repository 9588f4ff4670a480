"""How many repositories, tags and manifests there are, at the cost of one row a namespace.

Counting them is a walk over all repositories, the slowest part of a page at a million tags. The
database writes down each change in the transaction that makes it (CountChange): the sum is exact
for whoever reads, whatever wrote. A thousand changes are as slow as a thousand repositories, so the
worker makes one row of many now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Sum

from registryui.models import CountChange

LOCK = 0x636F756E74  # the number of our advisory lock
LOOSE = 200  # changes that are left as they are


@dataclass(frozen=True, slots=True)
class Counted:
    """Below a namespace, or in the whole store."""

    repositories: int = 0
    tags: int = 0  # without referrer tags (see Tag.refers_to)
    manifests: int = 0


def by_namespace() -> dict[str, Counted]:
    """Those that have a repository; "" stands for repositories of one part. One query."""
    sums = CountChange.objects.values_list("namespace").annotate(
        Sum("repositories"), Sum("tags"), Sum("manifests")
    )
    return {name: Counted(*found) for name, *found in sums.filter(repositories__sum__gt=0)}


def of_store() -> Counted:
    """The same for all of it. One query."""
    with connection.cursor() as cursor:  # each open overview asks this every two seconds
        cursor.execute(_SUMS)
        return Counted(*(int(value or 0) for value in cursor.fetchone()))


def fold() -> bool:
    """Makes one row of many where that is worth it; True if it was. Who reads meanwhile sees the
    rows before, or those after."""
    found = CountChange.objects.aggregate(rows=Count("pk"), least=Count("namespace", distinct=True))
    if found["rows"] - found["least"] < LOOSE:
        return False
    _replace("gone", "SUM(repositories), SUM(tags), SUM(manifests)")
    return True


def recount(**_signal: Any) -> None:
    """Counts all repositories anew: after a migration, which may have brought the table (or, on the
    way back, taken it away), and after a flush, which empties one table after the other."""
    if CountChange._meta.db_table not in connection.introspection.table_names():
        return
    _replace("registryui_repository", "COUNT(*), SUM(tag_count), SUM(manifest_count)")


@transaction.atomic
def _replace(source: str, sums: str) -> None:
    """All rows by these sums of a table by namespace; `gone` are the rows themselves.

    PostgreSQL does it in one statement, hence of one snapshot: a change written meanwhile is
    neither in the sums nor taken away. A second such statement at once would count twice.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            taken = "DELETE FROM registryui_countchange RETURNING *"
            cursor.execute(_INSERT.format(gone=taken, source=source, sums=sums))
            return
        # SQLite has one writer, and gives later rows higher numbers.
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM registryui_countchange")
        (last,) = cursor.fetchone()
        there = "SELECT * FROM registryui_countchange"
        cursor.execute(_INSERT.format(gone=there, source=source, sums=sums))
        cursor.execute("DELETE FROM registryui_countchange WHERE id <= %s", [last])


_SUMS = "SELECT SUM(repositories), SUM(tags), SUM(manifests) FROM registryui_countchange"
_INSERT = """
    WITH gone AS ({gone})
    INSERT INTO registryui_countchange (namespace, repositories, tags, manifests)
    SELECT namespace, {sums} FROM {source} GROUP BY namespace
"""
