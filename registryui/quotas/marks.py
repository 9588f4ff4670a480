"""By which files nginx refuses pushes: those of namespaces whose quota is used up.

    DATA/quota/uploads/…    no bytes are left: nginx refuses uploads of blobs with this content
    DATA/quota/manifests/…  no bytes or no tags: it asks the portal (refusal.py) about manifests,
                            and without the portal refuses them with this content

`…` is `team/@all` (below team/) and `team/@one` (the repository team), as in DATA/rights
(accounts/rights.py). nginx tests at each request: a file counts from the next one on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

from registryui import formats, marker_files
from registryui.models import Quota

UPLOADS, MANIFESTS = "uploads", "manifests"

_written: list[tuple[object, ...]] | None = None  # what this process wrote last


def folder() -> Path:
    """Where the files are; nginx's configuration names it."""
    return Path(settings.DATA / "quota")


def catch_up(rows: Iterable[Quota] | None = None) -> None:
    """Writes the files if these rows (None: those of now) say other things than this process has
    written. OSError."""
    rows = Quota.objects.all() if rows is None else rows
    if _written != _key(rows):
        write()


def write() -> None:
    """Makes the files say what the table says. OSError; not to be called in a transaction."""
    global _written
    with marker_files.alone(folder()):
        rows = list(Quota.objects.all())  # of two writers the later has the later
        wanted = {path: _content(row) for row in rows for path in _paths(row)}
        for path, content in wanted.items():
            marker_files.put(folder(), path, content)
        marker_files.remove_others(folder(), wanted)
    _written = _key(rows)


def words(row: Quota) -> str:
    """Why pushes are refused there, for a client."""
    used = []
    if row.is_full_of_bytes:
        used.append(f"{formats.size(row.used_bytes)} of {formats.size(row.limit_bytes)}")
    if row.is_full_of_tags:
        used.append(f"{row.used_tags:,} of {row.limit_tags:,} tags")
    return (
        f"the quota of namespace {row.namespace} is used up ({' and '.join(used)}); delete tags "
        "there, or ask an administrator for a larger quota"
    )


def _key(rows: Iterable[Quota]) -> list[tuple[object, ...]]:
    full = (row for row in rows if row.is_full)
    return [(row.namespace, row.is_full_of_bytes, row.is_full_of_tags, words(row)) for row in full]


def _paths(row: Quota) -> Iterable[Path]:
    kinds = [UPLOADS] if row.is_full_of_bytes else []
    kinds += [MANIFESTS] if row.is_full else []
    for kind in kinds:
        for marker in ("@all", "@one"):
            yield folder() / kind / row.namespace / marker


def _content(row: Quota) -> bytes:
    error = {"code": "DENIED", "message": words(row), "detail": None}
    return json.dumps({"errors": [error]}).encode()
