"""What clients delete and push where protections may forbid it: decided here, then handed on.

nginx sends here only what guard_files.py names: each DELETE of a manifest or blob in repositories
with a protection, each PUT of a tag in those with an immutable one. And each PUT of a manifest
where a quota is used up (quotas/marks.py).

    PUT of a manifest         refused if it is new and a quota is used up (quotas/refusal.py)
    PUT of an immutable tag   nobody else has the tag meanwhile: of two first pushes one wins
    DELETE                    nobody pushes an immutable tag of the repository meanwhile

The registry (or its store) is asked, not the index alone: an event comes milliseconds after its
push. The remaining hole: a push may set a tag that is protected, but not immutable, on the very
digest that is just being deleted; such pushes do not come by here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

from registryui import sockets, write_freeze
from registryui.chunks import chunks
from registryui.graph import closure
from registryui.models import BlobName, Manifest, Protection, Tag
from registryui.oci.digest import is_digest, sha256
from registryui.oci.names import is_tag
from registryui.oci.references import references
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.quotas.refusal import refusal
from registryui.registry.choose import open_source
from registryui.registry.client import RegistryClient
from registryui.registry.errors import BadAnswer, NotFound, RegistryError
from registryui.registry.forward import LONGEST, Answer, forward
from registryui.registry.storage import FileStore

from . import locks
from .protection import Protections, protections
from .reachability import users_of

NGINX_PATIENCE = 30  # seconds that nginx waits for us: we may look at each protected tag
PATIENCE = NGINX_PATIENCE - 2  # after so many the registry is asked no more
AT_ONCE = 16  # questions to the registry
ENDING = 10  # seconds for a push that nobody waits for any more
_VERSION = "registry/2.0"
_AWAY = "protections cannot be checked at the moment, so nothing was changed; try again soon"
_LATE = "this took too long, so nothing was changed; try again"
_FROZEN = "write freeze: pushes and deletions are rejected for a moment; try again in a minute"


@dataclass(frozen=True, slots=True)
class Asked:
    """A client's request, which nginx has taken apart and allowed to its user."""

    method: str  # PUT or DELETE
    kind: str  # "manifests" or "blobs"
    repository: str
    reference: str  # a tag or digest
    headers: Mapping[str, str]  # for the registry
    body: bytes = b""
    until: float = float("inf")  # when its client is told that nothing was done (time.time())

    @property
    def path(self) -> str:
        """As the registry is asked."""
        return f"/v2/{self.repository}/{self.kind}/{self.reference}"


def answer(asked: Asked) -> Answer:
    """What the client is told: the registry's own words, or why it was not asked."""
    if not (is_digest(asked.reference) or is_tag(asked.reference)):
        return _error(404, "TAG_INVALID", "the reference is neither a tag nor a digest")
    if len(asked.body) > MANIFEST_LIMIT:
        return _error(413, "SIZE_INVALID", "the manifest is too large")
    try:
        return _put(asked) if asked.method == "PUT" else _delete(asked)
    except (RegistryError, DatabaseError, locks.Busy, OSError):
        return _error(503, "UNAVAILABLE", _AWAY)


def locked_for_push(repository: str, tags: Iterable[str]) -> AbstractContextManager[None]:
    """Meanwhile nobody else pushes these immutable tags, and no client deletes there."""
    alone = [f"{repository}:{tag}" for tag in tags]
    return locks.locked(alone=alone, shared=[repository] if alone else [])


def tag_digest(source: FileStore | RegistryClient, repository: str, tag: str) -> str:
    """What the tag is on; "" if it is new. Where the registry does not find its image for the
    moment, the index knows."""
    found = source.resolve(repository, tag)
    if found:
        return found
    rows = Tag.objects.filter(repository__name=repository, name=tag)
    return rows.values_list("manifest__digest", flat=True).first() or ""


def _put(asked: Asked) -> Answer:
    tag, digest = asked.reference, sha256(asked.body)
    if reason := refusal(asked.repository, tag, digest):
        return _error(403, "DENIED", reason, refused="quota")
    rule = protections().immutable(asked.repository, tag) if is_tag(tag) else None
    if rule is None:
        return _forward(asked)
    with locked_for_push(asked.repository, [tag]):
        for name in (asked.repository, f"{asked.repository}:{tag}"):
            _let_end(name)
        with open_source() as source:
            now = tag_digest(source, asked.repository, tag)
        if now not in ("", digest):
            return _refusal(
                f"{asked.repository}:{tag} is immutable, protected by {rule}: it stays on {now}"
            )
        return _forward(asked, f"{asked.repository}:{tag}")


def _delete(asked: Asked) -> Answer:
    rules = protections()
    if not is_digest(asked.reference):  # a tag: registry 3 deletes it, 2.8 says that it cannot
        rule = rules.of(asked.repository, asked.reference)
        return _protected(asked, asked.reference, rule) if rule else _forward(asked)
    with locks.locked(alone=[asked.repository]), open_source() as source:
        for tag in _needing(source, asked.repository, asked.reference, rules):
            rule = rules.of(asked.repository, tag)
            if rule is not None:
                return _protected(asked, tag, rule)
        return _forward(asked, asked.repository)


def _forward(asked: Asked, name: str = "") -> Answer:
    """`name`: of the lock that is held for it. It is written down while the registry is at it.

    Deletes of blobs go the way of manifests, too: there all ends soon, and `_let_end` waits for it.
    """
    if time.time() > asked.until:
        return _error(503, "UNAVAILABLE", _LATE)
    if (write_freeze.folder() / asked.kind).exists():  # it may have been shut since nginx looked
        return _error(503, "UNAVAILABLE", _FROZEN, refused="frozen")
    if name:
        _note(name).touch()
    over = sockets.to_registry("manifests", settings.REGISTRY_PORT, timeout=LONGEST)
    told = forward(asked.method, asked.path, asked.headers, asked.body, over=over)
    if name:
        _note(name).unlink(missing_ok=True)
    return told


def _note(name: str) -> Path:
    folder = Path(settings.RUN_DIR / "guard")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / sha256(name.encode()).partition(":")[2]


def _let_end(name: str) -> None:
    """If a process died while the registry was at what it asked for: waits for the end of that. Its
    lock had ended with it. Busy: the registry does not get ready. (Other hosts see no such note.)
    """
    if not _note(name).exists():
        return
    if not write_freeze.let_end("manifests", seconds=ENDING):
        raise locks.Busy
    _note(name).unlink(missing_ok=True)


def _protected(asked: Asked, tag: str, rule: Protection) -> Answer:
    return _refusal(
        f"{asked.repository}:{tag} is protected by {rule}, and this would delete it or a part of it"
    )


def _refusal(reason: str) -> Answer:
    words = f"{reason}; an administrator can remove the protection"
    return _error(403, "DENIED", words, refused="protected")


def _error(status: int, code: str, message: str, *, refused: str = "") -> Answer:
    """`refused`: for nginx's log, which has it from a header that clients do not get."""
    error = {"code": code, "message": message, "detail": None}
    body = json.dumps({"errors": [error]}).encode()
    told = [("Content-Type", "application/json"), ("Docker-Distribution-Api-Version", _VERSION)]
    told += [("Retry-After", "5")] if status == 503 else []
    told += [("X-Boathouse-Refused", refused)] if refused else []
    return Answer(status, tuple(told), body)


# -- which protected tags need a digest ------------------------------------------------------------
def _needing(
    source: FileStore | RegistryClient, repository: str, digest: str, rules: Protections
) -> list[str]:
    """Protected tags of which that manifest or blob is a part: their own, a child's, a layer."""
    on = _protected_tags(source, repository, rules)
    names = _names(source, repository, digest)
    known = users_of(repository, names)
    unread = set(on.values()) - known
    for some in chunks(sorted(unread)):
        rows = Manifest.objects.filter(repository__name=repository, digest__in=some)
        unread -= set(rows.exclude(kind=Manifest.Kind.UNKNOWN).values_list("digest", flat=True))
    # What was pushed a moment ago the index does not have yet.
    needing = known | {one for one in unread if _contains(source, repository, one, names)}
    return [tag for tag, one in on.items() if one in needing]


def _protected_tags(
    source: FileStore | RegistryClient, repository: str, rules: Protections
) -> dict[str, str]:
    """Each protected tag that the registry has, and its digest; "" if nobody knows it."""
    indexed = Tag.objects.filter(repository__name=repository).exclude(manifest=None)
    known = dict(indexed.values_list("name", "manifest__digest"))
    if isinstance(source, FileStore):
        found = {link.name: link.digest for link in source.tag_links(repository)}
    else:
        found = dict.fromkeys(_tags(source, repository), "")
    found = {tag: digest for tag, digest in found.items() if rules.of(repository, tag)}
    if not isinstance(source, FileStore):
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="guard") as pool:
            told = pool.map(lambda tag: _resolved(source, repository, tag), found)
            found = dict(zip(found, told, strict=True))
    return {tag: digest or known.get(tag, "") for tag, digest in found.items()}


def _tags(source: RegistryClient, repository: str) -> list[str]:
    try:
        return source.tags(repository)
    except NotFound:
        return []


def _resolved(source: RegistryClient, repository: str, tag: str) -> str:
    try:
        return source.resolve(repository, tag) or ""
    except BadAnswer:  # it cannot be read: the index may know it
        return ""


def _names(source: FileStore | RegistryClient, repository: str, digest: str) -> set[str]:
    """All names of that content, as manifests may say them: it may be no sha256."""
    stored = {digest, *source.stored_as(repository, [digest]).values()}
    rows = BlobName.objects.filter(blob__digest__in=stored)
    return stored | set(rows.values_list("digest", flat=True))


def _contains(
    source: FileStore | RegistryClient, repository: str, digest: str, names: set[str]
) -> bool:
    """Whether one of `names` is reachable from that manifest, read from the registry."""
    found = {digest}

    def below(level: set[str]) -> Iterator[str]:
        for one in level:
            if not one or found & names:
                continue
            with suppress(BadAnswer):
                if stored := source.manifest(repository, one):
                    parts = references(stored.raw)
                    found.update(
                        parts.digests, source.stored_as(repository, parts.digests).values()
                    )
                    yield from parts.manifests

    closure([digest], below)
    return bool(found & names)
