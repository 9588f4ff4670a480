"""Whether a tag can be pulled in full: what it stands for, followed down to the last layer.

    tag ─► manifest: linked in the repository, there, and what its digest says
             ├ children of an image index: the same again
             └ config, layers: linked in the repository, there, and as long as the manifest says

In a mirrored repository what is below the tag's manifest may be absent: it is not pulled yet.
Asked of a store where it can be read (StoreProbe), else of the registry (HttpProbe). Both look
again before they say that something is missing. No tables here: runs in threads.
"""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from registryui.graph import closure
from registryui.oci import media_types
from registryui.oci.manifest import Descriptor, parse_stored
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry.client import RegistryClient
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, TooLarge
from registryui.registry.storage import FileStore

TOGETHER = 200  # manifests that are read at once
KNOWN = 20_000  # manifests whose contents are remembered: one in many repositories is read once
NESTING = 8  # image indexes within image indexes
ABSENT = ("missing", "unlinked")


@dataclass(frozen=True, slots=True)
class References:
    """What a manifest names; or why it is of no use ("missing", "damaged")."""

    children: tuple[str, ...] = ()
    blobs: tuple[tuple[str, str, int], ...] = ()  # "config" or "layer", digest, bytes (0: unknown)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that is wrong with a tag."""

    tag: str
    digest: str  # what the tag stands for; "": its link has none
    # tag-damaged; manifest-, child-, config-, layer- with missing, damaged, unlinked, size
    why: str
    what: str = ""  # the digest that this is about


@dataclass(slots=True)
class Probed:
    """Some tags of a repository."""

    repository: str
    complete: dict[str, str] = field(default_factory=dict)  # tag to digest
    broken: list[Broken] = field(default_factory=list)
    error: str = ""  # why nothing is known of them


class Pace:
    """So many bytes a second for all threads together (0: as fast as it goes), and an end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.bytes = 0
        self.is_over = threading.Event()

    def spend(self, count: int) -> None:
        """Waits until that may be read. Over raises: somebody asked to stop."""
        with self._lock:
            self.bytes += count
            due = self._began + self.bytes / self._limit if self._limit else 0.0
        if self.is_over.wait(max(0.0, due - time.monotonic())):
            raise Over

    def go_on(self) -> None:
        """Over, if it is."""
        if self.is_over.is_set():
            raise Over


class Over(Exception):
    """Somebody asked to stop."""


class Deep:
    """Reads blobs, each once: all (`is_deep`), or only those that were damaged at the last look, so
    that a quick look does not call them complete."""

    def __init__(self, pace: Pace, *, is_deep: bool, suspects: Iterable[str] = ()) -> None:
        self.pace = pace
        self._is_deep = is_deep
        self._suspects = frozenset(suspects)
        self._hashed: dict[int, bool] = {}  # by key: whether it is what its digest says
        self._locks = [threading.Lock() for _ in range(64)]
        self.damaged: set[str] = set()

    def is_damaged(self, digest: str, pieces: Callable[[], Iterator[bytes]]) -> bool:
        """Whether it is not what its digest says, as far as that is looked at."""
        if not self._is_deep and digest not in self._suspects:
            return False
        key = key_of(digest)
        with self._locks[key % len(self._locks)]:  # who comes second waits for the first
            if key not in self._hashed:
                self._hashed[key] = _is_content(pieces(), digest, self.pace)
                if not self._hashed[key]:
                    self.damaged.add(digest)
        return not self._hashed[key]

    def still(self) -> set[str]:
        """Those that were damaged at the last look, and were not looked at in this one."""
        return {one for one in self._suspects if key_of(one) not in self._hashed}


Mirrored = Callable[[str], bool]  # of a repository


def _no_mirrors(repository: str) -> bool:
    return False


class Probe(Protocol):
    """One look at everything. Safe to call from several threads."""

    def tasks(self) -> Iterator[tuple[str, Sequence[str] | None]]:
        """Repositories, with some of their tags; None: with all. RegistryError: not all of them."""
        ...

    def probe(self, repository: str, tags: Sequence[str] | None) -> Probed:
        """Looks at these tags; Over if it may not go on."""
        ...


class Known:
    """Needs of manifests that were read, so many as KNOWN; the eldest go."""

    def __init__(self) -> None:
        self._references: OrderedDict[str, References] = OrderedDict()
        self._lock = threading.Lock()
        self.count = 0

    def get(self, digest: str) -> References | None:
        return self._references.get(digest)

    def put(self, digest: str, references: References) -> None:
        with self._lock:
            self.count += 1
            self._references[digest] = references
            while len(self._references) > KNOWN:
                self._references.popitem(last=False)


def references_of(raw: bytes) -> References:
    """What the bytes of a manifest name; "damaged" if they are none."""
    try:
        parsed = parse_stored(raw)
    except ValueError:
        return References(why="damaged")
    children, blobs = [], []
    for entry in parsed.entries:
        if media_types.is_manifest(entry.media_type):
            children.append(entry.digest)
        else:
            blobs.append(("layer", entry.digest, entry.size))
    if parsed.config is not None:
        blobs.append(("config", parsed.config.digest, parsed.config.size))
    blobs += [("layer", one.digest, one.size) for one in parsed.layers if _is_here(one)]
    return References(tuple(dict.fromkeys(children)), tuple(dict.fromkeys(blobs)))


def _is_here(layer: Descriptor) -> bool:
    return not layer.is_foreign


# -- the store -------------------------------------------------------------------------------------
class Sizes:
    """The size of each blob of a store, in 16 bytes: the digest's first eight, and the size."""

    def __init__(self, store: FileStore) -> None:
        """RegistryError: the store does not answer."""
        found: list[tuple[int, int]] = []
        self._keys, self._sizes = array("Q"), array("q")
        for folder in store.blob_folders():
            found = sorted((key_of(digest), leaf.size) for digest, leaf in store.blobs_in(folder))
            self._keys.extend(key for key, _size in found)
            self._sizes.extend(size for _key, size in found)
        if any(a > b for a, b in zip(self._keys, self._keys[1:], strict=False)):  # two algorithms
            pairs = sorted(zip(self._keys, self._sizes, strict=True))
            self._keys = array("Q", (key for key, _size in pairs))
            self._sizes = array("q", (size for _key, size in pairs))

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, digest: str) -> int | None:
        """Bytes; None: it was not there when all were listed."""
        key = key_of(digest)
        place = bisect_left(self._keys, key)
        if place < len(self._keys) and self._keys[place] == key:
            return self._sizes[place]
        return None


def key_of(digest: str) -> int:
    """The first eight bytes of a digest."""
    return int(digest.partition(":")[2][:16], 16)


class StoreProbe:
    """See Probe."""

    def __init__(
        self, store: FileStore, deep: Deep, *, is_mirrored: Mirrored = _no_mirrors
    ) -> None:
        self._store = store
        self.is_mirrored = is_mirrored
        self._deep = deep
        self._pace = deep.pace
        self._sizes = Sizes(store)
        self._known = Known()

    def tasks(self) -> Iterator[tuple[str, Sequence[str] | None]]:
        """See Probe."""
        for name in self._store.repositories():
            yield name, None

    def probe(self, repository: str, tags: Sequence[str] | None) -> Probed:
        """See Probe."""
        found = Probed(repository)
        try:
            links = self._store.tag_links(repository)
            if tags is not None:
                links = [link for link in links if link.name in set(tags)]
            here = _Here(self, repository)
            here.read(link.digest for link in links if link.digest)
            for link in links:
                self._pace.go_on()
                if not link.digest:
                    found.broken.append(Broken(link.name, "", "tag-damaged"))
                elif wrong := here.wrong(link.digest):
                    found.broken.append(Broken(link.name, link.digest, *wrong))
                else:
                    found.complete[link.name] = link.digest
        except RegistryError as error:
            return Probed(repository, error=str(error))
        return found

    @property
    def manifests(self) -> int:
        """How many were read."""
        return self._known.count

    @property
    def blobs(self) -> int:
        """How many there are."""
        return len(self._sizes)

    # -- for _Here ---------------------------------------------------------------------------------
    def read_references(self, repository: str, digests: Sequence[str]) -> dict[str, References]:
        """Of these manifests, wherever they are linked; what is no sha256 there."""
        found = {digest: known for digest in digests if (known := self._known.get(digest))}
        rest = [digest for digest in digests if digest not in found]
        for start in range(0, len(rest), TOGETHER):
            some = rest[start : start + TOGETHER]
            contents = self._store.read_blobs(some, limit=MANIFEST_LIMIT, repository=repository)
            for digest, raw in zip(some, contents, strict=True):
                if isinstance(raw, RegistryError):
                    if raw.temporary:
                        raise raw
                    found[digest] = References(why="damaged")
                elif raw is None:
                    found[digest] = References(why="missing")
                else:
                    found[digest] = references_of(raw)
                    if not found[digest].why:
                        self._known.put(digest, found[digest])
        return found

    def blob_wrong(
        self, repository: str, digest: str, size: int, *, stored: str, is_linked: bool
    ) -> str:
        """What is wrong with a blob that is stored under the digest `stored`; "" if nothing."""
        told = self._sizes.of(stored)
        if not is_linked or told is None:
            why = self._probe_again(repository, digest)
            if why or told is None:
                return why
        if size and told != size:
            return "size"
        return "damaged" * self._deep.is_damaged(digest, lambda: self._store.pieces(stored))

    def _probe_again(self, repository: str, digest: str) -> str:
        """It may have come since all was listed."""
        try:
            if self._store.blob(repository, digest, limit=0) is not None:
                return ""
        except TooLarge:
            return ""  # there is more of it than nothing
        except BadAnswer:
            return "damaged"  # its link
        return self.absent(repository, digest)

    def absent(self, repository: str, digest: str) -> str:
        """In which way something that the repository does not have is not there."""
        found = self._store.read_blobs([digest], limit=0, repository=repository)[0]
        return "missing" if found is None else "unlinked"


class _Here:
    """One repository of a store, while its tags are looked at."""

    def __init__(self, probe: StoreProbe, repository: str) -> None:
        self._probe = probe
        self._repository = repository
        self._is_mirrored = probe.is_mirrored(repository)
        store = probe._store
        # Manifests first: a push writes its layers' links before that of its manifest.
        self._manifests = {key_of(digest) for digest in store.revisions(repository)}
        layers = store.layer_links(repository)
        self._layers = {key_of(one.digest) for one in layers if one.target}
        # Where those are that are no sha256. The registry looks for the link of that one, too.
        self._stored = {
            one.digest: one.target for one in layers if one.target not in ("", one.digest)
        }
        self._references: dict[str, References] = {}
        self._judged: dict[str, tuple[str, str] | None] = {}
        self._absent: set[str] = set()  # children that were not pulled yet

    def read(self, digests: Iterable[str]) -> None:
        """Reads these manifests and all below them."""

        def below(level: set[str]) -> Iterator[str]:
            read = self._probe.read_references(
                self._repository, sorted(level - self._references.keys())
            )
            self._references |= read
            return (child for references in read.values() for child in references.children)

        closure(digests, below, levels=NESTING)

    def wrong(self, digest: str, role: str = "manifest") -> tuple[str, str] | None:
        """(why, digest) of the first thing that is wrong with a manifest; None: complete."""
        if digest not in self._judged:
            self._judged[digest] = None  # in a loop of image indexes
            self._judged[digest] = self._wrong(digest, role)
        found = self._judged[digest]
        if digest in self._absent and role == "manifest":
            return "manifest-missing", digest
        if found is not None and found[1] == digest:  # as a child it is called otherwise
            return f"{role}-{found[0].partition('-')[2]}", digest
        return found

    def _wrong(self, digest: str, role: str) -> tuple[str, str] | None:
        # Deeper than NESTING: nobody pulls that.
        references = self._references.get(digest, References())
        key = key_of(digest)
        if references.why or not (key in self._manifests or key in self._layers):
            references, why = self._again(digest)
            if why in ABSENT and self._is_mirrored:
                self._absent.add(digest)
                return None
            if why:
                return f"{role}-{why}", digest
        for kind, blob, size in references.blobs:
            self._probe._pace.go_on()
            stored = self._stored.get(blob, blob)
            is_linked = {key_of(blob), key_of(stored)} <= self._layers
            why = self._probe.blob_wrong(
                self._repository, blob, size, stored=stored, is_linked=is_linked
            )
            if why and not (why in ABSENT and self._is_mirrored):
                return f"{kind}-{why}", blob
        for child in references.children:
            if found := self.wrong(child, "child"):
                return found
        return None

    def _again(self, digest: str) -> tuple[References, str]:
        """As the registry would answer now."""
        store = self._probe._store
        try:
            stored = store.manifest(self._repository, digest)
        except RegistryError as error:
            if error.temporary:
                raise
            return References(), "damaged"
        if stored is None:
            return References(), self._probe.absent(self._repository, digest)
        references = references_of(stored.raw)
        self.read(references.children)
        return references, references.why


# -- the registry ----------------------------------------------------------------------------------
class HttpProbe:
    """See Probe: a GET for each manifest and a HEAD for each blob of a repository."""

    def __init__(
        self, client: RegistryClient, deep: Deep, *, is_mirrored: Mirrored = _no_mirrors
    ) -> None:
        self._client = client
        self._is_mirrored = is_mirrored
        self._deep = deep
        self._pace = deep.pace
        self._known = Known()
        self.blobs = 0

    @property
    def manifests(self) -> int:
        """How many were read."""
        return self._known.count

    def tasks(self) -> Iterator[tuple[str, Sequence[str] | None]]:
        """See Probe."""
        for name in self._client.repositories():
            try:
                tags = self._client.tags(name)
            except NotFound:
                continue
            for start in range(0, len(tags), TOGETHER):
                yield name, tags[start : start + TOGETHER]

    def probe(self, repository: str, tags: Sequence[str] | None) -> Probed:
        """See Probe."""
        found = Probed(repository)
        judged: dict[str, tuple[str, str] | None] = {}
        try:
            for tag in self._client.tags(repository) if tags is None else tags:
                self._pace.go_on()
                digest, wrong = self._tag(repository, tag, judged)
                if wrong:
                    found.broken.append(Broken(tag, digest, *wrong))
                elif digest:  # else it was untagged since it was listed
                    found.complete[tag] = digest
        except RegistryError as error:
            return Probed(repository, error=str(error))
        return found

    def _tag(
        self, repository: str, tag: str, judged: dict[str, tuple[str, str] | None]
    ) -> tuple[str, tuple[str, str] | None]:
        try:
            digest = self._client.resolve(repository, tag)
        except RegistryError as error:
            if error.temporary:
                raise
            return "", ("manifest-damaged", "")
        if digest is None:
            is_listed = tag in self._client.tags(repository)
            return "", ("manifest-missing", "") if is_listed else None
        return digest, self._wrong(repository, digest, "manifest", judged)

    def _wrong(
        self,
        repository: str,
        digest: str,
        role: str,
        judged: dict[str, tuple[str, str] | None],
    ) -> tuple[str, str] | None:
        if digest in judged:
            return judged[digest]
        judged[digest] = None  # in a loop of image indexes
        references = self._references(repository, digest)
        if references.why in ABSENT and role == "child" and self._is_mirrored(repository):
            return None
        if references.why:
            judged[digest] = f"{role}-{references.why}", digest
            return judged[digest]
        for kind, blob, size in references.blobs:
            self._pace.go_on()
            if f"blob {blob}" not in judged:
                why = self._blob_wrong(repository, blob, size)
                judged[f"blob {blob}"] = (f"{kind}-{why}", blob) if why else None
            if judged[f"blob {blob}"]:
                judged[digest] = judged[f"blob {blob}"]
                return judged[digest]
        for child in references.children:
            if found := self._wrong(repository, child, "child", judged):
                judged[digest] = found
                break
        return judged[digest]

    def _references(self, repository: str, digest: str) -> References:
        try:
            known = self._known.get(digest)
            if known is not None and self._client.resolve(repository, digest):
                return known
            stored = self._client.manifest(repository, digest)
        except RegistryError as error:
            if error.temporary:
                raise
            return References(why="damaged")
        if stored is None:
            return References(why="missing")
        references = references_of(stored.raw)
        if not references.why:
            self._known.put(digest, references)
        return references

    def _blob_wrong(self, repository: str, digest: str, size: int) -> str:
        self.blobs += 1
        told = self._client.blob_size(repository, digest)
        if told is None:
            return "" if self._is_mirrored(repository) else "missing"
        if size and told not in (size, UNKNOWN_SIZE):
            return "size"
        pieces = self._client.pieces
        return "damaged" * self._deep.is_damaged(digest, lambda: pieces(repository, digest))


UNKNOWN_SIZE = -1  # of a blob that lies elsewhere; see RegistryClient.blob_size


def _is_content(pieces: Iterator[bytes], digest: str, pace: Pace) -> bool:
    """Whether these bytes are what the digest names; False also if they end too early."""
    algorithm, _, hexadecimal = digest.partition(":")
    found = hashlib.new(algorithm)
    try:
        for piece in pieces:
            found.update(piece)
            pace.spend(len(piece))
    except RegistryError as error:
        if error.temporary:
            raise
        return False
    return found.hexdigest() == hexadecimal
