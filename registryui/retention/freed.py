"""How many bytes garbage collection frees once the tags of a retention report are gone."""

from __future__ import annotations

from registryui.index.freed import freed
from registryui.models import RetentionFate, Run

# Those that lose their last tag: the report knows if one stays beside it.
_GOING = """
    SELECT DISTINCT repository.id AS repository_id, fate.digest, fate.tag
    FROM registryui_retentionfate fate
    JOIN registryui_repository repository ON repository.name = fate.repository
    WHERE fate.run_id = %s AND fate.kind = %s AND fate.beside = ''
"""


def by(run: Run) -> int:
    """Bytes that the tags going in the run's report would free, or freed."""
    return freed(_GOING, [run.pk, RetentionFate.Kind.GOES])
