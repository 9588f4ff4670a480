"""The first hour of a registry: trust, log in, push, see it; and what of that is done.

    trusted     the certificate is no one's of ours, or somebody has opened its page or fetched it
    logged in   a registry user was used: by a push, a pull, or a login in nginx's log
    pushed      the registry told of a push

The remaining hole: on another host over the same database the page of the certificate counts for
nothing, until somebody logs in. A browser that dismissed the steps has a cookie.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from registryui.models import UNKNOWN, RegistryEvent, RegistryUser

from .access import Request
from .context import STEPS_COOKIE

HOUR = timedelta(hours=1)  # after the first push
FEW = 5  # repositories: with more, nobody asks when the first push was


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What is done, and what the lines to copy say."""

    is_trusted: bool
    has_login: bool
    repository: str  # of the first push; "" before
    user: str  # a registry user that the reader manages; "" without one

    @property
    def token(self) -> str:
        """Changes with each step."""
        return f"{self.is_trusted:d}{self.has_login:d}{bool(self.repository):d}{bool(self.user):d}"


def first_steps(request: Request, repositories: int) -> FirstSteps | None:
    """None where they are not shown: all was done an hour ago, or the reader dismissed them. At
    most three queries."""
    if repositories > FEW or request.COOKIES.get(STEPS_COOKIE):
        return None
    pushes = RegistryEvent.objects.filter(action="push").order_by("at")
    first = pushes.values_list("repository", "at").first()
    if first is None and repositories:  # adopted
        return None
    if first is not None and first[1] < timezone.now() - HOUR:
        return None
    users = RegistryUser.objects.order_by("pk")
    has_login = bool(first) or users.exclude(used_at=UNKNOWN).exists()
    user = users.visible_to(request.user).values_list("name", flat=True).first()
    return FirstSteps(
        is_trusted=has_login or bool(settings.TLS_CERTIFICATE) or is_trust_opened(),
        has_login=has_login,
        repository=first[0] if first else "",
        user=user or "",
    )


def is_trust_opened() -> bool:
    """Whether somebody opened the page of the certificate or fetched it."""
    return _mark().exists()


def note_trust_opened() -> None:
    """Notes it, once."""
    with suppress(OSError):
        if not is_trust_opened():
            _mark().touch()


def _mark() -> Path:
    return Path(settings.RUN_DIR / "trust-opened")
