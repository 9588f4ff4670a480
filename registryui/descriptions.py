"""What a repository is: the words of operators, or those that its newest image carries.

describe   ─► Description: a line, and a README in Markdown (markdown.py)
from_image ─► labels and annotations of the newest tag, which whoever pushes writes
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from registryui import audit, markdown
from registryui.models import Description, ImageIndexEntry, Manifest, Repository, Tag
from registryui.oci.config import parse_config
from registryui.refused import Refused

log = logging.getLogger(__name__)

TEXT_LIMIT = 500  # characters
README_LIMIT = markdown.LIMIT
_ADDRESS_LIMIT = 2000  # characters
_LABEL = "org.opencontainers.image."


def of(repository: str) -> Description:
    """What was written about it; empty, and not saved, if nothing was."""
    found = Description.objects.filter(repository=repository).first()
    return found or Description(repository=repository)


def fingerprint(row: Description) -> str:
    """Changes with each change of the words."""
    return hashlib.sha256(f"{row.text}\0{row.readme}".encode()).hexdigest()[:16]


def describe(
    repository: str,
    *,
    by: str,
    text: str | None = None,
    readme: str | None = None,
    seen: str | None = None,
) -> Description:
    """Writes what is not None; "" removes it. `seen`: the fingerprint of what the writer saw.

    Refused: no such repository, too long, no text, or changed by somebody else meanwhile.
    """
    if not Repository.objects.filter(name=repository).exists():
        raise Refused(_("There is no repository %(name)s.") % {"name": repository})
    line = None if text is None else _checked(" ".join(text.split()), TEXT_LIMIT)
    if readme is not None:
        readme = _checked(readme.replace("\r\n", "\n").rstrip(), README_LIMIT)
    with transaction.atomic():
        row = Description.objects.select_for_update().filter(repository=repository).first()
        row = row or Description(repository=repository)
        before = fingerprint(row)
        if seen not in (None, before):
            raise Refused(
                _("Somebody changed it while you were writing. Save again to replace their text.")
            )
        row.text = row.text if line is None else line
        row.readme = row.readme if readme is None else readme
        if fingerprint(row) == before:
            return row
        row.changed_by = by[:255]
        if row.text or row.readme:
            row.save()
        else:
            Description.objects.filter(repository=repository).delete()
        details = {"description": row.text, "readme_characters": len(row.readme)}
        audit.record("repository.describe", repository, by=by, details=details)
    log.info("description of %s changed by %s", repository, by)
    return row


def _checked(text: str, limit: int) -> str:
    if "\0" in text:
        raise Refused(_("This is not text: it contains a NUL character."))
    if len(text) > limit:
        raise Refused(
            _("It has %(count)d characters; at most %(limit)d are possible.")
            % {"count": len(text), "limit": limit}
        )
    return text


# -- what the image says -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """An address that a page may link to: http or https."""

    address: str
    host: str


@dataclass(frozen=True, slots=True)
class FromImage:
    """What the newest tag says; empty: nothing. Written by whoever pushed it."""

    tag: str = ""
    text: str = ""
    documentation: Link | None = None
    source: Link | None = None


def from_image(row: Repository) -> FromImage:
    """The words of the newest tag: of its manifest, its config, or those of the first image of its
    image index, the first that has them. One query."""
    entries = ImageIndexEntry.objects.filter(image_index=OuterRef(OuterRef("manifest")))
    children = Manifest.objects.filter(
        repository=row,
        kind=Manifest.Kind.IMAGE,
        digest__in=entries.exclude(os="unknown").values("digest"),  # unknown: an attestation
    ).order_by("architecture", "id")
    found = (
        Tag.objects.filter(repository=row, name=row.newest_tag, manifest__isnull=False)
        .values_list(
            *("manifest__annotations", "manifest__config"),
            *(Subquery(children.values(name)[:1]) for name in ("annotations", "config")),
        )
        .first()
    )
    if found is None:
        return FromImage()
    annotations, config, of_child, config_of_child = found
    sources = [annotations, _labels(config), of_child or {}, _labels(config_of_child)]
    said = {name: next(filter(None, (_says(one, name) for one in sources)), "") for name in _NAMES}
    return FromImage(
        row.newest_tag,
        " ".join(said["description"].split())[:TEXT_LIMIT],
        link(said["documentation"]),
        link(said["source"]),
    )


_NAMES = ("description", "documentation", "source")


def _says(labels: Mapping[str, object], name: str) -> str:
    value = labels.get(_LABEL + name)
    return value.strip() if isinstance(value, str) else ""


def _labels(config: bytes | None) -> Mapping[str, object]:
    if not config:
        return {}
    try:
        return parse_config(bytes(config), with_history=False).labels
    except ValueError:
        return {}


def link(address: str) -> Link | None:
    """What a page may link to, else None. The host is shown beside it: `https://a@b/` leads to
    b."""
    if not (0 < len(address) <= _ADDRESS_LIMIT and address.isascii() and address.isprintable()):
        return None
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or " " in address:
        return None
    return Link(address, host)
