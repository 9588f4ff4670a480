"""Adds refusals up to rows of a day, whose number has a limit; pure.

Anybody can be refused as often as they like, with names of repositories of their own making. So on
one day only some combinations are told apart, of each user and reason some, and of all some more:
nobody's flood leaves the others without rows. All are counted.

    user, repository, action, reason, address    told apart
    user, reason                                 the others of that user
    reason                                       the others of all
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from .lines import Refusal

MOST = 1000  # combinations of a day
MOST_OF_ONE = 50  # of them, with one user and one reason


class Key(NamedTuple):
    """What the refusals of a row have in common; in the order of denial_once."""

    day: date
    actor: str
    repository: str
    action: str
    reason: str
    address: str


@dataclass(slots=True)
class Sum:
    """What is to be added to a row."""

    count: int
    first_at: datetime
    at: datetime
    client: str


def tally(refusals: Iterable[Refusal], known: Iterable[Key]) -> dict[Key, Sum]:
    """Sums of these, by row. `known`: all rows that there are of their days."""
    rows = set(known)
    of_day = Counter(key.day for key in rows)
    of_one = Counter((key.day, key.actor, key.reason) for key in rows)
    sums: dict[Key, Sum] = {}
    for one in refusals:
        key = _place(_key(one), rows, of_day, of_one)
        if key not in rows:
            rows.add(key)
            of_day[key.day] += 1
            of_one[key.day, key.actor, key.reason] += 1
        _add(sums, key, one)
    return sums


def _key(one: Refusal) -> Key:
    day = one.at.astimezone(UTC).date()
    return Key(day, one.actor, one.repository, one.action, one.reason, one.address)


def _place(
    key: Key, rows: set[Key], of_day: Counter[date], of_one: Counter[tuple[date, str, str]]
) -> Key:
    """The row for it: its own, or that of the others."""
    is_room = of_day[key.day] < MOST
    if key in rows or (is_room and of_one[key.day, key.actor, key.reason] < MOST_OF_ONE):
        return key
    others = key._replace(repository="", action="", address="")
    return others if others in rows or is_room else others._replace(actor="")


def _add(sums: dict[Key, Sum], key: Key, one: Refusal) -> None:
    so_far = sums.get(key)
    if so_far is None:
        sums[key] = Sum(one.count, one.at, one.at, one.client)
        return
    so_far.count += one.count
    so_far.first_at = min(so_far.first_at, one.at)
    if one.at >= so_far.at:
        so_far.at, so_far.client = one.at, one.client
