"""How many bytes lie in the store for some manifests alone, by the index: what garbage collection
frees once nothing keeps these.

One query over the edges of the whole store, so what two repositories share counts if it goes from
both. It says what graph.py says, or less: whatever does not go with these keeps its parts and
blobs, also an untagged manifest that waits for garbage collection. Manifests themselves, some kB
each, referrers and what nested image indexes list are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

# image  the manifests of `going`
# part   with the children of image indexes
# kept   of those what something else keeps, and what these keep
_FREED = """
    WITH RECURSIVE going AS MATERIALIZED (
        {going}
    ), image AS MATERIALIZED (
        SELECT DISTINCT manifest.id, manifest.repository_id, manifest.digest,
            manifest.subject_digest
        FROM going
        JOIN registryui_manifest manifest ON manifest.repository_id = going.repository_id
            AND manifest.digest = going.digest
    ), part AS MATERIALIZED (
        SELECT * FROM image
        UNION
        SELECT child.id, child.repository_id, child.digest, child.subject_digest
        FROM image
        JOIN registryui_imageindexentry entry ON entry.image_index_id = image.id
        JOIN registryui_manifest child ON child.repository_id = image.repository_id
            AND child.digest = entry.digest
    ), edge AS MATERIALIZED (
        SELECT keeper.id AS keeper_id, part.id
        FROM part keeper
        JOIN registryui_imageindexentry entry ON entry.image_index_id = keeper.id
        JOIN part ON part.repository_id = keeper.repository_id AND part.digest = entry.digest
        UNION
        SELECT keeper.id, part.id FROM part
        JOIN part keeper ON keeper.repository_id = part.repository_id
            AND keeper.digest = part.subject_digest
    ), kept(id) AS (
        SELECT part.id FROM part
        WHERE EXISTS (
            SELECT 1 FROM registryui_tag tag
            WHERE tag.manifest_id = part.id AND NOT EXISTS (
                SELECT 1 FROM going
                WHERE going.repository_id = tag.repository_id AND going.tag = tag.name
            )
        ) OR EXISTS (
            SELECT 1 FROM registryui_imageindexentry entry
            JOIN registryui_manifest keeper ON keeper.id = entry.image_index_id
            WHERE entry.digest = part.digest AND keeper.repository_id = part.repository_id
                AND NOT EXISTS (SELECT 1 FROM part other WHERE other.id = keeper.id)
        ) OR part.subject_digest <> '' AND NOT EXISTS (
            SELECT 1 FROM part keeper
            WHERE keeper.repository_id = part.repository_id AND keeper.digest = part.subject_digest
        )
        UNION
        SELECT edge.id FROM kept JOIN edge ON edge.keeper_id = kept.id
    )
    SELECT COALESCE(SUM(blob.size), 0)
    FROM (
        SELECT edge.blob_id, COUNT(DISTINCT edge.manifest_id) AS holders
        FROM (SELECT id FROM part EXCEPT SELECT id FROM kept) gone
        JOIN registryui_manifestblob edge ON edge.manifest_id = gone.id
        GROUP BY edge.blob_id
    ) held
    JOIN registryui_blob blob ON blob.id = held.blob_id
    WHERE blob.manifest_count = held.holders
"""

# What undo keeps. A tag on it is another one: none goes.
_UNDO = """
    SELECT DISTINCT repository.id AS repository_id, tombstone.digest, NULL AS tag
    FROM registryui_tagtombstone tombstone
    JOIN registryui_repository repository ON repository.name = tombstone.repository
    WHERE tombstone.keep_until > %s AND tombstone.restored_at IS NULL
        AND tombstone.ended_at IS NULL
"""


def freed(going: str, params: Sequence[Any]) -> int:
    """Bytes. `going`: a query of repository_id, digest and the tag that goes from it, NULL for
    none."""
    with connection.cursor() as cursor:
        cursor.execute(_FREED.format(going=going), params)
        return int(cursor.fetchone()[0])


def only_for_undo(at: datetime) -> int:
    """Bytes that only undo keeps at that moment. Manifests that clients deleted by digest are not
    in the index any more: what these alone need is left out."""
    return freed(_UNDO, [at])
