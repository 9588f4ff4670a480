"""How many bytes garbage collection frees once the tags of a retention report are gone.

One query over the edges of the whole store, so what two repositories share counts if it goes from
both. Held is a blob that any other manifest has, also an untagged one that waits to go:
the true figure is this one or more. Manifests themselves, some kB each, are left out.
"""

from __future__ import annotations

from django.db import connection

from registryui.models import RetentionFate, Run

# image  manifests that lose their last tag: the report knows if one stays beside it
# gone   with the children of image indexes, but for those that a tag or an index that stays keeps
_FREED = """
    WITH going AS MATERIALIZED (
        SELECT DISTINCT repository.id AS repository_id, fate.digest, fate.tag
        FROM registryui_retentionfate fate
        JOIN registryui_repository repository ON repository.name = fate.repository
        WHERE fate.run_id = %s AND fate.kind = %s AND fate.beside = ''
    ), image AS MATERIALIZED (
        SELECT DISTINCT manifest.id, manifest.repository_id, manifest.digest
        FROM going
        JOIN registryui_manifest manifest ON manifest.repository_id = going.repository_id
            AND manifest.digest = going.digest
    ), part AS MATERIALIZED (
        SELECT id, repository_id, digest FROM image
        UNION
        SELECT child.id, child.repository_id, child.digest
        FROM image
        JOIN registryui_imageindexentry entry ON entry.image_index_id = image.id
        JOIN registryui_manifest child ON child.repository_id = image.repository_id
            AND child.digest = entry.digest
    ), gone AS MATERIALIZED (
        SELECT part.id FROM part
        WHERE NOT EXISTS (
            SELECT 1 FROM registryui_tag tag
            WHERE tag.manifest_id = part.id AND tag.refers_to = '' AND NOT EXISTS (
                SELECT 1 FROM going
                WHERE going.repository_id = tag.repository_id AND going.tag = tag.name
            )
        ) AND NOT EXISTS (
            SELECT 1 FROM registryui_imageindexentry entry
            JOIN registryui_manifest holder ON holder.id = entry.image_index_id
            WHERE entry.digest = part.digest AND holder.repository_id = part.repository_id
                AND NOT EXISTS (SELECT 1 FROM image WHERE image.id = holder.id)
        )
    )
    SELECT COALESCE(SUM(blob.size), 0)
    FROM (
        SELECT edge.blob_id, COUNT(DISTINCT edge.manifest_id) AS holders
        FROM gone JOIN registryui_manifestblob edge ON edge.manifest_id = gone.id
        GROUP BY edge.blob_id
    ) held
    JOIN registryui_blob blob ON blob.id = held.blob_id
    WHERE blob.manifest_count = held.holders
"""


def by(run: Run) -> int:
    """Bytes that the tags going in the run's report would free, or freed."""
    with connection.cursor() as cursor:
        cursor.execute(_FREED, [run.pk, RetentionFate.Kind.GOES])
        return int(cursor.fetchone()[0])
