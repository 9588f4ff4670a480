"""The one time limit of acts that need the registry: somebody waits for a page or a command."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext as _

from ..refused import Refused
from .client import RegistryClient
from .errors import RegistryError, Unreachable

TIMEOUT = (1.0, 2.0)  # seconds to connect, and for the answer; asked twice, that is below 5


class NotResponding(Refused):
    """The registry does not respond."""


def require_answer() -> None:
    """NotResponding if the registry does not respond at all: asked before anything is begun,
    because each later request has half a minute, which a slow store may need."""
    try:
        with RegistryClient(settings.REGISTRY_URL, timeout=TIMEOUT) as registry:
            registry.ping()
    except Unreachable as error:
        raise NotResponding(
            _(
                "The registry does not respond, so nothing was done: see Health, or type "
                "./boathouse status."
            )
        ) from error
    except RegistryError:
        return  # it answers: what, the act finds out
