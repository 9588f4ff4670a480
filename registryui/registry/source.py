"""The interface of a registry to its readers, over HTTP or from its store. Called by index/.

Raises RegistryError (errors.py) if there is no answer; "does not exist" is None or empty.
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
    media_type: str  # the registry's answer, without parameters
    raw: bytes


@dataclass(frozen=True, slots=True)
class TagLink:
    """A tag in the store."""

    name: str
    digest: str  # "": the link is broken (empty, truncated, no digest, a folder)
    tagged_at: datetime  # modification time of its current/link, UTC: the time of the push


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A link by which a repository has a manifest or blob."""

    digest: str  # by its place
    target: str  # its content; "": it is broken
    changed: float  # seconds since 1970; the newest of all its times

    @property
    def digests(self) -> tuple[str, ...]:
        """Its digest; two if its path and its content differ."""
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
    """A source of the index. Safe to call from several threads at once."""

    def repositories(self) -> Iterator[str]:
        """The names of all repositories, also empty ones, in the registry's order."""
        ...

    def tags(self, repository: str) -> list[str]:
        """All tags, in no order; [] when there are none. NotFound: no such repository."""
        ...

    def resolve(self, repository: str, reference: str) -> str | None:
        """The digest of a tag (or digest); None if it does not exist."""
        ...

    def manifest(self, repository: str, reference: str) -> Stored | None:
        """The manifest of a tag or digest, up to 4 MiB; None if it does not exist."""
        ...

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        """The blob, checked against its digest; None if absent, TooLarge over `limit` bytes."""
        ...

    def stored_as(self, repository: str, digests: Iterable[str]) -> dict[str, str]:
        """For each of these digests that is no sha256, the one that its content is stored under, if
        the repository has it. sha256 digests are left out, without a request."""
        ...


class Store(Source, Protocol):
    """A registry whose storage can be read directly. Safe to call from several threads and
    processes.

    Broken content is marked, counted in `problems` and left out; it never ends a listing.
    """

    def tag_links(self, repository: str) -> list[TagLink]:
        """All tags with their digests, in no order; [] if there is no such repository."""
        ...

    def revisions(self, repository: str) -> list[str]:
        """Digests of all manifests of the repository, tagged or not, in no order."""
        ...

    def stamp(self, repository: str) -> str:
        """Changes whenever tags or manifests are added to or removed from the repository (folder
        times on a filesystem); "" if that is not known."""
        ...

    def read_blobs(
        self, digests: Sequence[str], *, limit: int, repository: str = ""
    ) -> list[bytes | RegistryError | None]:
        """Contents in the order asked, from the blobs folder; one round on an object store, two if
        one of these digests is no sha256: then the links of `repository` say where it is.

        None: it does not exist. An error: over `limit` bytes (TooLarge), the digest does not match
        or it was deleted while it was read (BadAnswer). Never raises for one blob.
        """
        ...

    def blobs(self) -> Iterator[StoredBlob]:
        """The blobs of the complete store, in no order."""
        ...

    def uploads(self) -> Iterator[Upload]:
        """Leftovers of uploads, in the complete store, in no order."""
        ...

    @property
    def unfollowed(self) -> list[str]:
        """Symbolic links among the repositories that are not followed."""
        ...

    @property
    def elsewhere(self) -> list[str]:
        """Symbolic links that were followed to another file system. RegistryError as others."""
        ...

    @property
    def problems(self) -> list[str]:
        """What was marked: one line each, 200 at most, then one with the count."""
        ...
