"""What `./boathouse notify …` prints of receivers and deliveries: facts for programs, lines for
people. Never the URL of a webhook, nor a secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from registryui import formats
from registryui.models import Delivery, Receiver
from registryui.notify import deliveries, receivers

State = Delivery.State


def of(row: Receiver) -> dict[str, Any]:
    """One receiver; times are ISO 8601 or null."""
    counts = deliveries.counts(row)
    last = row.deliveries.order_by("-made_at", "-id").first()
    return {
        **receivers.facts(row),
        "waiting": counts.get(State.WAITING, 0),
        "failed": counts.get(State.FAILED, 0),
        "last": of_delivery(last) if last else None,
        "made_by": row.made_by,
        "made_at": _time(row.made_at),
    }


def of_delivery(row: Delivery) -> dict[str, Any]:
    """One delivery, with its attempts and what is sent."""
    return {
        "id": row.pk,
        "kind": row.kind,
        "subject": row.subject,
        "state": row.state,
        "made_at": _time(row.made_at),
        "next_at": _time(row.next_at) if row.state == State.WAITING else None,
        "attempts": row.attempts,
        "message": json.loads(row.body),
    }


def _time(when: datetime) -> str:
    return when.isoformat(timespec="seconds")


def table(rows: Sequence[Receiver]) -> str:
    """One line a receiver."""
    if not rows:
        return (
            "No receivers: ./boathouse notify add NAME https://… adds a webhook, "
            "./boathouse notify add NAME --mail ADDRESS a mail address."
        )
    lines = [["NAME", "ADDRESS", "STATE", "WAITING", "FAILED", "LAST MESSAGE"]]
    for row in rows:
        fact = of(row)
        last = fact["last"]
        lines.append(
            [
                *(row.name, formats.cell(row.shown), _state(row)),
                *(f"{fact[name]:,}" for name in ("waiting", "failed")),
                f"{last['made_at']} {last['state']}" if last else "never",
            ]
        )
    return formats.columns(lines)


def block(row: Receiver) -> str:
    """Everything about one receiver, a line for each fact."""
    fact = of(row)
    conditions = {"": "none", "warn": "warnings and errors", "bad": "errors"}[row.conditions]
    last = fact["last"]
    lines = [
        ["Receiver", row.name],
        ["Webhook" if row.kind == Receiver.Kind.WEBHOOK else "Mail", row.shown],
        ["State", _state(row)],
        ["Conditions", conditions],
        ["Pushes", "yes" if row.has_pushes else "no"],
        ["Deletes", "yes" if row.has_deletes else "no"],
        ["Repositories", row.repositories or "all"],
        ["Language", row.language],
        ["Waiting", f"{fact['waiting']:,}"],
        ["Failed", f"{fact['failed']:,}"],
        ["Last message", f"{last['made_at']} {last['state']}" if last else "never"],
    ]
    return formats.columns(lines)


def deliveries_table(rows: Sequence[Delivery]) -> str:
    """One line a delivery, newest first."""
    if not rows:
        return "No messages."
    lines = [["ID", "WHEN", "KIND", "ABOUT", "STATE", "ATTEMPTS", "ANSWER"]]
    for row in rows:
        last = row.attempts[-1] if row.attempts else {}
        said = str(last.get("error") or last.get("status") or "")
        lines.append(
            [
                *(str(row.pk), _time(row.made_at), row.kind, formats.cell(row.subject or "-")),
                *(row.state, str(len(row.attempts)), formats.cell(said or "-")),
            ]
        )
    return formats.columns(lines)


def _state(row: Receiver) -> str:
    if row.is_active:
        return "enabled"
    return "disabled: it answered 410 Gone" if row.is_gone else "disabled"
