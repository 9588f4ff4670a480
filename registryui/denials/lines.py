"""Refusals in lines of nginx's access log; asks nothing but the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registryui import proxy
from registryui.models import Denial

_REFUSED = b'"refused":"'  # not within a value: there nginx writes \"
_OURS = "boathouse-doctor"  # User-Agent of our own checks, which come from this machine
_ACTIONS = {**{one: one for one in Denial.Action.values}, "open": Denial.Action.LOGIN.value}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line; it stands for several if nginx logs only some of a flood."""

    at: datetime
    actor: str  # "": nobody known
    repository: str
    action: str
    reason: str
    address: str
    client: str
    count: int = 1


def refusals(lines: bytes) -> Iterator[Refusal]:
    """Those in whole lines of the log, in their order. Lines that are none are left out."""
    for line in _marked(lines):
        try:
            refusal = _read(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if refusal is not None:
            yield refusal


def _marked(lines: bytes) -> Iterator[bytes]:
    """Most lines are of requests that were answered: they are not even taken apart."""
    end = 0
    while (at := lines.find(_REFUSED, end)) >= 0:
        end = lines.find(b"\n", at)
        end = len(lines) if end < 0 else end
        yield lines[lines.rfind(b"\n", 0, at) + 1 : end]


def _read(line: Any) -> Refusal | None:
    address, agent = _text(line["address"], 64), _text(line["agent"], 255)
    at = datetime.fromisoformat(line["time"])
    reason, action = line["refused"], _ACTIONS.get(line["action"])
    if at.tzinfo is None or reason not in Denial.Reason.values or not address or action is None:
        return None
    if agent == _OURS and address in ("127.0.0.1", "::1", proxy.address()):
        return None
    # The name that nginx has verified, or of a user that exists.
    actor = _text(line["user"] or line["claimed"], 255)
    repository = _text(line["repository"], 255)
    return Refusal(at, actor, repository, action, reason, address, agent, int(line["stands_for"]))


def _text(value: str, most: int) -> str:
    return value.replace("\0", "")[:most]
