"""What a Helm chart says of itself: facts of its config, README and values out of its layer.

config  JSON, in the index ─► Chart
layer   NAME/README.md, NAME/values.yaml … in a tar.gz of at most LAYER_LIMIT, which may unpack
        to UNPACKED_LIMIT bytes of memory. Written by strangers: links lead nowhere, texts are cut
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from django.utils.translation import gettext as _

from registryui import formats
from registryui.imports.archive import compression, tar
from registryui.oci import media_types
from registryui.oci.manifest import parse_manifest
from registryui.oci.untrusted import read_object, text, texts
from registryui.refused import Refused
from registryui.registry.choose import open_source
from registryui.registry.errors import RegistryError, TooLarge, Unreachable

LAYER_LIMIT = 8_000_000  # bytes; Helm's own charts have some 100,000
UNPACKED_LIMIT = 24_000_000
TEXT_LIMIT = 200_000  # bytes of a README, or of values
_READMES = ("readme.md", "readme.txt", "readme")  # as `helm show readme` looks for them
_LINKS = 5


@dataclass(frozen=True, slots=True)
class Chart:
    """What Chart.yaml says; "" for what it does not."""

    name: str = ""
    version: str = ""
    app_version: str = ""
    description: str = ""
    kube_version: str = ""
    home: str = ""
    sources: tuple[str, ...] = ()
    is_deprecated: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A text of the chart."""

    name: str
    text: str
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Files:
    """README and values; None: the chart has no such file."""

    readme: File | None = None
    values: File | None = None


def chart(config: bytes | memoryview | None) -> Chart:
    """The facts in a chart's config; empty if it cannot be read."""
    try:
        found = read_object(bytes(config or b"{}"))
    except ValueError:
        return Chart()
    return Chart(
        name=text(found.get("name"), limit=255),
        version=text(found.get("version"), limit=255),
        app_version=text(found.get("appVersion"), limit=255),
        description=text(found.get("description"), limit=2000),
        kube_version=text(found.get("kubeVersion"), limit=255),
        home=text(found.get("home"), limit=2000),
        sources=texts(found.get("sources"))[:_LINKS],
        is_deprecated=found.get("deprecated") is True,
    )


def files(repository: str, raw: bytes, media_type: str) -> Files:
    """README and values of the chart that this manifest is. Refused: they cannot be read."""
    try:
        layers = parse_manifest(raw, media_type).layer_blobs
    except ValueError:
        layers = ()
    layer = next((one for one in layers if one.media_type == media_types.HELM_CHART), None)
    if layer is None:
        raise Refused(_("This chart has no layer with its files."))
    return _files(repository, layer.digest)


@lru_cache(maxsize=32)
def _files(repository: str, digest: str) -> Files:
    with _unpacked(_layer(repository, digest)) as handle:
        found = tar.members(handle, os.fstat(handle).st_size)
        own = {  # of the chart itself, not of those that it includes
            one.name.partition("/")[2].lower(): one for one in found.values() if not one.link
        }
        readme = next((own[name] for name in _READMES if name in own), None)
        return Files(_file(handle, readme), _file(handle, own.get("values.yaml")))


def _layer(repository: str, digest: str) -> bytes:
    too_large = Refused(
        _("The chart has more than %(size)s: pull it to read its files.")
        % {"size": formats.size(LAYER_LIMIT)}
    )
    try:
        with open_source() as source:
            found = source.blob(repository, digest, limit=LAYER_LIMIT)
    except TooLarge as error:
        raise too_large from error
    except Unreachable as error:
        raise Refused(
            _("The registry does not respond, so the chart's files cannot be shown: see Health.")
        ) from error
    except RegistryError as error:
        raise Refused(_("The chart cannot be read: %(error)s.") % {"error": error}) from error
    if found is None:
        raise Refused(_("The chart's layer is missing: push the chart again."))
    return found


@contextmanager
def _unpacked(packed: bytes) -> Iterator[int]:
    """A handle of the unpacked archive, in memory."""
    handle = os.memfd_create("chart")
    try:
        how, size = compression.kind(packed[: compression.HEAD]), 0
        pieces = compression.unpacked(io.BytesIO(packed), how) if how else [packed]
        for piece in pieces:
            size += len(piece)
            if size > UNPACKED_LIMIT:
                raise Refused(
                    _("The chart unpacks to more than %(size)s: pull it to read its files.")
                    % {"size": formats.size(UNPACKED_LIMIT)}
                )
            os.write(handle, piece)
        yield handle
    finally:
        os.close(handle)


def _file(handle: int, member: tar.Member | None) -> File | None:
    if member is None:
        return None
    content = os.pread(handle, min(member.size, TEXT_LIMIT), member.offset)
    return File(
        member.name.partition("/")[2],
        content.decode("utf-8-sig", "replace").replace("\r\n", "\n"),
        is_cut=member.size > TEXT_LIMIT,
    )
