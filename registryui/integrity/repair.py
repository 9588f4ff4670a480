"""Repair of half-written files in a store on a disk, after a full disk or a power failure.

Registry 2.8 writes manifests and links in place and syncs nothing. It accepts an empty file as the
blob: a push finds it and does not send it again, and every pull fails.

    data             of a manifest that the index knows: written back; else quarantined
    link             of a manifest or layer whose data exists: written back; else quarantined
    link of a tag    set to the digest that the index or the store recorded; else quarantined

Quarantined files are of no use: no pull could read them, and the next push sends them again. Files
within GRACE are not touched, because a push may be writing them. Objects of S3 are always complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Length
from django.utils import timezone

from registryui.index import reconcile
from registryui.index.blob_names import remembered
from registryui.models import Blob, Manifest, Tag
from registryui.oci.digest import is_canonical, matches
from registryui.registry import paths
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.quarantine import DAMAGED, LocalQuarantine, Quarantine
from registryui.registry.storage import FileStore

GRACE = timedelta(minutes=5)
NAMED = 20  # tags in a line


def repair(
    store: FileStore, quarantine: Quarantine, go_on: Callable[[], object] = lambda: None
) -> list[str]:
    """Looks at the sizes of all data and at all links; a line for each that was made good, with the
    tags that it is about. RegistryError: the store cannot be read or written."""
    if not isinstance(quarantine, LocalQuarantine):
        return []
    work = _Repair(store, quarantine)
    for folder in store.blob_folders():
        sizes = _sizes(folder)
        for digest, leaf in store.blobs_in(folder):
            if leaf.size == 0 or sizes.get(digest, leaf.size) != leaf.size:
                work.data(digest)
        go_on()
    for name, inside in store.folders().items():
        if not inside.isdisjoint(paths.MARKERS):
            work.repository(name)
            go_on()
    work.index()
    return work.lines


def repair_data(store: FileStore, quarantine: Quarantine, digests: Iterable[str]) -> list[str]:
    """The same for the data of these alone."""
    if not isinstance(quarantine, LocalQuarantine):
        return []
    work = _Repair(store, quarantine)
    for digest in filter(is_canonical, digests):
        work.data(digest)
    return work.lines


@dataclass(slots=True)
class _Repair:
    store: FileStore
    quarantine: LocalQuarantine
    lines: list[str] = field(default_factory=list)
    _quarantined: set[str] = field(init=False)  # it is away on purpose
    _changed: set[str] = field(default_factory=set)  # repositories
    _named: set[str] = field(default_factory=set)  # their tags that the index knew
    _healed: set[str] = field(default_factory=set)  # digests whose data was written back

    def __post_init__(self) -> None:
        self._quarantined = {one.path for one in self.quarantine.contents() if not one.is_damaged}

    def data(self, digest: str) -> None:
        """Makes the data of a blob good, if it is not what its digest says."""
        path = paths.blob_data(digest)
        if self._is_stable(path) and not self._is_right(digest):
            known = self._known(digest)
            tags = _tags_of(digest)
            self._mend(path, known, f"the data of {digest}", tags)
            if known:
                self._healed.add(digest)
                self._named.update(tags)

    def repository(self, name: str) -> None:
        """Makes the links of a repository good, and data of its manifests that is not there."""
        for one in self.store.manifest_links(name):
            if not self._is_there(one.digest):
                self._missing(name, one.digest)
            if one.target != one.digest:
                self._link(name, paths.revision_link(name, one.digest), one.digest)
        for one in self.store.layer_links(name):
            if not one.target:
                digest = one.digest
                stored = digest if is_canonical(digest) else remembered([digest]).get(digest, "")
                self._link(name, paths.layer_link(name, digest), stored)
        complete = []
        for link in self.store.tag_links(name):
            if not link.digest:
                self._tag(name, link.name)
            elif link.digest in self._healed and f"{name}:{link.name}" not in self._named:
                complete.append(f"{name}:{link.name}")
        if complete:  # the index may not know yet what they are on
            self._changed.add(name)
            self.lines.append(f"whole again: {', '.join(complete[:NAMED])}")

    def index(self) -> None:
        """Makes the index equal to what was changed."""
        for name in sorted(self._changed):
            reconcile.read_again(self.store, name)

    def _missing(self, name: str, digest: str) -> None:
        path = paths.blob_data(digest)
        if path in self._quarantined or paths.revision_link(name, digest) in self._quarantined:
            return
        if known := self._known(digest):
            self._mend(path, known, f"the data of {digest}", _tags_of(digest))

    def _link(self, name: str, path: str, target: str) -> None:
        if self._is_stable(path):
            content = target.encode() if target and self._is_there(target) else b""
            what = path.removeprefix(f"{paths.REPOSITORIES}/")
            self._mend(path, content, f"the link {what}", _tags_of(target, name))
            self._changed.add(name)

    def _tag(self, name: str, tag: str) -> None:
        if not self._is_stable(paths.tag(name, tag)):
            return
        rows = Tag.objects.filter(repository__name=name, name=tag)
        known = [digest for digest in rows.values_list("manifest__digest", flat=True) if digest]
        candidates = (*known, *self.store.tag_history(name, tag))
        digest = next((one for one in candidates if self._is_linked(name, one)), "")
        what = f"the link of the tag (on {digest})" if digest else "a tag that was never set"
        if digest:
            self._mend(paths.tag_link(name, tag), digest.encode(), what, [f"{name}:{tag}"])
        else:
            self._mend(paths.tag(name, tag), b"", what, [f"{name}:{tag}"])
        self._changed.add(name)

    def _mend(self, path: str, content: bytes, what: str, tags: list[str]) -> None:
        """Writes it back, or puts it aside where nothing is known of it."""
        if content:
            self.quarantine.write(path, content)
            done = "written back"
        elif self.quarantine.add([path], run=DAMAGED):
            done = "put aside: push it again"
        else:
            return
        named = f" ({', '.join(tags)})" if tags else ""
        self.lines.append(f"half-written, {done}: {what}{named}")

    # -- looking -----------------------------------------------------------------------------------
    def _is_stable(self, path: str) -> bool:
        """Whether it is there, and nobody is writing it now."""
        age = self.quarantine.age(path)
        return age is not None and age < timezone.now() - GRACE

    def _is_there(self, digest: str) -> bool:
        return self.quarantine.age(paths.blob_data(digest)) is not None

    def _is_linked(self, name: str, digest: str) -> bool:
        try:
            return self.store.resolve(name, digest) is not None
        except NotFound:
            return False
        except RegistryError as error:
            if error.temporary:
                raise
            return False

    def _is_right(self, digest: str) -> bool:
        algorithm, _, hexadecimal = digest.partition(":")
        found = hashlib.new(algorithm)
        try:
            for piece in self.store.pieces(digest):
                found.update(piece)
        except RegistryError as error:
            if error.temporary:
                raise
            return True  # gone, or no file: nothing of ours
        return found.hexdigest() == hexadecimal

    def _known(self, digest: str) -> bytes:
        """The bytes of a manifest as the index has them; b"" for any other blob."""
        raw = Manifest.objects.filter(digest=digest).values_list("raw", flat=True).first()
        content = bytes(raw or b"")
        return content if matches(digest, content) else b""


def _sizes(folder: str) -> dict[str, int]:
    """What the index says of all data in a folder of blobs."""
    first = folder.replace("/", ":", 1)
    within = Q(digest__gte=first, digest__lt=f"{first}g")
    found = dict(Blob.objects.filter(within, size__gt=0).values_list("digest", "size"))
    manifests = Manifest.objects.filter(within).annotate(length=Length("raw"))
    return found | dict(manifests.values_list("digest", "length"))


def _tags_of(digest: str, repository: str = "") -> list[str]:
    """Tags of the index that need it, the first NAMED, as REPOSITORY:TAG."""
    needing = Manifest.objects.filter(Q(digest=digest) | Q(edges__blob__digest=digest))
    if repository:
        needing = needing.filter(repository__name=repository)
    digests = set(needing.values_list("digest", flat=True)[:1000])
    rows = Tag.objects.filter(
        Q(manifest__digest__in=digests) | Q(manifest__entries__digest__in=digests)
    )
    if repository:
        rows = rows.filter(repository__name=repository)
    named = rows.order_by("repository__name", "name").distinct()
    return [f"{name}:{tag}" for name, tag in named.values_list("repository__name", "name")[:NAMED]]
