"""Images of an OCI layout (image-spec, image-layout.md): a folder, or a tar archive of one.

    oci-layout, index.json      the descriptors of its images, with their names
    blobs/ALGORITHM/HEX         manifests, configs and layers; an incremental archive has not all

skopeo, podman, buildx and Docker from 25 on write it. Every byte is kept, so digests stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui.imports import copy
from registryui.imports.source import Descriptor, Found, Target
from registryui.oci import manifest as manifests
from registryui.oci import media_types
from registryui.oci.digest import matches, short
from registryui.oci.manifest import Manifest
from registryui.oci.untrusted import LIST_LIMIT, MANIFEST_LIMIT, quoted, read_object
from registryui.refused import Refused
from registryui.registry.errors import BadAnswer, NotFound
from registryui.registry.source import Stored

from .box import Box, read
from .naming import Name, of_layout, problem, renamed

INDEX_LIMIT = 64 * 1024 * 1024  # bytes of index.json: 100,000 tags
_SHOWN = 3  # missing blobs that are named


@dataclass(frozen=True, slots=True)
class _Image:
    """An entry of index.json."""

    digest: str
    media_type: str
    name: Name


class OciLayout:
    """What a Source has, of an OCI layout, and the Content of its images."""

    def __init__(self, box: Box, wanted: Name) -> None:
        """`wanted`: what the administrator calls it."""
        self._box = box
        self._images = renamed([(one, one.digest) for one in _images(box)], wanted)

    # -- a source ----------------------------------------------------------------------------------
    def survey(self) -> Iterator[Found]:
        """See Source."""
        for image in sorted(self._images, key=lambda one: (one.name.repository, one.name.tag)):
            if image.name != Name() or not self._subject(image):
                yield self._found(image)

    def digest(self, found: Found) -> str:
        """See Source."""
        return found.key

    def copy(self, found: Found, target: Target) -> Stored:
        """See Source. Refused with the blobs that neither the archive nor the target has."""
        absent = [one for one in self._blobs(found.key) if self._box.size(blob_place(one)) is None]
        if lacking := [one for one in absent if not target.find(one)]:
            raise _lacking(lacking)
        try:
            return copy.copy(self, found.repository, found.key, target)
        except BadAnswer as error:
            raise Refused(
                _("The archive is damaged: a blob has other content than its digest says.")
            ) from error

    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        """See Source: entries without a name."""
        for image in self._images:
            if image.name == Name() and self._subject(image) == digest:
                yield Found(found.repository, "", key=image.digest)

    # -- content -----------------------------------------------------------------------------------
    def manifest(self, repository: str, reference: str) -> Stored:
        """See Content."""
        raw = read(self._box, blob_place(reference), limit=MANIFEST_LIMIT)
        if raw is None:
            raise NotFound(
                _("The manifest %(digest)s is missing in the archive.") % _shown(reference)
            )
        if not matches(reference, raw):
            raise wrong_digest(reference)
        return Stored(reference, self._media_type(reference, raw), raw)

    def blob(self, repository: str, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """See Content."""
        size = self._box.size(blob_place(descriptor.digest))
        if size is None:
            raise NotFound(
                _("The blob %(digest)s is missing in the archive.") % _shown(descriptor.digest)
            )
        if descriptor.size > 0 and size != descriptor.size:
            raise wrong_digest(descriptor.digest)
        return self._box.open(blob_place(descriptor.digest))

    # -- helpers -----------------------------------------------------------------------------------
    def _found(self, image: _Image) -> Found:
        name, why, size = image.name, problem(image.name), 0
        try:
            size = sum(self._blobs(image.digest).values())
        except (Refused, NotFound) as error:
            why = why or str(error)
        return Found(name.repository, name.tag, problem=why, size=size, key=image.digest)

    def _blobs(self, digest: str) -> dict[str, int]:
        """The sizes of all configs and layers of an image or image index, by their digests."""
        found: dict[str, int] = {}
        waiting, seen = [digest], {digest}
        while waiting:
            parsed = self._parsed(waiting.pop())
            children = [one for one in parsed.entries if media_types.is_manifest(one.media_type)]
            others = [one for one in parsed.entries if not media_types.is_manifest(one.media_type)]
            fresh = dict.fromkeys(one.digest for one in children if one.digest not in seen)
            seen.update(fresh)
            waiting += fresh
            for blob in (*filter(None, [parsed.config]), *parsed.layers, *others):
                if not blob.is_foreign:
                    found[blob.digest] = blob.size
            if len(seen) > LIST_LIMIT:
                raise Refused(
                    _("The image index lists more than %(n)d images.") % {"n": LIST_LIMIT}
                )
        return found

    def _parsed(self, digest: str) -> Manifest:
        stored = self.manifest("", digest)
        return _understood(stored.raw, stored.media_type)

    def _subject(self, image: _Image) -> str:
        try:
            return self._parsed(image.digest).subject
        except (Refused, NotFound):
            return ""

    def _media_type(self, digest: str, raw: bytes) -> str:
        told = next((one.media_type for one in self._images if one.digest == digest), "")
        return _understood(raw, told).media_type


def _understood(raw: bytes, media_type: str) -> Manifest:
    try:
        return manifests.parse_manifest(raw, media_type)
    except ValueError as error:
        raise Refused(
            _("A manifest in the archive cannot be read: %(reason)s") % {"reason": error}
        ) from error


def _images(box: Box) -> Iterator[_Image]:
    """The entries of index.json. Refused: it cannot be read."""
    raw = read(box, "index.json", limit=INDEX_LIMIT)
    try:
        found = read_object(raw or b"", limit=INDEX_LIMIT)
        entries = found.get("manifests")
        if not isinstance(entries, list):
            raise ValueError(f"manifests is not a list: {quoted(entries)}")
        for entry in entries:
            one = manifests.parse_descriptor(entry)
            yield _Image(one.digest, one.media_type, of_layout(dict(one.annotations)))
    except ValueError as error:
        raise Refused(
            _("index.json in the archive cannot be read: %(reason)s") % {"reason": error}
        ) from error


def blob_place(digest: str) -> str:
    """Where a layout has that content."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def _shown(digest: str) -> dict[str, str]:
    return {"digest": digest}


def wrong_digest(digest: str) -> Refused:
    """What to say of a file with other content than its name says."""
    return Refused(
        _("%(digest)s in the archive has other content: the archive is damaged. Copy it once more.")
        % {"digest": digest}
    )


def _lacking(digests: list[str]) -> Refused:
    names = ", ".join(f"sha256:{short(one)}…" for one in digests[:_SHOWN])
    return Refused(
        ngettext(
            "%(count)d blob is neither in the archive nor in this registry (%(names)s): import "
            "first the archive that this one continues.",
            "%(count)d blobs are neither in the archive nor in this registry (%(names)s): import "
            "first the archive that this one continues.",
            len(digests),
        )
        % {"count": len(digests), "names": names}
    )
