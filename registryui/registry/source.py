"""What a registry is to those who read it, however it is reached. Called by index/.

Raises RegistryError (errors.py) where the question could not be answered; an answer of "not there"
is None or empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as the registry stores it: `raw` has been checked against `digest`."""

    digest: str
    media_type: str  # as the registry tells it, without parameters
    raw: bytes


class Source(Protocol):
    """Anything to build the index from. Safe to call from several threads at once."""

    def repositories(self) -> Iterator[str]:
        """The names of all repositories, also emptied ones, in the registry's order."""
        ...

    def tags(self, repository: str) -> list[str]:
        """All tags, in no order; [] when there are none. NotFound: no such repository."""
        ...

    def resolve(self, repository: str, reference: str) -> str | None:
        """The digest that a tag (or digest) stands for; None if it is not there."""
        ...

    def manifest(self, repository: str, reference: str) -> Stored | None:
        """The manifest of a tag or digest, up to 4 MiB; None if it is not there."""
        ...

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        """The blob, checked against its digest; None if absent, TooLarge over `limit` bytes."""
        ...
