"""Receivers and deliveries as pages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, pgettext

from registryui.failures import in_words
from registryui.models import Delivery, Receiver
from registryui.notify import messages
from registryui.views.plain_text import line, visible

State = Delivery.State
# Phrases of notify/, whose words are stored; what they hold follows in brackets.
_PHRASES = (
    (r"HTTP status (\d+)", gettext_noop("HTTP status")),
    (r"certificate not trusted: (.*)", gettext_noop("certificate not trusted")),
    (r"it is an address of this machine()", gettext_noop("it is an address of this machine")),
    (
        r"the mail server does not accept the user and password \((\d+)\)",
        gettext_noop("the mail server does not accept the user and password"),
    ),
    (r"the mail server answers (.*)", gettext_noop("answer of the mail server")),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A receiver in the list. `word`, `css`, `icon`: of its badge."""

    row: Receiver
    wants: str  # what it is sent, in words
    last_at: datetime | None
    word: str
    css: str
    icon: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery. `attempts`: when, what came of it, the answer; newest first."""

    row: Delivery
    what: str
    word: str
    css: str
    icon: str
    error: str  # of the newest attempt
    body: str  # JSON, for people
    attempts: Sequence[tuple[datetime, str, str]]

    @property
    def may_be_sent(self) -> bool:
        """Whether it can be sent again."""
        return self.row.state != State.WAITING


def lines(rows: QuerySet[Receiver]) -> list[Line]:
    """One query for all of them."""
    newest = Delivery.objects.filter(receiver=OuterRef("pk")).order_by("-made_at", "-id")
    found = rows.annotate(
        last_at=Subquery(newest.values("made_at")[:1]),
        last_state=Subquery(newest.values("state")[:1]),
    )
    return [Line(row, wants(row), row.last_at, *_of_receiver(row, row.last_state)) for row in found]


def _of_receiver(row: Receiver, state: str | None) -> tuple[str, str, str]:
    if not row.is_active:
        return _("Disabled"), "bad", "ban"
    if state is None:
        return _("Not used yet"), "", "circle"
    return _of_state(state)


def _of_state(state: str) -> tuple[str, str, str]:
    return {
        State.SENT.value: (pgettext("message", "Delivered"), "ok", "circle-check"),
        State.WAITING.value: (pgettext("message", "Waiting"), "warn", "hourglass"),
    }.get(state, (pgettext("message", "Failed"), "bad", "circle-alert"))


def wants(row: Receiver) -> str:
    """What it is sent: `warnings and errors, pushes (team/*)`."""
    conditions = {"warn": _("warnings and errors"), "bad": _("errors")}.get(row.conditions)
    events = [_("pushes")] * row.has_pushes + [_("deletes")] * row.has_deletes
    comma = pgettext("between names in a list", ", ")
    if events and row.repositories:
        events[-1] += f" ({row.repositories})"
    return comma.join([*([conditions] if conditions else []), *events])


def shown(row: Delivery) -> Shown:
    """What a delivery says, and what came of it."""
    event = json.loads(row.body)
    attempts = [_attempt(one) for one in reversed(row.attempts)]
    is_late = row.state != State.SENT and attempts
    return Shown(
        row,
        line(messages.title(event), 300),
        *_of_state(row.state),
        error=attempts[0][1] if is_late else "",
        body=visible(json.dumps(event, indent=2, ensure_ascii=False)),
        attempts=attempts,
    )


def _attempt(one: dict[str, Any]) -> tuple[datetime, str, str]:
    at = datetime.fromisoformat(one["at"])
    said = line(error_words(one["error"]), 300) if one["error"] else ""
    if not said:
        ms = _("%(ms)d ms") % {"ms": one["ms"]}
        said = f"HTTP {one['status']}, {ms}" if one["status"] else ms
    return at, said, visible(one["answer"])


def error_words(text: str) -> str:
    """What went wrong with an attempt, in the active language."""
    for pattern, words in _PHRASES:
        if found := re.fullmatch(pattern, text, re.DOTALL):
            return f"{_(words)} ({found[1]})" if found[1] else _(words)
    return in_words(text)
