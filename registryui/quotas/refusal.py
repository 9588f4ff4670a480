"""Which manifests are refused in a namespace whose quota is used up."""

from __future__ import annotations

from registryui.models import Manifest, Quota, Tag
from registryui.oci import names

from .marks import words


def refusal(repository: str, reference: str, digest: str) -> str:
    """Why a client may not push that manifest under that tag or digest; "" if it may."""
    row = used_up(repository, reference, digest)
    return words(row) if row else ""


def used_up(repository: str, reference: str, digest: str) -> Quota | None:
    """The widest quota that forbids to push that manifest under that tag or digest.

    With no bytes left, a manifest that the repository has may get another tag; with no tags left,
    a tag that exists may move, and referrer tags, which do not count, may be added.
    """
    for row in Quota.objects.covering(repository):
        if row.is_full_of_bytes and not _is_known(repository, digest):
            return row
        if row.is_full_of_tags and _is_new_tag(repository, reference):
            return row
    return None


def _is_known(repository: str, digest: str) -> bool:
    return Manifest.objects.filter(repository__name=repository, digest=digest).exists()


def _is_new_tag(repository: str, reference: str) -> bool:
    if not names.is_tag(reference) or names.referrer_subject(reference):
        return False
    return not Tag.objects.filter(repository__name=repository, name=reference).exists()
