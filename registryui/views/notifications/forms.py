"""The form of a receiver: what it shows, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import QueryDict
from django.views.decorators.debug import sensitive_variables

from registryui.models import Receiver
from registryui.notify import receivers
from registryui.notify.receivers import Wanted
from registryui.views.form import read, text

_TEXTS = ("address", "conditions", "repositories", "language", "may_be_plain")


def blank(language: str) -> Mapping[str, Any]:
    """The fields for a new receiver, in the operator's language."""
    kind = Receiver.Kind.MAIL if settings.SMTP_HOST else Receiver.Kind.WEBHOOK
    return {"kind": str(kind), "conditions": "warn", "language": language}


def filled(row: Receiver) -> Mapping[str, Any]:
    """The fields of a receiver, without the URL of a webhook."""
    facts = receivers.facts(row)
    address = row.address if row.kind == Receiver.Kind.MAIL else ""
    return {**facts, "address": address}


@sensitive_variables()
def wanted(post: QueryDict, kind: str) -> Wanted:
    """What the form asks for; an empty address keeps the stored one."""
    asked = read(post, **{one: text() for one in (*_TEXTS, "has_pushes", "has_deletes")})
    return Wanted(
        kind,
        **{name: asked[name] for name in ("address", "repositories", "language")},
        conditions="" if asked["conditions"] == "none" else asked["conditions"],
        has_pushes=asked["has_pushes"] == "1",
        has_deletes=asked["has_deletes"] == "1",
        may_be_plain=asked["may_be_plain"] == "1",
    )
