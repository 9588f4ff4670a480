"""Whether garbage collection can read the store from here, and what to do instead."""

from __future__ import annotations

from django.utils.translation import gettext as _

from registryui.failures import in_words
from registryui.refused import Refused
from registryui.registry import choose
from registryui.registry.errors import RegistryError


def obstacle() -> str:
    """Why garbage collection cannot run here, a sentence; "" if it can. Asks no network."""
    if choose.choose("auto").kind != "store":
        return _("Garbage collection cannot run: the store cannot be read. Run ./boathouse doctor")
    try:
        choose.open_quarantine()
    except (Refused, RegistryError) as error:
        return in_words(error)
    return ""
