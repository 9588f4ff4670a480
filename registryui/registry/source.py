"""What a registry is to those who read it, however it is reached. Called by index/.

Raises RegistryError (errors.py) where the question could not be answered; an answer of "not there"
is None or empty.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from .errors import RegistryError


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as the registry stores it: `raw` has been checked against `digest`."""

    digest: str
    media_type: str  # as the registry tells it, without parameters
    raw: bytes


@dataclass(frozen=True, slots=True)
class TagLink:
    """A tag in the store."""

    name: str
    digest: str  # "": the link is broken (empty, cut, no digest, a folder); counted by the reader
    tagged_at: datetime  # modification time of its current/link, UTC: the time of the push


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A link by which a repository has a manifest or blob."""

    digest: str  # by its place
    target: str  # what stands in it; "": it is broken
    changed: float  # seconds since 1970; the newest of all times that are kept of it

    @property
    def digests(self) -> tuple[str, ...]:
        """What it may lead to: one digest, but where its place and what stands in it differ."""
        return tuple({self.digest, self.target} - {""})


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """The data of a blob in the store; a manifest is one too."""

    digest: str
    size: int  # bytes
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """A leftover of an upload."""

    repository: str
    id: str
    size: int  # bytes
    modified_at: datetime


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

    def stored_as(self, repository: str, digests: Iterable[str]) -> dict[str, str]:
        """Of those of these digests that are no sha256 the one that their content is stored under;
        without those that the repository does not have. The others are left out, nobody is asked
        for them."""
        ...


class Store(Source, Protocol):
    """A registry whose storage can be read directly. Safe to call from several threads and
    processes.

    What is broken in it is marked, counted in `problems` and left out; it never ends a listing.
    """

    def tag_links(self, repository: str) -> list[TagLink]:
        """All tags with what they stand for, in no order; [] where there is no such repository."""
        ...

    def revisions(self, repository: str) -> list[str]:
        """Digests of all manifests of the repository, tagged or not, in no order."""
        ...

    def stamp(self, repository: str) -> str:
        """Changes whenever tags or manifests are added to or taken from the repository (folder
        times on a filesystem); "" where that cannot be told."""
        ...

    def read_blobs(
        self, digests: Sequence[str], *, limit: int, repository: str = ""
    ) -> list[bytes | RegistryError | None]:
        """Contents in the order asked, from the blobs folder; one round on an object store, two if
        one of these digests is no sha256: then the links of `repository` say where it is.

        None: not there. An error: over `limit` bytes (TooLarge), the digest does not match or it
        vanished while it was read (BadAnswer). Never raises for one blob.
        """
        ...

    def blobs(self) -> Iterator[StoredBlob]:
        """The blobs of the whole store, in no order."""
        ...

    def uploads(self) -> Iterator[Upload]:
        """What uploads left behind, in the whole store, in no order."""
        ...

    @property
    def unfollowed(self) -> list[str]:
        """Symbolic links among the repositories that were met and are not followed."""
        ...

    @property
    def elsewhere(self) -> list[str]:
        """Symbolic links that were followed to another file system. RegistryError as others."""
        ...

    @property
    def problems(self) -> list[str]:
        """What was marked on the way: one line each, 200 at most, then one with the count."""
        ...
