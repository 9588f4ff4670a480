"""After how long an image expires by its own word: the label or annotation `quay.expires-after`,
as Quay reads it, and the same form where people type a duration. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

LABEL = "quay.expires-after"
LONGEST = timedelta(days=3650)
_FORM = re.compile(r"([0-9]{1,9})\s?([smhdwy])")
_SECONDS = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86_400,
    "w": 7 * 86_400,
    "y": 365 * 86_400,
}


def seconds_in(text: str) -> int | None:
    """`90m`, `1h`, `2d`, `3w`, `1y` as seconds; None for anything else, for nothing, and for more
    than LONGEST."""
    found = _FORM.fullmatch(text.strip().lower()) if len(text) <= 32 else None
    if found is None:
        return None
    seconds = int(found[1]) * _SECONDS[found[2]]
    return seconds if 0 < seconds <= LONGEST.total_seconds() else None


def in_text(seconds: int) -> str:
    """The same in that form, in the largest unit that fits: `2w`."""
    whole = {unit: size for unit, size in _SECONDS.items() if unit != "y" and seconds % size == 0}
    unit = max(whole, key=whole.__getitem__)
    return f"{seconds // whole[unit]}{unit}"


def stated(annotations: Mapping[str, str], labels: Mapping[str, str]) -> int | None:
    """What an image states of itself, in seconds; the label of its config counts first."""
    for told in (labels, annotations):
        if LABEL in told:
            return seconds_in(told[LABEL])
    return None
