"""What the registry's notifications say (distribution, Work with notifications)."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .digest import check_digest
from .media_types import bare
from .names import check_repository, check_tag
from .untrusted import MANIFEST_LIMIT, moment, quoted, read_object, size, text

_EVENT_LIMIT = 10_000  # events of one notification; the registry sends one
_ACTION_LIMIT = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in the registry. "" where it does not say."""

    id: str
    action: str  # push, pull, mount, delete
    repository: str
    tag: str
    digest: str
    media_type: str  # "" also for deletes: of blobs and of manifests alike
    at: datetime  # UTC, by the registry's clock
    actor: str  # the verified Basic user, if the registry was told
    address: str  # of the client, without its port
    client: str  # User-Agent
    method: str  # of the request; a HEAD sends "pull" too
    size: int = 0  # bytes


def parse_events(body: bytes) -> tuple[Event, ...]:
    """The events in the notification `body`, in its order; those that make no sense are left out.

    ValueError: no JSON object of up to 4 MiB, or no list of events in it.
    """
    events = read_object(body, limit=MANIFEST_LIMIT).get("events")
    if not isinstance(events, list) or len(events) > _EVENT_LIMIT:
        raise ValueError(f"no list of events: {quoted(body)}")
    found = (_event_or_none(item) for item in events)
    return tuple(event for event in found if event is not None)


def _event_or_none(item: object) -> Event | None:
    try:
        return _event(item) if isinstance(item, dict) else None
    except ValueError:
        return None


def _event(item: dict[str, Any]) -> Event:
    target, request = _object(item.get("target")), _object(item.get("request"))
    at = moment(item.get("timestamp"))
    if at is None:
        raise ValueError(f"not a time: {quoted(item.get('timestamp'))}")
    tag, digest = target.get("tag"), target.get("digest")
    return Event(
        id=_required(item.get("id"), limit=64),
        action=_required(item.get("action"), limit=_ACTION_LIMIT),
        repository=check_repository(target.get("repository")),
        tag=check_tag(tag) if tag else "",
        digest=check_digest(digest) if digest else "",
        media_type=bare(text(target.get("mediaType"), limit=255))[:255],
        at=at,
        actor=text(_object(item.get("actor")).get("name"), limit=255),
        address=_address(text(request.get("addr"), limit=64)),
        client=text(request.get("useragent"), limit=255),
        method=text(request.get("method"), limit=16),
        size=_size(target.get("size")),
    )


def _required(value: object, *, limit: int) -> str:
    """`value`, not cut: two identifiers may differ only at the end."""
    if not isinstance(value, str) or not 0 < len(value) <= limit or text(value) != value:
        raise ValueError(f"not an identifier: {quoted(value)}")
    return value


def _size(value: object) -> int:
    try:
        return size(value)
    except ValueError:
        return 0


def _address(value: str) -> str:
    """The IP address in `10.0.0.1`, `10.0.0.1:4711`, `[::1]:4711`; "" if there is none."""
    host = value.rpartition(":")[0] if value.count(":") == 1 or "]:" in value else value
    try:  # without the zone of IPv6 (`%eth0`): it may be any text
        return str(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        return ""


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
