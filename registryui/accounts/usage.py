"""When a registry user last pushed or pulled, from where and with what: from the registry's events.
Of a user that never did, a login: from nginx's log.

The registry only gets names that nginx has verified, so nobody can use another name here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from registryui.models import UNKNOWN, RegistryEvent, RegistryUser

_LOGIN = (
    b'"uri":"/v2/","status":200,'  # what docker login asks for; not within a value: there is \"
)
_used: set[str] = set()  # as far as this process knows


def note(events: Iterable[RegistryEvent]) -> None:
    """Stores the newest of these events with each user. One query a user."""
    newest: dict[str, RegistryEvent] = {}
    for event in events:
        if event.actor and (event.actor not in newest or newest[event.actor].at < event.at):
            newest[event.actor] = event
    for name, event in newest.items():
        RegistryUser.objects.filter(name=name, used_at__lt=event.at).update(
            used_at=event.at, used_from=event.address, used_with=event.client
        )


def note_logins(lines: bytes) -> None:
    """Stores the first login of users that never pushed or pulled, from lines of nginx's log. One
    query a user, once in each process."""
    if _LOGIN not in lines:  # as in most
        return
    for line in lines.splitlines():
        if _LOGIN not in line:
            continue
        try:
            found = json.loads(line)
            name, at = str(found["user"]), datetime.fromisoformat(found["time"])
            use = {"used_from": found["address"][:64], "used_with": found["agent"][:255]}
        except (ValueError, KeyError, TypeError):
            continue
        if name and name not in _used and at.tzinfo is not None:
            _used.add(name)
            # Written only where it is news: each write makes all kept pages old.
            RegistryUser.objects.filter(name=name, used_at=UNKNOWN).update(used_at=at, **use)
