"""Another registry as the source of an import, over HTTP: anonymously, by Basic or by a token.

By the client of the mirror service (mirror_service/upstream.py). What it answers is a stranger's:
limited while it is read, and checked against its digest.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui.mirror_service import failures
from registryui.mirror_service import mirrors as service_mirrors
from registryui.mirror_service.state import StateFile
from registryui.mirror_service.upstream import Answer, Upstream
from registryui.mirrors import mirrors, upstream
from registryui.mirrors.words import error_words
from registryui.oci import media_types, names
from registryui.oci.digest import is_canonical, is_digest, matches
from registryui.oci.manifest import digest_of, parse_manifest, signed_bytes, stored_media_type
from registryui.oci.untrusted import MANIFEST_LIMIT, read_object
from registryui.refused import Refused
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, Unreachable
from registryui.registry.source import Stored

from . import copy
from .source import Descriptor, Found, Options, Target

PER_PAGE = 1000
LIST_LIMIT = 64 * 1024 * 1024  # bytes of a page of names
MOST_PAGES = 10_000
LISTS_AT_ONCE = 8  # repositories whose tags are asked for
CONNECTIONS = 40
BROKEN_OFF = 5  # times in a row that a blob is continued where it broke off
REFERRERS_DEEP = 3  # a signature of a bill of materials of an image
MOST_REFERRERS = 1000  # of one image
# Old registries allow more than today's; what a path cannot hold is left out.
_NAME = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class Access:
    """Which registry, and as whom."""

    url: str  # scheme, host and port
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)  # PEM

    @property
    def host(self) -> str:
        """For people: without the scheme."""
        return self.url.partition("://")[2]


@sensitive_variables("password")
def access(
    url: str, *, user: str = "", password: str = "", ca: str = "", may_be_plain: bool = False
) -> Access:
    """Checked; Refused with a sentence."""
    if bool(user) != bool(password):
        raise Refused(_("Enter both the user and the password, or neither."))
    if ":" in user or not user.isprintable() or not password.isprintable():
        raise Refused(_("The user and the password must not contain control characters."))
    checked = mirrors.checked_url(url, may_be_plain=may_be_plain)
    return Access(checked, user, password, mirrors.checked_ca(ca))


class RegistrySource:
    """A Source, and the Content of its images. To be used in a `with`."""

    def __init__(self, where: Access, options: Options) -> None:
        self.name = f"registry {where.host}"
        self._options = options
        made = service_mirrors.Mirror(
            "import", where.url, user=where.user, password=where.password, ca=where.ca
        )
        state = StateFile(Path(os.devnull), threading.Event())
        self._upstream = Upstream(made, state, idle=CONNECTIONS)
        self._url = where.url
        self._has_api: bool | None = None  # the referrers API; None: not known yet
        self._left_out: dict[str, list[str]] = {}  # referrer tags that the patterns do not mean
        self._children_of: dict[str, tuple[str, ...]] = {}  # of manifests that were read
        self._referrers: dict[tuple[str, str], list[dict[str, Any]]] = {}  # by fallback tag

    def __enter__(self) -> RegistrySource:
        return self

    def __exit__(self, *_error: object) -> None:
        self._upstream.close()

    # -- tags --------------------------------------------------------------------------------------
    def survey(self) -> Iterator[Found]:
        """See Source. Refused: it does not say which repositories it has."""
        with _in_words():
            self._prove()
            found = self._options.repositories
            if found is None:
                found = tuple(filter(self._options.may_have, self._repositories()))
        with ThreadPoolExecutor(LISTS_AT_ONCE, thread_name_prefix="survey") as pool:
            try:
                for one in pool.map(self._tags, sorted(found)):
                    yield from one
            finally:
                pool.shutdown(cancel_futures=True)

    def _prove(self) -> None:
        """Refused unless it is a registry and accepts the login."""
        status, headers, _body = upstream.answer(self._upstream, "/v2/", "")
        challenge = headers.get("www-authenticate", "").lower()
        if status == 401 and challenge.startswith("basic"):
            raise failures.Denied("")
        if status != 200 and not (status == 401 and challenge.startswith("bearer ")):
            raise upstream.unexpected(status)

    def _repositories(self) -> list[str]:
        """The catalogue."""
        found: list[str] = []
        for status, body in self._pages(f"/v2/_catalog?n={PER_PAGE}", ""):
            if status != 200:
                raise Refused(
                    _(
                        "%(host)s does not list its repositories (HTTP status %(status)d): name "
                        "those to import, such as team/app."
                    )
                    % {"host": self._url.partition("://")[2], "status": status}
                )
            found += _texts(body, "repositories")
        return list(dict.fromkeys(found))

    def _tags(self, repository: str) -> list[Found]:
        """What the survey says of a repository."""
        if not _NAME.fullmatch(repository) or len(repository) > 255:
            return [Found(repository[:255], "", problem=_("Its name cannot be asked for."))]
        found: list[str] = []
        with _in_words():
            for status, body in self._pages(f"/v2/{repository}/tags/list?n={PER_PAGE}", repository):
                if status == 404:
                    break  # a repository without tags
                if status != 200:
                    words = _("It cannot be read there (HTTP status %(status)d).")
                    return [Found(repository, "", problem=words % {"status": status})]
                found += _texts(body, "tags")
        tags = [tag for tag in dict.fromkeys(found) if names.is_tag(tag)]
        mean = self._options.mean
        self._left_out[repository] = [
            tag for tag in tags if names.referrer_subject(tag) and not mean(repository, tag)
        ]
        if not tags and self._options.repositories is not None:
            return [
                Found(repository, "", problem=_("There is no such repository, or no tag in it."))
            ]
        # Signatures and the like last: what they are of comes first.
        tags.sort(key=lambda tag: (bool(names.referrer_subject(tag)), tag))
        return [Found(repository, tag) for tag in tags]

    def _pages(self, path: str, repository: str) -> Iterator[tuple[int, bytes]]:
        """Status and content of a list, page by page; the last one has another status than 200, or
        no next one."""
        for _number in range(MOST_PAGES):
            status, headers, body = upstream.answer(
                self._upstream, path, repository, limit=LIST_LIMIT
            )
            yield status, body
            path = upstream.next_page(self._url, headers.get("link", ""), path)
            if status != 200 or not path:
                return

    # -- content -----------------------------------------------------------------------------------
    def digest(self, found: Found) -> str:
        """See Source. One HEAD, which no registry counts as a pull."""
        if found.key or names.is_fallback(found.tag):
            return found.key
        with _as_registry_error():
            answer = self._upstream.manifest(
                "HEAD", found.repository, found.tag, media_types.ACCEPT
            )
            with closing(answer):
                told = answer.headers.get("Docker-Content-Digest", "")
        return told if is_digest(told) and is_canonical(told) else ""

    def manifest(self, repository: str, reference: str) -> Stored:
        """See Content."""
        with _as_registry_error():
            answer = self._upstream.manifest("GET", repository, reference, media_types.ACCEPT)
            with closing(answer):
                told = answer.headers.get("Docker-Content-Digest", "")
                media_type = media_types.bare(answer.headers.get("Content-Type", ""))
                raw = answer.read(MANIFEST_LIMIT)
            stored = _checked(raw, media_type, [reference, told], f"{repository}@{reference}")
            self._children_of[stored.digest] = _entries(stored)
        return stored

    @contextmanager
    def blob(self, repository: str, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """See Content. What breaks off is continued."""
        with closing(_Blob(self._upstream, repository, descriptor)) as stream:
            yield cast(BinaryIO, stream)

    def copy(self, found: Found, target: Target) -> Stored:
        """See Source."""
        known = self._referrers.pop((found.repository, found.tag), None)
        if known is None:
            return copy.copy(self, found.repository, found.key or found.tag, target)
        known = [one for one in known if target.manifest(one["digest"]) is not None]
        made = copy.image_index(known)
        try:
            own = copy.copy(self, found.repository, found.tag, target)
        except NotFound:
            return made
        return copy.merged(own, made)

    # -- referrers ---------------------------------------------------------------------------------
    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        """See Source. By the API, as tags by the fallback of the specification, which our registry
        needs; tags of them that the survey left out."""
        left_out = self._left_out.get(found.repository, [])
        if self._has_api is False and not left_out:
            return
        if names.referrer_subject(found.tag) or not found.tag:
            return
        own = list(self._listed(found.repository, digest, REFERRERS_DEEP))
        if self._has_api is False and not left_out:
            return
        for subject in (digest, *self._children(found.repository, digest)):
            prefix = f"sha256-{subject.partition(':')[2]}"
            is_own = subject == digest
            api = own if is_own else list(self._listed(found.repository, subject, REFERRERS_DEEP))
            yield from (Found(found.repository, "", key=one["digest"]) for _tag, one in api)
            for tag in dict.fromkeys(tag for tag, _one in api):
                mine = [one for other, one in api if other == tag]
                self._referrers[found.repository, tag] = mine
                yield Found(found.repository, tag)
            done = {tag for tag, _one in api}
            for tag in left_out:
                if tag.startswith(prefix) and tag not in done:
                    yield Found(found.repository, tag)

    def _children(self, repository: str, digest: str) -> tuple[str, ...]:
        """The images of an image index."""
        if digest not in self._children_of:
            self.manifest(repository, digest)
        return self._children_of.get(digest, ())

    def _listed(
        self, repository: str, digest: str, depth: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What refers to that digest by the API, and to those, and the fallback tag of each."""
        if self._has_api is False or not depth or not is_canonical(digest):
            return
        with _as_registry_error():
            try:
                answer = upstream.answer(
                    self._upstream, f"/v2/{repository}/referrers/{digest}", repository
                )
            except Refused as error:
                raise BadAnswer(str(error)) from error
        status, _headers, body = answer
        if status != 200:
            if self._has_api is None and status in (400, 404, 405, 501):
                self._has_api = False
            return
        self._has_api = True
        for one in _descriptors(body):
            yield f"sha256-{digest.partition(':')[2]}", one
            yield from self._listed(repository, one["digest"], depth - 1)


class _Blob:
    """The bytes of a blob. Where the connection breaks off, it is asked for the rest."""

    def __init__(self, source: Upstream, repository: str, descriptor: Descriptor) -> None:
        self._source, self._repository, self._descriptor = source, repository, descriptor
        self._at = 0
        self._answer: Answer | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._open()  # NotFound comes from here, before an upload has begun

    def read(self, size: int = -1) -> bytes:
        """Some bytes; b"" at the end. RegistryError."""
        for attempt in range(BROKEN_OFF + 1):
            try:
                if self._answer is None:
                    self._open()
                piece = next(self._pieces, b"")
                self._at += len(piece)
                return piece
            except (OSError, HTTPException) as error:
                self.close()
                if attempt == BROKEN_OFF:
                    raise Unreachable(f"{self._descriptor.digest} broke off: {error}") from error
        raise AssertionError

    def _open(self) -> None:
        with _as_registry_error():
            answer = self._source.blob(
                "GET", self._repository, self._descriptor.digest, start=self._at
            )
        if self._at and answer.status != 206:
            answer.close()
            raise Unreachable(f"{self._descriptor.digest} broke off, and cannot be continued")
        self._answer, self._pieces = answer, answer.pieces(copy.PIECE)

    def close(self) -> None:
        """Ends the request."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None


# -- answers ---------------------------------------------------------------------------------------
@contextmanager
def _as_registry_error() -> Iterator[None]:
    """What the client says, as what readers of registries raise."""
    try:
        yield
    except failures.Unknown as error:
        raise NotFound(str(error), status=404) from error
    except failures.Away as error:
        raise Unreachable(str(error)) from error
    except failures.Failure as error:
        is_temporary = isinstance(error, failures.Limited)
        raise RegistryError(str(error), status=error.status, temporary=is_temporary) from error
    except (OSError, HTTPException) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    except ValueError as error:
        raise BadAnswer(str(error)) from error


@contextmanager
def _in_words() -> Iterator[None]:
    """The same for people: Refused."""
    try:
        yield
    except failures.Denied as error:
        raise Refused(_("The registry does not accept the user and password.")) from error
    except failures.Failure as error:
        reason = error_words(upstream.reason(error))[:300]
        raise Refused(
            _("The registry does not answer: %(reason)s.") % {"reason": reason}
        ) from error


def _checked(raw: bytes, media_type: str, wanted: list[str], name: str) -> Stored:
    """A manifest, with the type that it has, and the digest that our registry gives it."""
    if not media_types.is_manifest(media_type):
        media_type = stored_media_type(read_object(raw))
    content = signed_bytes(raw, media_type)
    for digest in wanted:
        if is_digest(digest) and not matches(digest, content):
            raise BadAnswer(f"{name}: content of another digest than {digest}")
    return Stored(digest_of(raw, media_type), media_type, raw)


def _entries(stored: Stored) -> tuple[str, ...]:
    if not media_types.is_image_index(stored.media_type):
        return ()
    return tuple(one.digest for one in parse_manifest(stored.raw, stored.media_type).entries)


def _texts(body: bytes, key: str) -> list[str]:
    found = _object(body).get(key)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _descriptors(body: bytes) -> Iterator[dict[str, Any]]:
    found = _object(body).get("manifests")
    for one in found[:MOST_REFERRERS] if isinstance(found, list) else ():
        if (
            isinstance(one, dict)
            and isinstance(one.get("digest"), str)
            and is_digest(one["digest"])
        ):
            yield one


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
