"""A message: JSON in the form of CloudEvents 1.0, and its words for a mail. Pure, but for the
registry's name.

    id       the same at each attempt, and for all receivers
    source   the address of this registry
    type     one of TYPES
    subject  "team/app:1.0", or a component's name
    data     see the functions below; docs/operate.md lists the fields
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui import doctor
from registryui.doctor import Finding
from registryui.models import AuditEvent, Delivery, RegistryEvent, portal_actor

Kind = Delivery.Kind
STARTED, ENDED = "boathouse.condition.started", "boathouse.condition.ended"
PUSHED, DELETED = "boathouse.tag.pushed", "boathouse.tag.deleted"
OMITTED, TEST = "boathouse.omitted", "boathouse.test"
TYPES = (STARTED, ENDED, PUSHED, DELETED, OMITTED, TEST)
MOST_TAGS = 100  # that a message names
_LONGEST = 1000  # characters of a text from elsewhere


@dataclass(frozen=True, slots=True)
class Message:
    """What one receiver is sent."""

    key: str
    kind: Kind
    subject: str
    body: str  # JSON


def started(finding: Finding, *, host: str, since: datetime, key: str) -> Message:
    """Something is wrong with a component; sentences are in the active language."""
    words = doctor.texts(finding)
    said = {name: getattr(words, name)[:_LONGEST] for name in ("title", "value", "note", "advice")}
    data = {"component": finding.name, "state": finding.state, "code": finding.code, **said}
    return _condition(STARTED, finding.name, data, host=host, since=since, key=key)


def ended(finding: Finding, *, host: str, since: datetime, key: str) -> Message:
    """It is over. `finding`: as it is now."""
    title = doctor.texts(finding).title
    data = {"component": finding.name, "state": "ok", "title": title}
    return _condition(ENDED, finding.name, data, host=host, since=since, key=key)


def _condition(
    type: str, part: str, data: dict[str, Any], *, host: str, since: datetime, key: str
) -> Message:
    data |= {"since": _time(since), "host": host, "url": f"{settings.PUBLIC_URL}/doctor"}
    return _message(Kind.CONDITION, type, part, data, key=key)


def pushed(event: RegistryEvent) -> Message:
    """A push of a tag. `replaced`: the digest that the tag had before, if it moved."""
    data = {
        **_names(event.repository, event.tag, event.digest),
        "replaced": event.replaced or None,
        "media_type": event.media_type,
        "by": event.actor,
        "address": event.address,
    }
    subject = f"{event.repository}:{event.tag}"
    return _message(Kind.PUSH, PUSHED, subject, data, key=f"push-{event.event_id}", at=event.at)


def deleted(row: AuditEvent) -> Message:
    """A delete of a tag or a manifest, as the audit log says it."""
    repository, tag, digest = target(row)
    data = {
        **_names(repository, tag, digest),
        "tags": [tag] if tag else list(row.details.get("tags", []))[:MOST_TAGS],
        "is_permanent": row.act == "manifest.delete_for_good",
        "by": row.actor,
        "address": row.address,
    }
    return _message(
        Kind.DELETE, DELETED, row.target[:400], data, key=f"delete-{row.hash[:32]}", at=row.at
    )


def target(row: AuditEvent) -> tuple[str, str, str]:
    """Repository, tag and digest that a row about a tag or a manifest names."""
    name, _at, digest = row.target.partition("@")
    repository, _colon, tag = name.partition(":")
    return repository, tag, digest or str(row.details.get("digest", ""))


def omitted(count: int) -> Message:
    """So many pushes and deletes were too frequent to be sent one by one."""
    return _message(Kind.OMITTED, OMITTED, "", {"count": count})


def test(by: str) -> Message:
    """Somebody tries a receiver out."""
    return _message(Kind.TEST, TEST, "", {"by": by})


def _names(repository: str, tag: str, digest: str) -> dict[str, Any]:
    return {"repository": repository, "tag": tag or None, "digest": digest or None}


def _message(
    kind: Kind,
    type: str,
    subject: str,
    data: Mapping[str, Any],
    *,
    key: str = "",
    at: datetime | None = None,
) -> Message:
    key = key or f"{kind.value}-{uuid.uuid4().hex}"
    envelope = {
        "specversion": "1.0",
        "id": key,
        "source": settings.PUBLIC_URL,
        "type": type,
        **({"subject": subject} if subject else {}),  # an attribute must not be empty
        **({"time": _time(at)} if at else {}),
        "datacontenttype": "application/json",
        "data": data,
    }
    return Message(key, kind, subject, json.dumps(envelope))


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def title(event: Mapping[str, Any]) -> str:
    """A message in one line, in the active language."""
    return _lines(event)[0]


# -- mail ------------------------------------------------------------------------------------------
def mail(bodies: Sequence[str]) -> tuple[str, str]:
    """Subject and text for these messages together, in the active language. Conditions first."""
    some = sorted(map(json.loads, bodies), key=lambda one: one["type"] not in (STARTED, ENDED))
    lines = [_lines(one) for one in some]
    first = lines[0][0]
    if len(some) > 1:
        more = len(some) - 1
        first = ngettext("%(first)s, and %(n)d more", "%(first)s, and %(n)d more", more) % {
            "first": first,
            "n": more,
        }
    subject = " ".join(f"[{settings.REGISTRY_NAME}] {first}".split())
    parts = ["\n".join(filter(None, one)) for one in lines]
    return subject[:200], "\n\n".join([*parts, f"-- \n{settings.PUBLIC_URL}\n"])


def _lines(event: Mapping[str, Any]) -> list[str]:
    """What a mail says of one message; the first line is fit for a subject."""
    data = event["data"]
    match event["type"]:
        case type if type == STARTED:
            since = _("Since %(time)s on %(host)s") % {"time": data["since"], "host": data["host"]}
            said = [data["note"], data["advice"], since, data["url"]]
            return [f"{data['title']}: {data['value']}", *said]
        case type if type == ENDED:
            since = _("It began at %(time)s.") % {"time": data["since"]}
            return [_("Ended: %(what)s") % {"what": data["title"]}, since]
        case type if type in (PUSHED, DELETED):
            words = _("Pushed %(what)s") if type == PUSHED else _("Deleted %(what)s")
            by = _("by %(who)s at %(time)s") % {"who": _who(event), "time": event["time"]}
            return [words % {"what": event["subject"]}, by, data["digest"] or ""]
        case type if type == OMITTED:
            words = ngettext(
                "%(n)d more push or delete, not listed one by one",
                "%(n)d more pushes and deletes, not listed one by one",
                data["count"],
            )
            return [words % {"n": data["count"]}]
    return [_("Test message"), _("Notifications for this receiver are sent here.")]


def _who(event: Mapping[str, Any]) -> str:
    by = event["data"]["by"]
    return portal_actor(by) if event["type"] == DELETED else by or _("unknown")
