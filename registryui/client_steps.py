"""What people copy to a machine, for each kind of client: for registry users and for mirrors."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One box to copy and what it does."""

    name: str  # of its kind: login, push, pull, secret, file …
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Client:
    """All the steps for one kind of client."""

    key: str
    label: str
    steps: Sequence[Step]
