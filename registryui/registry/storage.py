"""A registry read directly from its store (`Store` in source.py).

It answers as registry 2.8 would, and has more: push times, untagged manifests, sizes of blobs,
leftovers of uploads. Nothing in the store can end a listing; content that no client could have
created is left out or marked, and noted in `problems`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Self

from ..oci.digest import check_digest, is_canonical, is_digest, matches, sha256
from ..oci.manifest import stored_media_type
from ..oci.names import check_repository, check_tag
from ..oci.untrusted import MANIFEST_LIMIT, read_object
from . import paths
from .errors import BadAnswer, NotFound, RegistryError
from .files import ABSENT, Content, Files, Leaf, Problems, ordered
from .source import Stored, StoredBlob, StoredLink, TagLink, Upload

LINK_LIMIT = 1024  # bytes; a link of the longest digest has 135
AT_ONCE = 500  # links or folders of one round
# Registry 2.8 writes a link in place: for a moment it is empty. Then it is read again.
REWRITE = 0.05  # seconds
LATE = 60.0  # seconds by which the clock of another host may be ahead
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FileStore:
    """A store whose files are read through `files`. See Store for what each method answers."""

    def __init__(self, files: Files, problems: Problems) -> None:
        self._files = files
        self._problems = problems
        self.unusable: list[str] = []  # folders among repositories that no client can name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Does nothing: a store can be used in place of a RegistryClient."""

    def __repr__(self) -> str:
        return f"FileStore({self._files!r})"

    @property
    def problems(self) -> list[str]:
        """See Store."""
        return self._problems.lines()

    @property
    def unfollowed(self) -> list[str]:
        """Symbolic links among the repositories that are not followed: their content is not
        known."""
        return list(getattr(self._files, "unfollowed", ()))

    @property
    def elsewhere(self) -> list[str]:
        """Symbolic links that were followed to another file system."""
        return list(getattr(self._files, "elsewhere", ()))

    def is_elsewhere(self, repository: str) -> bool:
        """True if the repository is on another file system than the store, by a symbolic link or a
        mount: nothing of it can be moved into the quarantine."""
        is_elsewhere = getattr(self._files, "is_elsewhere", None)
        return is_elsewhere is not None and is_elsewhere(paths.repository(repository))

    def ping(self) -> None:
        """RegistryError if the store does not respond. One listing."""
        self._inside(paths.REPOSITORIES)

    # -- Source: as the registry answers -----------------------------------------------------------
    def repositories(self) -> Iterator[str]:
        """See Source. RegistryError at its end if a folder could not be read: then the list is
        incomplete."""
        found, error = self._walk()
        yield from ordered(
            name for name, inside in found.items() if not inside.isdisjoint(paths.MARKERS)
        )
        if error is not None:
            raise error

    def tags(self, repository: str) -> list[str]:
        """See Source."""
        leaves = self._tags(check_repository(repository))
        # Registry 2.8 does so for each repository without a folder of tags; an object store has
        # none after the last tag is deleted.
        if not leaves and "tags" not in self._inside(f"{paths.repository(repository)}/_manifests"):
            raise NotFound(
                f"{repository}: no such repository in the store", code="NAME_UNKNOWN", status=404
            )
        return [leaf.name for leaf in leaves]

    def resolve(self, repository: str, reference: str) -> str | None:
        """See Source. Reads the manifest, as the registry does."""
        stored = self.manifest(repository, reference)
        return stored.digest if stored else None

    def manifest(self, repository: str, reference: str) -> Stored | None:
        """See Source. Of signed schema 1 the store has the payload, without the signatures."""
        check_repository(repository)
        digest: str | None = reference
        if not is_digest(reference):
            digest = self._link(paths.tag_link(repository, check_tag(reference)))
        if digest is None:
            return None
        links = (paths.revision_link(repository, digest), paths.layer_link(repository, digest))
        raw = self._linked(links, digest, limit=MANIFEST_LIMIT)
        if raw is None:
            return None
        try:
            return Stored(digest, stored_media_type(read_object(raw)), raw)
        except ValueError as error:
            raise BadAnswer(f"{repository}@{digest}: {error}") from error

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        """See Source."""
        link = paths.layer_link(check_repository(repository), check_digest(digest))
        if not is_canonical(digest):
            stored = self._link(link)
            # The registry checks this one, too, when it serves the blob.
            if stored is None or self._link(paths.layer_link(repository, stored)) is None:
                return None
        return self._linked((link,), digest, limit=limit)

    def stored_as(self, repository: str, digests: Iterable[str]) -> dict[str, str]:
        """See Source. Without those whose link cannot be read, or names itself (after a mount by
        another algorithm; the registry itself does not find it then)."""
        others = [one for one in dict.fromkeys(digests) if not is_canonical(one)]
        if not others:
            return {}
        found = self._targets(repository, others)
        if any(found.get(one) == "" for one in others):
            time.sleep(REWRITE)
            found = self._targets(repository, others)
        return {one: found[one] for one in others if found.get(one, "") not in ("", one)}

    def _targets(self, repository: str, digests: Sequence[str]) -> dict[str, str]:
        """The content of the existing layer links of these digests, "" if it is no digest."""
        wanted = [paths.layer_link(repository, check_digest(digest)) for digest in digests]
        contents = _raised(self._files.read(wanted, limit=LINK_LIMIT))
        return {
            digest: _digest_in(content)
            for digest, content in zip(digests, contents, strict=True)
            if content is not None
        }

    # -- Store: from files only --------------------------------------------------------------------
    def tag_links(self, repository: str) -> list[TagLink]:
        """See Store."""
        check_repository(repository)
        found = self._tag_links(repository, None)
        broken = {link.name for link in found if not link.digest}
        if not broken:
            return found
        time.sleep(REWRITE)
        again = self._tag_links(repository, broken)
        for link in again:
            if not link.digest:
                self._problems.note(paths.tag_link(repository, link.name), "has no digest")
        return [link for link in found if link.digest] + again

    def tag_history(self, repository: str, tag: str) -> list[str]:
        """The tag's digests, by its own links, newest first."""
        folder = f"{paths.tag(repository, check_tag(tag))}/index"
        leaves = [one for one in self._digests_in(folder) if one[1].size >= 0]
        return [digest for digest, leaf in sorted(leaves, key=lambda one: -one[1].modified)]

    def _tag_links(self, repository: str, only: set[str] | None) -> list[TagLink]:
        """All tags, or those whose names are in `only`."""
        folder, leaves = paths.tags(repository), self._tags(repository)
        if only is not None:
            leaves = [leaf for leaf in leaves if leaf.name in only]
        wanted = [paths.tag_link(repository, leaf.name) for leaf in leaves]
        contents = _raised(self._files.read(wanted, limit=LINK_LIMIT))
        links = []
        for leaf, content in zip(leaves, contents, strict=True):
            if content is None and leaf.size >= 0:
                continue  # untagged since we listed it
            links.append(TagLink(leaf.name, _digest_in(content), self._moment(leaf, folder)))
        return links

    def _tags(self, repository: str) -> list[Leaf]:
        return [
            leaf
            for leaf in self._files.leaves(paths.tags(repository), paths.CURRENT)
            if self._is_name(check_tag, leaf.name, paths.tags(repository))
        ]

    def revisions(self, repository: str) -> list[str]:
        """See Store. A link counts if it is as long as it must be; whoever reads the manifest
        checks its bytes."""
        folder = paths.revisions(check_repository(repository))
        found, odd = self._revisions(folder)
        if odd:
            time.sleep(REWRITE)
            found, odd = self._revisions(folder)
        for name, what in odd:
            self._problems.note(f"{folder}/{name}", what)
        return found

    def _revisions(self, folder: str) -> tuple[list[str], list[tuple[str, str]]]:
        """The digests, and invalid entries: (path below `folder`, what)."""
        found, odd = [], []
        for algorithm in self._inside(folder):
            for leaf in self._files.leaves(f"{folder}/{algorithm}", paths.LINK):
                digest = f"{algorithm}:{leaf.name}"
                if not is_digest(digest):
                    odd.append((f"{algorithm}/{leaf.name}", "is no digest"))
                elif leaf.size == len(digest):
                    found.append(digest)
                elif leaf.size != ABSENT:  # the folder of a deleted manifest is kept
                    odd.append((f"{algorithm}/{leaf.name}/{paths.LINK}", "has no digest"))
        return found, odd

    def manifest_links(self, repository: str, *, is_odd: bool = False) -> list[StoredLink]:
        """The links of all manifests of the repository, with their content. `is_odd`: of a folder
        of `unusable`."""
        folder = paths.revisions(repository if is_odd else check_repository(repository))
        found = self._manifest_links(folder)
        if any(one.target != one.digest for one in found):
            time.sleep(REWRITE)
            found = self._manifest_links(folder)
        return found

    def _manifest_links(self, folder: str) -> list[StoredLink]:
        leaves = [one for one in self._digests_in(folder) if one[1].size != ABSENT]
        wanted = [f"{folder}/{digest.replace(':', '/', 1)}/{paths.LINK}" for digest, _ in leaves]
        contents = _raised(self._files.read(wanted, limit=LINK_LIMIT))
        return [
            StoredLink(digest, _digest_in(content), max(leaf.modified, leaf.changed))
            for (digest, leaf), content in zip(leaves, contents, strict=True)
            if content is not None or leaf.size < 0  # else it was deleted since we listed it
        ]

    def layer_links(self, repository: str, *, is_odd: bool = False) -> list[StoredLink]:
        """The links of all blobs of the repository; read only if they may contain another digest.
        One of another length than its digest's is broken."""
        folder = paths.layers(repository if is_odd else check_repository(repository))
        leaves = [one for one in self._digests_in(folder) if one[1].size != ABSENT]
        others = [digest for digest, _ in leaves if not is_canonical(digest)]
        targets = self._targets(repository, others) if others else {}
        for digest, leaf in leaves:
            if is_canonical(digest) and leaf.size != len(digest):
                targets[digest] = ""
        for digest in (digest for digest, target in targets.items() if not target):
            self._problems.note(f"{folder}/{digest.replace(':', '/', 1)}/link", "has no digest")
        return [
            StoredLink(digest, targets.get(digest, digest), max(leaf.modified, leaf.changed))
            for digest, leaf in leaves
        ]

    def _digests_in(self, folder: str) -> Iterator[tuple[str, Leaf]]:
        """The links below a folder of algorithms; what is no digest is left out."""
        for algorithm in self._inside(folder):
            for leaf in self._files.leaves(f"{folder}/{algorithm}", paths.LINK):
                if is_digest(digest := f"{algorithm}:{leaf.name}"):
                    yield digest, leaf

    def stamp(self, repository: str) -> str:
        """See Store."""
        check_repository(repository)
        return self._files.stamp(paths.tags(repository), paths.revisions(repository))

    def read_blobs(
        self, digests: Sequence[str], *, limit: int, repository: str = ""
    ) -> list[bytes | RegistryError | None]:
        """See Store."""
        stored = self.stored_as(repository, digests) if repository else {}
        wanted = [paths.blob_data(check_digest(stored.get(one, one))) for one in digests]
        contents = self._files.read(wanted, limit=limit)
        for place, digest in enumerate(digests):
            content = contents[place]
            # Almost always sha256: its own function takes half the time.
            if (
                isinstance(content, bytes)
                and sha256(content) != digest
                and not matches(digest, content)
            ):
                contents[place] = self._wrong(wanted[place])
        return contents

    def pieces(self, digest: str) -> Iterator[bytes]:
        """The content of a blob from its start to its end, not checked; see Files.pieces."""
        return self._files.pieces(paths.blob_data(check_digest(digest)))

    def blobs(self) -> Iterator[StoredBlob]:
        """See Store."""
        for folder in self.blob_folders():
            for digest, leaf in self.blobs_in(folder):
                yield StoredBlob(digest, leaf.size, self._moment(leaf, folder))

    def blob_folders(self) -> list[str]:
        """The folders of blobs by their prefix, ALGORITHM/HE."""
        return [
            f"{algorithm}/{start}"
            for algorithm in self._inside(paths.BLOBS)
            for start in self._inside(f"{paths.BLOBS}/{algorithm}")
        ]

    def blobs_in(self, below: str) -> Iterator[tuple[str, Leaf]]:
        """The blobs of one of these folders; what is no blob is noted."""
        algorithm, _, start = below.partition("/")
        folder = f"{paths.BLOBS}/{below}"
        for leaf in self._files.leaves(folder, paths.DATA):
            digest = f"{algorithm}:{leaf.name}"
            if not is_digest(digest) or not leaf.name.startswith(start):
                self._problems.note(f"{folder}/{leaf.name}", "is no digest")
            elif leaf.size >= 0:
                yield digest, leaf
            elif leaf.size != ABSENT:  # garbage collection leaves the folder
                self._problems.note(f"{folder}/{leaf.name}/{paths.DATA}", "is no file")

    def uploads(self) -> Iterator[Upload]:
        """See Store. On an object store the registry keeps the bytes of an upload where no listing
        shows them: 0."""
        found, error = self._walk()
        for name in ordered(name for name, inside in found.items() if paths.UPLOADS in inside):
            for leaf in self._files.leaves(paths.uploads(name), paths.DATA):
                moment = self._moment(leaf, paths.uploads(name))
                yield Upload(name, leaf.name, max(leaf.size, 0), moment)
        if error is not None:
            raise error

    def folders(self) -> dict[str, set[str]]:
        """Each folder with a valid repository name, with the names beginning with "_" in it; those
        without such names are only parents. RegistryError if any cannot be listed. Fills
        `unusable`, including all folders below those."""
        self.unusable = []
        found, error = self._walk()
        if error is not None:
            raise error
        for name in self.unusable:  # grows meanwhile
            inside = self._inside(paths.repository(name))
            self.unusable += [f"{name}/{one}" for one in inside if not one.startswith("_")]
        return found

    # -- helpers -----------------------------------------------------------------------------------
    def _walk(self) -> tuple[dict[str, set[str]], RegistryError | None]:
        """Each folder that can be called a repository, with the names beginning with "_" in it, and
        the first error. Level by level, because an object store lists many folders at once."""
        found: dict[str, set[str]] = {}
        failed: RegistryError | None = None
        level = [""]
        while level:
            below: list[str] = []
            for start in range(0, len(level), AT_ONCE):
                names = level[start : start + AT_ONCE]
                answers = self._files.folders(
                    [paths.repository(name).rstrip("/") for name in names]
                )
                for name, answer in zip(names, answers, strict=True):
                    if isinstance(answer, RegistryError):
                        failed = failed or answer
                        continue
                    inside = {one for one in answer if one.startswith("_")}
                    found[name] = inside
                    below += self._below(name, answer)
            level = below
        found.pop("", None)
        return found, failed

    def _below(self, name: str, folders: Iterable[str]) -> list[str]:
        names = [f"{name}/{one}" if name else one for one in folders if not one.startswith("_")]
        usable: list[str] = []
        for one in names:
            is_usable = self._is_name(check_repository, one, paths.REPOSITORIES)
            (usable if is_usable else self.unusable).append(one)
        return usable

    def _inside(self, folder: str) -> list[str]:
        answer = self._files.folders([folder])[0]
        if isinstance(answer, RegistryError):
            raise answer
        return answer

    def _is_name(self, check: object, name: str, folder: str) -> bool:
        try:
            check(name)  # type: ignore[operator]
        except ValueError:
            self._problems.note(f"{folder}/{name}", "is a name that no client can use")
            return False
        return True

    def _linked(self, links: Iterable[str], digest: str, *, limit: int) -> bytes | None:
        """The content of the first of these links, if it is that of `digest`."""
        target = next((one for one in map(self._link, links) if one is not None), None)
        if target is None:
            return None
        place = paths.blob_data(target)
        content = self._files.read([place], limit=limit)[0]
        if isinstance(content, RegistryError):
            raise content
        if content is not None and not matches(digest, content):
            raise self._wrong(place)
        return content

    def _link(self, path: str) -> str | None:
        """The digest in a link; None: no such link. BadAnswer: it has none."""
        for pause in (REWRITE, 0.0):
            content = _raised(self._files.read([path], limit=LINK_LIMIT))[0]
            digest = _digest_in(content)
            if content is None or digest:
                return digest or None
            time.sleep(pause)
        self._problems.note(path, "has no digest")
        raise BadAnswer(f"{path}: no digest in it")

    def _wrong(self, path: str) -> BadAnswer:
        self._problems.note(path, "is not what its digest says")
        return BadAnswer(f"{path}: content of another digest")

    def _moment(self, leaf: Leaf, folder: str) -> datetime:
        """When the file was written, in UTC, by its host's clock."""
        try:
            moment = datetime.fromtimestamp(leaf.modified, UTC)
        except (ValueError, OverflowError, OSError):
            self._problems.note(f"{folder}/{leaf.name}", "has a time that is none")
            return EPOCH
        if leaf.modified > time.time() + LATE:
            self._problems.note(f"{folder}/{leaf.name}", "is from the future")
        return moment


def _raised(contents: list[Content]) -> list[Content]:
    """`contents`, unless one is missing because nothing responded: then nothing is known."""
    for content in contents:
        if isinstance(content, RegistryError) and content.temporary:
            raise content
    return contents


def _digest_in(content: Content) -> str:
    """The digest that a link's content is; "" for any other content."""
    if not isinstance(content, bytes):
        return ""
    text = content.decode("ascii", "replace")
    return text if is_digest(text) else ""
