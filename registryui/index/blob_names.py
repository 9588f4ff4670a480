"""What blobs are stored under that manifests name by another digest than sha256, as the index
remembers it. Written by bulk.py; read by pages, comparisons and garbage collection."""

from collections.abc import Iterable

from registryui.models import BlobName
from registryui.oci.digest import is_canonical

CHUNK = 20_000  # digests of one statement


def remembered(digests: Iterable[str]) -> dict[str, str]:
    """Of those of these digests that are no sha256 the one that is; without those nobody knows. No
    query if all are."""
    others = [one for one in digests if not is_canonical(one)]
    found: dict[str, str] = {}
    for start in range(0, len(others), CHUNK):
        rows = BlobName.objects.filter(digest__in=others[start : start + CHUNK])
        found |= dict(rows.values_list("digest", "blob__digest"))
    return found
