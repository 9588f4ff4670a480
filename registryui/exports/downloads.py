"""One tag as an OCI archive for a browser, while it is made: nothing is stored here for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext as _

from registryui import audit
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.registry.responding import require_answer

from . import archive
from .plan import Plan, plan
from .select import one_tag

AT_ONCE = 2  # of a process, whose threads also answer pages

_free = threading.BoundedSemaphore(AT_ONCE)


@dataclass(slots=True)
class Download:
    """The archive's bytes, to be read once and closed."""

    size: int  # bytes
    _pieces: Iterator[bytes]
    _stack: ExitStack

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """Lets the next one begin."""
        self._stack.close()


def tag(repository: str, name: str, *, by: str) -> Download:
    """That tag with what refers to it. Refused: it is not complete, or others are being
    downloaded. RegistryError."""
    with ExitStack() as stack:
        if not _free.acquire(blocking=False):
            raise Refused(
                _(
                    "Other archives are being downloaded: try again when they are done, or use "
                    "skopeo."
                )
            )
        stack.callback(_free.release)
        require_answer()
        client = stack.enter_context(RegistryClient(settings.REGISTRY_URL))
        found = _planned(repository, name, client)
        registry = settings.REGISTRY_NAME
        audit.record("archive.download", f"{repository}:{name}", by=by)
        size = archive.size(found, registry=registry)
        pieces = archive.pieces(found, client, registry=registry)
        return Download(size, pieces, stack.pop_all())


def _planned(repository: str, name: str, client: RegistryClient) -> Plan:
    found = plan(one_tag(repository, name), client)
    if left_out := next((one for one in found.skipped if one.tag == name), None):
        raise Refused(
            _("%(name)s cannot be downloaded: %(reason)s.")
            % {"name": f"{repository}:{name}", "reason": left_out.problem}
        )
    return found
