"""Asks the registry about tags and brings what the index does not have yet.

No database here: everything runs in threads, and what is known already is passed in. A manifest
and its config are fetched once per digest, however many tags and repositories name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from registryui.models import Tag
from registryui.oci import manifest as oci
from registryui.registry.client import RegistryClient
from registryui.registry.errors import BadAnswer, NotFound, TooLarge
from registryui.registry.source import Source, Stored

from .contents import CONFIG_LIMIT, NESTING_LIMIT, NewManifest, children, config_of, resolved
from .rows import own_blobs

Problem = Tag.Problem


@dataclass(frozen=True, slots=True)
class TagProbe:
    """What the registry says of one tag now. `digest` is "" when it has nothing for the tag."""

    tag: str
    expected: str  # the digest that the index had when we looked; "" for none
    digest: str
    stored: Stored | None = None  # None where the manifest need not be fetched
    problem: str = Problem.NONE
    is_gone: bool = False  # asked about a tag that the registry no longer lists


@dataclass(frozen=True, slots=True)
class Known:
    """What the index can say without asking the registry."""

    here: Callable[[Iterable[str]], set[str]]  # which of these digests the repository's index has
    elsewhere: Callable[[Iterable[str]], dict[str, NewManifest]]  # those that another one has


def probe(
    source: Source,
    repository: str,
    tag: str,
    *,
    expected: str,
    again: bool = False,
    is_listed: bool = True,
) -> TagProbe:
    """Looks at one tag: a HEAD if the index has it already, else the manifest at once.

    `again` fetches it even if the digest is the expected one (a tag with a problem may have
    healed). A tag that the registry does not list and has nothing for is gone, else dangling.
    Raises RegistryError when the registry does not answer; says nothing of the tag then.
    """
    absent = TagProbe(tag, expected, "", problem=Problem.DANGLING, is_gone=not is_listed)
    try:
        if expected and not again:
            digest = source.resolve(repository, tag)
            if digest == expected:
                return TagProbe(tag, expected, digest)
            if digest is None:
                return absent
        stored = source.manifest(repository, tag)
    except (BadAnswer, TooLarge):
        return TagProbe(tag, expected, "", problem=Problem.UNREADABLE)
    except NotFound:
        stored = None
    if stored is None:
        return absent
    return TagProbe(tag, expected, stored.digest, stored)


def complete(
    source: Source,
    repository: str,
    stored: Iterable[Stored],
    *,
    known: Known,
    pool: Executor,
    is_mirrored: bool,
) -> list[NewManifest]:
    """Everything that these manifests need and the index of the repository lacks, children first.

    Children of image indexes are fetched level by level, then all configs. What the registry
    does not have is named in `missing`, in a mirrored repository in `absent`; it stops nothing.
    """
    levels: list[list[NewManifest]] = []
    missing: set[str] = set()
    seen: set[str] = set()
    level = _copy_or_parse({one.digest: one for one in stored}.values(), seen, known)
    while level and len(levels) < NESTING_LIMIT:
        level = resolved(source, repository, level)
        levels.append(level)
        wanted = {child for one in level for child in children(one)} - seen
        wanted -= known.here(wanted)
        copies = known.elsewhere(wanted)
        order = sorted(wanted)
        answers = pool.map(
            lambda digest: _child(source, repository, digest, is_known=digest in copies),  # noqa: B023
            order,
        )
        found = {digest: one for digest, one in zip(order, answers, strict=True) if one is not None}
        missing |= wanted - found.keys()
        seen |= found.keys() & copies.keys()
        level = [copies[digest] for digest in found.keys() & copies.keys()]
        level += _copy_or_parse((one for one in found.values() if one.raw), seen, known)
    flat = [one for level in reversed(levels) for one in level]
    flat = _with_configs(source, repository, flat, missing, pool)
    return _with_absent(source, repository, flat, pool) if is_mirrored else flat


def _with_absent(
    source: Source, repository: str, manifests: Sequence[NewManifest], pool: Executor
) -> list[NewManifest]:
    """The same, of a mirrored repository. A request for each blob."""
    names = {stored: named for one in manifests for named, stored in one.stored.items()}
    order = sorted({digest for one in manifests for digest in own_blobs(one)})
    wanted = [names.get(digest, digest) for digest in order]
    there = pool.map(lambda named: has_blob(source, repository, named), wanted)
    absent = {digest for digest, is_there in zip(order, there, strict=True) if not is_there}
    return [
        replace(one, missing=(), absent=frozenset(absent & own_blobs(one).keys()))
        for one in manifests
    ]


def has_blob(source: Source, repository: str, digest: str) -> bool:
    """Whether the repository has this blob, in whatever state. Raises RegistryError."""
    try:
        if isinstance(source, RegistryClient):
            return source.has_blob(repository, digest)
        return source.blob(repository, digest, limit=1) is not None
    except NotFound:
        return False
    except (BadAnswer, TooLarge):
        return True


def _copy_or_parse(stored: Iterable[Stored], seen: set[str], known: Known) -> list[NewManifest]:
    """New manifests out of answers, leaving out what is seen; adds their digests to `seen`."""
    fresh = [one for one in stored if one.digest not in seen]
    copies = known.elsewhere([one.digest for one in fresh])
    seen |= {one.digest for one in fresh}
    return [copies.get(one.digest) or _parse(one) for one in fresh]


def _parse(stored: Stored) -> NewManifest:
    try:
        parsed = oci.parse_manifest(stored.raw, stored.media_type)
    except ValueError:
        return NewManifest(stored.digest, stored.media_type, stored.raw, None)
    return NewManifest(stored.digest, stored.media_type, stored.raw, parsed)


def _child(source: Source, repository: str, digest: str, *, is_known: bool) -> Stored | None:
    """The child, or None if the repository does not have it. Known bytes are not fetched again."""
    try:
        if is_known:
            return Stored(digest, "", b"") if source.resolve(repository, digest) else None
        return source.manifest(repository, digest)
    except (NotFound, BadAnswer, TooLarge):
        return None


def _with_configs(
    source: Source,
    repository: str,
    manifests: Sequence[NewManifest],
    missing: set[str],
    pool: Executor,
) -> list[NewManifest]:
    wanted = {
        config for one in manifests if one.config is None and (config := config_of(one.parsed))
    }
    order = sorted(wanted)
    configs = dict(
        zip(order, pool.map(lambda digest: _config(source, repository, digest), order), strict=True)
    )
    missing = missing | {digest for digest, data in configs.items() if data is None}
    done = []
    for one in manifests:
        config = one.parsed.config.digest if one.parsed and one.parsed.config else ""
        needs = {*children(one), config}
        done.append(
            NewManifest(
                one.digest,
                one.media_type,
                one.raw,
                one.parsed,
                one.config or configs.get(config) or None,
                tuple(sorted(needs & missing)),
                one.stored,
            )
        )
    return done


def _config(source: Source, repository: str, digest: str) -> bytes | None:
    """The config's bytes, b"" if it cannot be used, None if the registry does not have it."""
    try:
        return source.blob(repository, digest, limit=CONFIG_LIMIT)
    except NotFound:
        return None
    except (BadAnswer, TooLarge):
        return b""
