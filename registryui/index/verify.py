"""Compares the index with the registry or its store, and says what differs. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from registryui.models import Manifest, Repository, Tag
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.files import shown
from registryui.registry.source import Source, Store

from .sync import AT_ONCE, is_store


def verify(source: Source) -> Iterator[str]:
    """One line for each difference, and for each thing that could not be looked at.

    Tags and their digests; of a store also manifests without a tag, and symbolic links behind which
    nobody probes. What changes while it runs is told as a difference. RegistryError: the
    repositories could not be listed.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="verify") as pool:
        listed = set()
        for name in source.repositories():
            listed.add(name)
            if not Repository.objects.filter(name=name).exists():
                yield f"{name}: not in the index"
            try:
                yield from _tags(name, _found(source, name, pool))
                if is_store(source):
                    yield from _manifests(source, name)
            except RegistryError as error:
                yield f"{name}: {error}"
    for name in Repository.objects.order_by("name").values_list("name", flat=True):
        if name not in listed:
            yield f"{name}: only in the index"
    if is_store(source):
        for path in source.unfollowed:
            yield f"{shown(path)}: a symbolic link that is not followed; the registry follows it"


def _found(source: Source, name: str, pool: ThreadPoolExecutor) -> dict[str, str]:
    """Tags to digests, "" for a tag that has none."""
    if is_store(source):
        return {link.name: link.digest for link in source.tag_links(name)}
    try:
        tags = source.tags(name)
    except NotFound:
        return {}
    return dict(zip(tags, pool.map(lambda tag: _digest(source, name, tag), tags), strict=True))


def _digest(source: Source, name: str, tag: str) -> str:
    try:
        return source.resolve(name, tag) or ""
    except RegistryError as error:
        if error.temporary:
            raise
        return ""


def _tags(name: str, found: Mapping[str, str]) -> Iterator[str]:
    rows = Tag.objects.filter(repository__name=name)
    known = {
        tag: (digest or "", problem)
        for tag, digest, problem in rows.values_list("name", "manifest__digest", "problem")
    }
    for tag in _sorted(found.keys() | known.keys()):
        if tag not in known:
            yield f"{name}:{tag}: not in the index"
        elif tag not in found:
            yield f"{name}:{tag}: only in the index"
        else:
            digest, problem = known[tag]
            # A tag without a manifest has a link all the same: its problem is known.
            if digest != found[tag] and not (problem and not digest):
                yield (
                    f"{name}:{tag}: {found[tag] or 'nothing'} in the registry,"
                    f" {digest or 'nothing'} in the index"
                )


def _manifests(store: Store, name: str) -> Iterator[str]:
    revisions = set(store.revisions(name))
    known = set(Manifest.objects.filter(repository__name=name).values_list("digest", flat=True))
    for digest in _sorted(known - revisions):
        yield f"{name}@{digest}: only in the index"
    contents = store.read_blobs(_sorted(revisions - known), limit=1)
    for digest, content in zip(_sorted(revisions - known), contents, strict=True):
        if content is not None:  # else its bytes are gone: the index has no row for it either
            yield f"{name}@{digest}: not in the index"


def _sorted(some: Iterable[str]) -> list[str]:
    return sorted(some)
