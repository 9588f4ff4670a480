"""Copies a manifest and all that it names from a `Content` into a `Target`: blobs several at once,
what is there is only asked for, an image index with all its children.

    copy ─► manifest ─┬ image        config and layers
                      ├ image index  each entry in the same way, stored by its digest
                      └ schema 1     Refused: today's registries take none
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from registryui.oci import manifest, media_types
from registryui.oci.digest import is_digest, sha256
from registryui.oci.untrusted import read_object
from registryui.refused import Refused
from registryui.registry.errors import NotFound
from registryui.registry.source import Stored

from .source import Content, Descriptor, Target

AT_ONCE = 4  # blobs of an image
SMALL = 4_000_000  # bytes of an image that threads of its own would make slower: tags have some
NESTING_LIMIT = 4  # image indexes within each other
PIECE = 256 * 1024


def copy(content: Content, repository: str, reference: str, target: Target) -> Stored:
    """Stores all that this manifest of the source names, and returns it, to be tagged. Refused:
    what is wrong with it. RegistryError."""
    stored = content.manifest(repository, reference)
    copy_references(content, repository, stored, target)
    return stored


def copy_references(
    content: Content, repository: str, stored: Stored, target: Target, *, depth: int = NESTING_LIMIT
) -> None:
    """The same of a manifest that is known."""
    found = _parsed(stored)
    if not depth:
        raise Refused(_("It has image indexes within each other, more than four deep."))
    is_index = media_types.is_image_index(found.media_type)
    if found.kind == "cache" and is_index:
        _copy_blobs(content, repository, found.entries, target)
        return
    for entry in found.entries:
        if media_types.is_manifest(entry.media_type) or not entry.media_type:
            if target.manifest(entry.digest) is not None:  # stored after all that it names
                continue
            child = content.manifest(repository, entry.digest)
            copy_references(content, repository, child, target, depth=depth - 1)
            target.put_manifest(child.raw, child.media_type)
        else:
            _copy_blobs(content, repository, (entry,), target)
    _copy_blobs(content, repository, (*filter(None, [found.config]), *found.layers), target)


def image_index(descriptors: Sequence[Mapping[str, Any]]) -> Stored:
    """An OCI image index of these, as fallback tags name one."""
    found = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [*descriptors]}
    raw = json.dumps(found, separators=(",", ":")).encode()
    return Stored(sha256(raw), media_types.OCI_INDEX, raw)


def merged(first: Stored, second: Stored) -> Stored:
    """What refers to an image by one of these image indexes of fallback tags or by both; one of
    them if it lists all. Refused: one is none."""
    lists = [_entries(one) for one in (first, second)]
    known = {one.get("digest") for one in lists[0]}
    new = [one for one in lists[1] if one.get("digest") not in known]
    if not new:
        return first
    if known <= {one.get("digest") for one in lists[1]}:
        return second
    return image_index([*lists[0], *new])


def _entries(stored: Stored) -> list[dict[str, Any]]:
    try:
        found = read_object(stored.raw).get("manifests")
    except ValueError as error:
        raise Refused(_("Its manifest cannot be read: %(error)s.") % {"error": error}) from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Refused(_("The tag is one for referrers, but names no image index."))
    return found


def _parsed(stored: Stored) -> manifest.Manifest:
    if media_types.is_schema1(stored.media_type):
        raise Refused(
            _("It has Docker's schema 1, which cannot be imported: push it with a newer Docker.")
        )
    try:
        found = manifest.parse_manifest(stored.raw, stored.media_type)
    except ValueError as error:
        raise Refused(_("Its manifest cannot be read: %(error)s.") % {"error": error}) from error
    if found.kind == "unknown":
        raise Refused(_("Its format is unknown: %(type)s.") % {"type": found.media_type[:100]})
    return found


def _copy_blobs(
    content: Content,
    repository: str,
    descriptors: tuple[manifest.Descriptor, ...],
    target: Target,
) -> None:
    blobs = {one.digest: one for one in descriptors if is_digest(one.digest)}
    size = sum(one.size for one in blobs.values())
    target.expect(size)
    if len(blobs) == 1 or size < SMALL:
        for one in blobs.values():
            _copy_blob(content, repository, one, target)
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(blobs) or 1), thread_name_prefix="blob") as pool:
        waiting = [
            pool.submit(_copy_blob, content, repository, one, target) for one in blobs.values()
        ]
        try:
            for each in waiting:
                each.result()
        finally:
            for each in waiting:
                each.cancel()


def _copy_blob(content: Content, repository: str, one: manifest.Descriptor, target: Target) -> None:
    with target.alone(one.digest):
        if target.has_blob(one.digest, one.size):
            return
        try:
            with content.blob(repository, Descriptor(one.digest, one.size)) as stream:
                target.upload(_pieces(stream), digest=one.digest, size=one.size or -1)
        except NotFound:
            if not one.is_foreign:  # it is elsewhere, and need not be here
                raise


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece
