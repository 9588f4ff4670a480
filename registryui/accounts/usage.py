"""When a registry user last pushed or pulled, from where and with what: from the registry's events.

The registry only gets names that nginx has verified, so nobody can use another name here.
"""

from collections.abc import Iterable

from registryui.models import RegistryEvent, RegistryUser


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
