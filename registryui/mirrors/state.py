"""What the mirror service says of a mirror on this host: state.json, which it writes at most once a
second. Numbers count since the mirror was added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limit:
    """Docker Hub's: `remaining` of `limit` pulls in `window` seconds; 0 seconds: not said."""

    limit: int
    remaining: int
    window: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Content that was not stored, or not served: what, and why in words of the service."""

    at: datetime | None
    what: str
    words: str


@dataclass(frozen=True, slots=True)
class State:
    """A mirror that was never used has no contact and zeros."""

    contact: datetime | None = None  # the upstream's last answer
    away_since: datetime | None = None  # None: it answers
    error: str = ""  # what it said or did last, if that was wrong
    limit: Limit | None = None
    hits: int = 0  # manifests answered from here
    misses: int = 0
    stale: int = 0  # of the hits: without the upstream, which was away
    upstream_requests: int = 0
    upstream_bytes: int = 0
    refused: int = 0
    last_refusal: Refusal | None = None

    @property
    def is_away(self) -> bool:
        return self.away_since is not None

    @property
    def hit_percent(self) -> int | None:
        """Of all manifests that were asked for; None before the first."""
        total = self.hits + self.misses
        return self.hits * 100 // total if total else None


def read(name: str) -> State:
    """Of the mirror of that name; zeros if the service has not said anything that can be read."""
    try:
        with (settings.MIRRORS_DIR / name / "state.json").open("rb") as file:
            found = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        found = {}
    return parse(found if isinstance(found, dict) else {})


def stamp(name: str) -> str:
    """Another text after each write of the service; "" before the first."""
    try:
        return str((settings.MIRRORS_DIR / name / "state.json").stat().st_mtime_ns)
    except OSError:
        return ""


def parse(found: Mapping[str, Any]) -> State:
    """The state in a document of the service; what is of another type there is left out."""
    return State(
        contact=_time(found.get("contact")),
        away_since=_time(found.get("away_since")),
        error=_text(found.get("error")),
        limit=_limit(found.get("limit")),
        last_refusal=_refusal(found.get("last_refusal")),
        **{name: _count(found.get(name)) for name in _COUNTS},
    )


_COUNTS = ("hits", "misses", "stale", "upstream_requests", "upstream_bytes", "refused")


def _limit(found: Any) -> Limit | None:
    if not isinstance(found, dict) or not _count(found.get("limit")):
        return None
    return Limit(*(_count(found.get(name)) for name in ("limit", "remaining", "window")))


def _refusal(found: Any) -> Refusal | None:
    if not isinstance(found, dict):
        return None
    return Refusal(_time(found.get("at")), _text(found.get("what")), _text(found.get("words")))


def _time(found: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        return None
    return at if timezone.is_aware(at) else None


def _text(found: Any) -> str:
    return found[:1000] if isinstance(found, str) else ""


def _count(found: Any) -> int:
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0
