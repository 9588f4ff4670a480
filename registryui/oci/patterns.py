"""Patterns of names, as in policies: `*` is any text, including slashes.

A pattern matches the complete name: `pr-*` does not match `my-pr-1`. Several are separated by
spaces or commas; one match is sufficient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

LIMIT = 512  # characters of one text
# Characters of names of repositories and tags, and the star.
_PATTERN = re.compile(r"[A-Za-z0-9._/*-]+\Z")


def parse(text: str) -> tuple[str, ...]:
    """The patterns in `text`, in their order, each once.

    ValueError if there is none, or one holds a character that no name has.
    """
    if len(text) > LIMIT:
        raise ValueError(f"patterns are longer than {LIMIT} characters")
    found = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not found:
        raise ValueError("there is no pattern")
    for one in found:
        if not _PATTERN.match(one):
            raise ValueError(f"{one[:60]!r} has a character that no name has")
    return found


@lru_cache(maxsize=256)
def matcher(text: str) -> Callable[[str], bool]:
    """Whether a name matches one of the patterns in `text`; ValueError as `parse`."""
    found = parse(text)
    if "*" in found:
        return lambda name: True
    whole = re.compile("|".join(f"(?:{_expression(one)})" for one in found))
    return lambda name: whole.fullmatch(name) is not None


def _expression(pattern: str) -> str:
    """Each text between two stars matches at its first place only (an atomic group): otherwise
    `a*a*a*…b` would take exponential time."""
    first, *between = re.split(r"\*+", pattern)
    if not between:
        return re.escape(first)
    *middle, last = between
    return "".join(
        (re.escape(first), *(f"(?>.*?{re.escape(one)})" for one in middle), ".*", re.escape(last))
    )
