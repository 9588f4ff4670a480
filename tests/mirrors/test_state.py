"""What the mirror service says, read by pages: whatever the file holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registryui.mirrors import state
from registryui.mirrors.state import Limit, State

AT = "2026-12-01T10:00:00+00:00"
WHEN = datetime(2026, 12, 1, 10, 0, tzinfo=UTC)


def write(folder: Path, text: str) -> None:
    (folder / "hub").mkdir(parents=True, exist_ok=True)
    (folder / "hub" / "state.json").write_text(text)


def test_a_mirror_that_was_never_used(folder: Path) -> None:
    assert state.read("hub") == State()
    assert State().hit_percent is None


def test_everything_that_the_service_says(folder: Path) -> None:
    said = {
        "contact": AT, "away_since": AT, "error": "connection refused",
        "limit": {"limit": 100, "remaining": 76, "window": 21600},
        "hits": 90, "misses": 10, "stale": 3, "upstream_requests": 12, "upstream_bytes": 10**9,
        "refused": 1, "last_refusal": {"at": AT, "what": "a@sha256:1", "words": "other bytes"},
    }  # fmt: skip
    write(folder, json.dumps(said))
    found = state.read("hub")
    assert (found.contact, found.away_since, found.is_away) == (WHEN, WHEN, True)
    assert found.limit == Limit(100, 76, 21600)
    assert (found.hits, found.misses, found.hit_percent) == (90, 10, 90)
    assert found.last_refusal is not None
    assert (found.last_refusal.at, found.last_refusal.words) == (WHEN, "other bytes")


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{", "\xff", "[" * 70_000),
        '{"contact": 5, "away_since": "yesterday", "limit": [], "last_refusal": "x"}',
        '{"contact": "2026-12-01T10:00:00", "hits": -5, "misses": true, "error": {"a": 1}}',
        '{"limit": {"limit": "100"}, "upstream_bytes": "5", "refused": 1.5}',
    ],
)
def test_what_cannot_be_read_is_left_out(folder: Path, text: str) -> None:
    write(folder, text)
    assert state.read("hub") == State()
