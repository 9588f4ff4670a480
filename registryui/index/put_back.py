"""A tag set again on a digest that it had before, by an operator.

The stored bytes of the manifest are PUT under the tag. What moved is in the tag's history like any
push, under the operator's name, and so the other digest can be put back in the same way.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui.models import Manifest, Operator, RegistryEvent
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError
from registryui.registry.source import Stored

from . import ingest
from .events import OWN_ACT
from .fetch import Look


def put_back(repository: str, tag: str, digest: str, *, expected: str, by: Operator) -> None:
    """Sets the tag on `digest`, if it is still on `expected` ("": on nothing).

    Raises Refused with what is in the way: the tag moved meanwhile, the registry lacks something
    that the image needs, it does not answer. Between our look and the PUT lie milliseconds in
    which somebody else may push; the history shows both then.
    """
    manifest = Manifest.objects.filter(repository__name=repository, digest=digest).first()
    if manifest is None:
        raise Refused(_("The index no longer has that image, so it cannot be put back."))
    act = uuid.uuid4().hex
    try:
        with RegistryClient(settings.REGISTRY_URL, act=act) as registry:
            _check_not_moved(registry, repository, tag, expected)
            _put(registry, act, tag, manifest, by)
    except RegistryError as error:
        if error.status in (400, 404):
            raise Refused(
                _(
                    "The registry lacks a part of that image, so it cannot be put back: %s. Push "
                    "it again."
                )
                % (error.code or error.status)
            ) from error
        raise Refused(
            _("The registry did not answer as it should: %s. Look at the tag again in a moment.")
            % error
        ) from error


def _check_not_moved(registry: RegistryClient, repository: str, tag: str, expected: str) -> None:
    now = registry.resolve(repository, tag) or ""
    if now != expected:
        raise Refused(
            _("The tag %s moved since this page was shown. Look at it again and decide anew.") % tag
        )


def _put(registry: RegistryClient, act: str, tag: str, manifest: Manifest, by: Operator) -> None:
    """The PUT, and who did it. The event is written first: the registry's own one, which does not
    know the operator, may come before the answer, and is left out because this one is there."""
    name = manifest.repository.name
    stored = Stored(manifest.digest, manifest.media_type, bytes(manifest.raw))
    event = RegistryEvent.objects.create(
        event_id=f"{OWN_ACT}{act}",
        action="push",
        repository=name,
        tag=tag,
        digest=stored.digest,
        media_type=stored.media_type,
        at=timezone.now(),
        actor=by.actor[:255],
        client="boathouse",
    )
    try:
        registry.put_manifest(name, tag, stored.raw, stored.media_type)
    except RegistryError as error:
        if not error.temporary:  # no answer: it may have been done; the worker looks
            event.delete()
        raise
    row = manifest.repository.tags.filter(name=tag).select_related("manifest").first()
    before = row.manifest.digest if row and row.manifest else ""
    move = ingest.Move(stored.digest, event.at, event.actor)
    ingest.save(name, [Look(tag, before, stored.digest, stored)], [], moves={tag: move})
