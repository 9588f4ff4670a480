"""Fetches pinned tags anew, so that what moved at the upstream is here before anybody pulls it, and
is still here when the upstream is away.

    tag ─► manifest ─► of an image index the platforms that were here before, else linux/amd64
                   └► config and layers that are absent

Asks the mirror service as a client does, which asks the upstream only about tags that it has not
checked lately. These requests are our own: they count as no pull.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import quote

from django.conf import settings

from registryui import sockets
from registryui.index import events
from registryui.models import ImageIndexEntry, Manifest, Mirror, Tag
from registryui.models.activity import OWN_CLIENT
from registryui.oci import media_types
from registryui.oci.manifest import Descriptor, parse_manifest
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry.choose import open_source
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError

from .keeping import is_pinned

log = logging.getLogger(__name__)

SECONDS = 120  # without a byte
PIECE = 1024 * 1024  # bytes
USUAL = ("linux", "amd64", "")

Platform = tuple[str, str, str]  # os, architecture, variant


class Failed(Exception):
    """One tag was not refreshed, because: words."""


def refresh_all() -> list[str]:
    """Refreshes the pinned tags of all mirrors that are enabled; a line for each that failed. One
    query if nothing is pinned."""
    lines = []
    for row in Mirror.objects.filter(is_active=True).exclude(pins=""):
        for repository, tag in pinned(row):
            try:
                refresh(repository, tag)
            except (Failed, RegistryError) as error:
                lines.append(f"{repository}:{tag}: {error}")
    for line in lines:
        log.warning("not refreshed: %s", line)
    return lines


def pinned(row: Mirror) -> list[tuple[str, str]]:
    """Repositories and tags that are pinned: those that are here, and those whose pin names one."""
    matches = is_pinned(row)
    rows = Tag.objects.filter(repository__namespace=row.name, refers_to="").order_by()
    found = {
        (name, tag)
        for name, tag in rows.values_list("repository__name", "name").iterator()
        if matches(name.partition("/")[2], tag)
    }
    for line in row.pins.split():
        repository, _colon, tag = line.partition(":")
        short = repository.removeprefix("library/") if row.is_library else repository
        if (
            "*" not in line
            and not {(f"{row.name}/{one}", tag) for one in (repository, short)} & found
        ):
            found.add((f"{row.name}/{repository}", tag))
    return sorted(found)


def refresh(repository: str, tag: str) -> None:
    """Fetches what of the tag is not here, and tells the index. Failed, or RegistryError."""
    wanted = _platforms(repository, tag)
    top = _manifest(repository, tag)
    images = [top]
    if top.children:
        images = [_manifest(repository, digest) for digest in _chosen(top, wanted)]
    with RegistryClient(settings.REGISTRY_URL) as registry:
        for blob in {blob: None for image in images for blob in image.blobs}:
            if not registry.has_blob(repository, blob):
                _read(f"/v2/{repository}/blobs/{blob}")
    with open_source() as source:
        events.probe_mirrored(
            source, repository, {tag}, {one.digest for one in images if one is not top}
        )


@dataclass(frozen=True, slots=True)
class _Manifest:
    digest: str  # "" of the tag's own, which the index asks for
    children: tuple[tuple[str, Platform], ...]
    blobs: tuple[str, ...]


def _manifest(repository: str, reference: str) -> _Manifest:
    media_type, raw = _answer(f"/v2/{repository}/manifests/{quote(reference, safe=':')}")
    try:
        found = parse_manifest(raw, media_type)
    except ValueError as error:
        raise Failed(f"{reference} is no manifest: {error}") from error
    own: Iterable[Descriptor] = (*((found.config,) if found.config else ()), *found.layer_blobs)
    return _Manifest(
        reference if ":" in reference else "",
        tuple(
            (one.digest, _platform(one))
            for one in found.entries
            if media_types.is_manifest(one.media_type)
        ),
        tuple(one.digest for one in own if not one.urls),
    )


def _platform(one: Descriptor) -> Platform:
    on = one.platform
    return (on.os, on.architecture, on.variant) if on else ("", "", "")


def _platforms(repository: str, tag: str) -> set[Platform]:
    """Those of which the tag's image is here now."""
    rows = Tag.objects.filter(repository__name=repository, name=tag)
    index = rows.values_list("manifest", flat=True).first()
    entries = ImageIndexEntry.objects.filter(image_index=index)
    found = dict(entries.values_list("digest", "position"))
    here = Manifest.objects.filter(repository__name=repository, digest__in=found)
    present = set(here.values_list("digest", flat=True))
    return set(entries.filter(digest__in=present).values_list("os", "architecture", "variant"))


def _chosen(top: _Manifest, wanted: set[Platform]) -> list[str]:
    """The children to fetch: of these platforms, else of the usual one, else the first."""
    for some in (wanted, {USUAL}):
        if found := [digest for digest, platform in top.children if platform in some]:
            return found
    return [digest for digest, _platform in top.children[:1]]


# -- one request -----------------------------------------------------------------------------------
def _answer(path: str) -> tuple[str, bytes]:
    """Media type and content of a manifest."""
    content = b""
    pieces = _pieces(path)
    media_type = next(pieces).decode()
    for piece in pieces:
        content += piece
        if len(content) > MANIFEST_LIMIT:
            raise Failed(f"{path} is too large")
    return media_type, content


def _read(path: str) -> None:
    for _piece in _pieces(path):
        pass


def _pieces(path: str) -> Iterator[bytes]:
    """The media type, then the content."""
    connection = sockets.Connection(sockets.mirror(), timeout=SECONDS)
    headers = {"Accept": ", ".join(media_types.OF_SCHEMA_2), "User-Agent": OWN_CLIENT}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"the mirror service returned {response.status}")
        yield media_types.bare(response.headers.get("Content-Type", "")).encode()
        while piece := response.read(PIECE):
            yield piece
        if response.length:
            raise Failed(f"only a part of {path} came")
    except (OSError, HTTPException) as error:
        raise Failed(f"the mirror service does not respond: {error}") from error
    finally:
        connection.close()
