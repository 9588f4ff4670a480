"""Finding things by the text a person types or pastes. Reads the index, writes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.conf import settings
from django.db.models import QuerySet

from registryui.models import Manifest, Repository, Tag

LONGEST = 255  # characters that are read; no name is longer
_HEX = re.compile(r"[0-9a-f]{7,128}")  # fewer digits are rather a word, such as "cafe" or "2024"


@dataclass(frozen=True, slots=True)
class Query:
    """What the text asks for. Each part may be "": not asked for."""

    text: str  # as typed, without the registry's own name before it
    repository: str
    tag: str
    digest: str  # the beginning of a digest, with its algorithm

    @property
    def is_pair(self) -> bool:
        """True for `repository:tag`: both must fit."""
        return self.text != self.repository and bool(self.repository and self.tag)


def read(text: str) -> Query:
    """`api`, `team/api:2.1`, `sha256:4c1b`, `4c1b77e0`, or a whole reference pasted from a
    command. Never raises."""
    text = text.strip().replace("\0", "")[:LONGEST]
    for prefix in ("docker pull ", "docker push "):
        text = text.removeprefix(prefix)
    text = text.strip().removeprefix("https://").removeprefix(f"{settings.REGISTRY_NAME}/")
    name, _at, digest = text.rpartition("@")
    if digest.startswith(("sha256:", "sha384:", "sha512:")):
        return Query(text, name.partition(":")[0], "", digest.lower())
    if _HEX.fullmatch(text.lower()):
        return Query(text, text, text, f"sha256:{text.lower()}")
    repository, colon, tag = text.partition(":")
    if colon:
        return Query(text, repository, tag, "")
    return Query(text, text, text, "")


def repositories(query: Query) -> QuerySet[Repository]:
    """Repositories with the text in their name, in any case and place."""
    if not query.repository or query.text != query.repository:
        return Repository.objects.none()
    return Repository.objects.filter(name__icontains=query.repository)


def tags(query: Query) -> QuerySet[Tag]:
    """Tags with the text in their own name; of `repository:tag` both parts. No attachments."""
    found = Tag.objects.filter(attached_to="").select_related("repository", "manifest")
    if query.text == query.repository:
        return _light(found.filter(name__icontains=query.text))
    if query.repository:
        found = found.filter(repository__name__icontains=query.repository)
    return _light(found.filter(name__icontains=query.tag)) if query.tag else found.none()


def manifests(query: Query) -> QuerySet[Manifest]:
    """Manifests whose digest begins so, by digest; the heavy columns are left out."""
    if not query.digest:
        return Manifest.objects.none()
    found = Manifest.objects.filter(
        # "g" stands behind every hex digit: a range is read from the index, LIKE is not.
        digest__gte=query.digest,
        digest__lt=f"{query.digest}g",
    ).filter(digest__startswith=query.digest)
    if query.repository and query.repository != query.text:
        found = found.filter(repository__name__icontains=query.repository)
    return (
        found.select_related("repository").defer("raw", "config", "annotations").order_by("digest")
    )


def _light(found: QuerySet[Tag]) -> QuerySet[Tag]:
    return found.only(
        *("name", "moved_at", "moved_by", "size", "problem"),
        *("repository__name", "manifest__digest", "manifest__kind"),
    )
