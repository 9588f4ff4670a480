"""What is in the store: its links, as lines of JSON, and which blobs they need.

    {"name": "team/app", "tags": {"1.0": ["sha256:…", 1764584400.0]},  digest, time of the push
     "revisions": ["sha256:…"], "layers": ["sha256:…"],
     "named": {"sha512:…": "sha256:…"}}        what is stored under another digest than its name

A blob is written before its link, so what is linked here is complete; what is not linked is garbage
or an upload under way, and not backed up. A link without its blob is damage, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from django.utils.translation import gettext as _

from registryui.oci import names
from registryui.oci.digest import is_canonical
from registryui.refused import Refused
from registryui.registry import paths
from registryui.registry.storage import FileStore


@dataclass(slots=True)
class Listing:
    """A look at the store."""

    blobs: dict[str, int] = field(default_factory=dict)  # that links need, and their bytes
    repositories: int = 0
    tags: int = 0  # without referrer tags
    missing: list[str] = field(default_factory=list)  # linked blobs that are not in the store

    @property
    def bytes(self) -> int:
        """Of all these blobs."""
        return sum(self.blobs.values())


def write_links(store: FileStore, file: IO[str], beat: Callable[[], None]) -> Listing:
    """Writes the links of all repositories, and returns what they need. RegistryError: the store
    does not answer; Refused: a part of it lies behind a link that is not followed."""
    found = Listing()
    needed: set[str] = set()
    for name in store.repositories():
        beat()
        record = _repository(store, name)
        if record["tags"] or record["revisions"] or record["layers"]:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
            needed |= digests(record)
            found.repositories += 1
            found.tags += names.tag_counts(record["tags"])[0]
    if store.unfollowed:
        raise Refused(
            _(
                "%(path)s is a symbolic link that is not followed, so a backup would lack what is "
                "behind it: see docs/operate.md, Parts of the store behind symbolic links."
            )
            % {"path": store.unfollowed[0]}
        )
    for folder in store.blob_folders():
        beat()
        for digest, leaf in store.blobs_in(folder):
            if digest in needed:
                found.blobs[digest] = leaf.size
    found.missing = sorted(needed - found.blobs.keys())
    return found


def digests(record: dict[str, Any]) -> set[str]:
    """The blobs that a repository's links need, by the names they are stored under."""
    named = record["named"]
    tagged = {digest for digest, _at in record["tags"].values()}
    return {named.get(one, one) for one in (*record["revisions"], *record["layers"], *tagged)}


def read_links(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The records that were written."""
    for line in file:
        yield json.loads(line)


def paths_of(record: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """The links of a record: path, digest in it, time of change (0: any). Tags come last."""
    name, named = record["name"], record["named"]
    for digest in record["layers"]:
        yield paths.layer_link(name, digest), named.get(digest, digest), 0.0
    for digest in record["revisions"]:
        yield paths.revision_link(name, digest), digest, 0.0
    for tag, (digest, at) in record["tags"].items():
        yield paths.tag_index_link(name, tag, digest), digest, at
        yield paths.tag_link(name, tag), digest, at


def _repository(store: FileStore, name: str) -> dict[str, Any]:
    # Tags first: what is tagged meanwhile may lack its tag, but no tag lacks its manifest.
    tags = {
        link.name: (link.digest, link.tagged_at.timestamp())
        for link in store.tag_links(name)
        if link.digest
    }
    revisions = store.revisions(name)
    layers = [one for one in store.layer_links(name) if one.target]
    named = {one.digest: one.target for one in layers if one.target != one.digest}
    others = [one for one in revisions if not is_canonical(one)]
    if others:
        links = {one.digest: one.target for one in store.manifest_links(name)}
        named |= {one: links[one] for one in others if links.get(one, one) not in ("", one)}
    return {
        "name": name,
        "tags": dict(sorted(tags.items())),
        "revisions": sorted(revisions),
        "layers": sorted(one.digest for one in layers),
        "named": named,
    }
