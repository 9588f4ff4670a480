"""What every source of an import has in common; and how an image goes from it to the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from registryui.registry.source import Stored


@dataclass(frozen=True, slots=True)
class Found:
    """A tag of a source, or what keeps it from being imported."""

    repository: str  # as the source names it
    tag: str
    target: str = ""  # the repository here, if its name must differ: "Team/App" is "team/app"
    target_tag: str = ""
    problem: str = ""  # why it cannot be imported, a sentence; "" if it can
    size: int = 0  # bytes to read, 0 if that is not known yet
    key: str = ""  # the source's own: a digest, an image id


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob as a manifest names it."""

    digest: str
    size: int  # bytes


class Target(Protocol):
    """The repository that an image is copied into. Its methods may be called by several threads,
    count bytes, keep the rate limit, and raise runs.Stopped once the run is to end."""

    repository: str

    def has_blob(self, digest: str) -> bool:
        """Whether it is stored; mounted from another repository of this run if that has it."""
        ...

    def upload(self, data: Iterable[bytes], *, digest: str = "", size: int = -1) -> Descriptor:
        """Streams a blob. With `digest`, other content is refused: BadAnswer. RegistryError."""
        ...

    def put_manifest(self, raw: bytes, media_type: str) -> str:
        """Stores it by its digest, which is returned: an image of an image index. RegistryError."""
        ...

    def notice(self, sentence: str) -> None:
        """Something of this tag that the report should say."""
        ...


class Source(Protocol):
    """Where images come from."""

    name: str  # for the report: "registry registry.example.com"

    def survey(self) -> Iterator[Found]:
        """Every tag, sorted by repository; also those that cannot be imported. RegistryError,
        Refused."""
        ...

    def digest(self, found: Found) -> str:
        """The digest of its manifest if the source knows it without reading layers, or ""."""
        ...

    def copy(self, found: Found, target: Target) -> Stored:
        """Copies all that the tag needs but its manifest, which is returned, to be tagged next.
        Raises RegistryError, or Refused for what is wrong with this tag alone."""
        ...

    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        """What refers to that image (signatures, attestations): copied after it."""
        ...


class Content(Protocol):
    """OCI content by digest: what `copy.py` needs of a source that has manifests."""

    def manifest(self, repository: str, reference: str) -> Stored:
        """Checked against its digest. NotFound, RegistryError."""
        ...

    def blob(self, repository: str, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """Its bytes, unchecked, as a stream. NotFound, RegistryError."""
        ...


@dataclass(slots=True)
class Options:
    """What the administrator asked for."""

    patterns: tuple[str, ...] = ()  # repositories or repository:tag, with *; none: all
    namespace: str = ""  # a prefix for every repository
    rate: int = 0  # bytes per second, 0: no limit
    replace: bool = False  # move tags that exist here with another digest
