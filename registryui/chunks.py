"""Long lists in pieces: no statement, transaction or record grows with the store."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

One = TypeVar("One")

VALUES = 20_000  # of one statement: SQLite takes 250,000 at most


def chunks(some: Sequence[One], size: int = VALUES) -> Iterator[Sequence[One]]:
    """Pieces of that size, in their order; the last one may be shorter."""
    for start in range(0, len(some), size):
        yield some[start : start + size]
