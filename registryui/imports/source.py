"""What every source of an import has in common; and how an image goes from it to the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
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

    def expect(self, size: int) -> None:
        """So many bytes belong to this tag: for the time that is left."""
        ...

    def alone(self, digest: str) -> AbstractContextManager[None]:
        """Meanwhile no other thread of the run asks for this blob, or uploads it."""
        ...

    def has_blob(self, digest: str, size: int = 0) -> bool:
        """Whether it is stored; mounted from another repository of this run if that has it. A dry
        run counts `size` and answers True."""
        ...

    def find(self, digest: str) -> bool:
        """Whether it is stored, also in a dry run; mounted from any repository of the index that
        has it."""
        ...

    def upload(self, data: Iterable[bytes], *, digest: str = "", size: int = -1) -> Descriptor:
        """Streams a blob. With `digest`, other content is refused: BadAnswer. RegistryError."""
        ...

    def put_manifest(self, raw: bytes, media_type: str) -> str:
        """Stores it by its digest, which is returned: an image of an image index. RegistryError."""
        ...

    def manifest(self, reference: str) -> Stored | None:
        """What the repository has already under that tag or digest. RegistryError."""
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


@dataclass(frozen=True, slots=True)
class Options:
    """What the administrator asked for."""

    patterns: tuple[str, ...] = ()  # repositories or repository:tag, with *; none: all
    namespace: str = ""  # a prefix for every repository
    rate: int = 0  # bytes per second, 0: no limit
    replace: bool = False  # move tags that exist here with another digest
    dry_run: bool = False

    def may_have(self, repository: str) -> bool:
        """Whether a pattern means tags of that repository of the source."""
        return not self.patterns or any(
            _matches(one.partition(":")[0], repository) for one in self.patterns
        )

    def mean(self, repository: str, tag: str) -> bool:
        """Whether a pattern means that tag of the source."""
        pairs = (one.partition(":")[::2] for one in self.patterns)
        return not self.patterns or any(
            _matches(name, repository) and (not tags or _matches(tags, tag)) for name, tags in pairs
        )

    @property
    def repositories(self) -> tuple[str, ...] | None:
        """Those that the patterns name, if none has an asterisk; None: ask for the catalogue."""
        names = [one.partition(":")[0] for one in self.patterns]
        return tuple(dict.fromkeys(names)) if names and "*" not in "".join(names) else None


def _matches(pattern: str, name: str) -> bool:
    # Names of a source may have characters that patterns of ours refuse.
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))
