"""Tags an image that is here again, in its repository or in another one, without a pull: blobs are
mounted, and no byte of them is sent.

    manifest ─► its blobs are mounted ─► stored by its digest ─► tagged (deletion/restore.py)
"""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from typing import BinaryIO

from django.utils.translation import gettext as _

from registryui.deletion import restore
from registryui.deletion.restore import Taken
from registryui.models.mirrored import is_mirrored
from registryui.oci.manifest import parse_manifest
from registryui.oci.names import check_repository, check_tag
from registryui.quotas.refusal import used_up
from registryui.refused import Refused
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.responding import require_answer
from registryui.registry.source import Stored

from .copy import copy_references
from .source import Descriptor, Found
from .target import Job, Registry


def add_tag(
    source: str, reference: str, repository: str, tag: str, *, by: str, replace: bool = False
) -> str:
    """Sets `repository:tag` on what `reference`, a tag or a digest, is in `source`; its digest.
    What refers to the image, such as signatures, is not copied to another repository.

    Refused: with what is in the way. Taken, unless `replace`: the tag is on another image.
    """
    _check(repository, tag)
    require_answer()
    try:
        with Registry(act=uuid.uuid4().hex) as registry:
            stored = registry.reads.manifest(source, reference)
            if stored is None:
                raise Refused(_("The registry does not have %(name)s.") % {"name": source})
            if full := used_up(repository, tag, stored.digest):
                words = _("The quota of %(name)s is used up: pushes are refused.")
                raise Refused(words % {"name": full})
            now = registry.reads.resolve(repository, tag) or ""
            if now not in ("", stored.digest) and not replace:
                raise Taken(_("The tag %s exists and points to another image.") % tag, now)
            if source != repository:
                _copy(registry, source, stored, repository)
    except RegistryError as error:
        raise Refused(_("The image could not be copied: %(error)s.") % {"error": error}) from error
    restore.point(repository, tag, stored.digest, expected=now, by=by)
    return stored.digest


def _check(repository: str, tag: str) -> None:
    try:
        check_repository(repository)
    except ValueError:
        raise Refused(
            _("Enter a repository: lower case, such as team/app, without the registry's name.")
        ) from None
    try:
        check_tag(tag)
    except ValueError:
        raise Refused(
            _("Enter a tag: letters, digits, “.”, “_” and “-”, at most 128 characters.")
        ) from None
    if is_mirrored(repository):
        raise Refused(
            _("%(name)s is in the namespace of a mirror, which only its upstream changes.")
            % {"name": repository}
        )


def _copy(registry: Registry, source: str, stored: Stored, repository: str) -> None:
    target = registry.target(Job(Found(source, ""), repository, ""))
    here = _Here(registry)
    here.note(source, stored)
    copy_references(here, source, stored, target)
    target.put_manifest(stored.raw, stored.media_type)


class _Here:
    """Our own registry as the Content of a copy: its blobs are mounted, not read."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def manifest(self, repository: str, reference: str) -> Stored:
        """See Content."""
        stored = self._registry.reads.manifest(repository, reference)
        if stored is None:
            raise NotFound(reference)
        self.note(repository, stored)
        return stored

    def note(self, repository: str, stored: Stored) -> None:
        """That repository has the blobs of this manifest."""
        try:
            found = parse_manifest(stored.raw, stored.media_type)
        except ValueError:  # the copy refuses it, in words
            return
        for one in (*filter(None, [found.config]), *found.layers, *found.entries):
            self._registry.note(one.digest, repository)

    def blob(self, repository: str, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """See Content. It could not be mounted."""
        raise NotFound(descriptor.digest)
