"""Whether collecting can reach the store from here: pages say it, and what to do instead."""

from __future__ import annotations

from django.utils.translation import gettext as _

from registryui.refused import Refused
from registryui.registry import choose
from registryui.registry.errors import RegistryError


def obstacle() -> str:
    """Why this store cannot be collected from here, a sentence; "" if it can. Asks no network."""
    if choose.choose("auto").kind != "store":
        return _("Garbage collection cannot run: the store cannot be read. Run ./boathouse doctor")
    try:
        choose.open_quarantine()
    except (Refused, RegistryError) as error:
        return str(error)
    return ""
