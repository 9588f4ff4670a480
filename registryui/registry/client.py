"""The registry over HTTP (distribution-spec).

All answers are checked: digests are computed, lengths limited while reading, and links and
redirects never send the password to another host. A 404 means "not found" only if the registry
itself says so: a proxy's 404 would otherwise empty the index.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import parse_header_links
from urllib3.util import Retry

from ..oci import media_types
from ..oci.digest import check_digest, is_canonical, is_digest, matches, sha256
from ..oci.manifest import digest_of, signed_bytes
from ..oci.names import check_repository, check_tag
from ..oci.untrusted import MANIFEST_LIMIT, quoted, read_object, text
from .errors import BadAnswer, NotFound, RegistryError, TooLarge, Unreachable
from .keep_alive import Answer, KeepAliveConnections
from .over_socket import SocketAdapter
from .source import Stored

logger = logging.getLogger(__name__)

USER_AGENT = "boathouse/0.1"  # by which events of our own requests are recognised
PAGE = 1000  # names per page of the catalogue: each page scans the store from its start
PAGES_LIMIT = 100_000
LIST_LIMIT = 64 * 1024 * 1024  # bytes of one page: 2.8 answers all tags of a repository at once
ERROR_LIMIT = 64 * 1024
REDIRECTS_LIMIT = 3
PIECE = 1024 * 1024  # bytes of a blob at once

_ABSENT = frozenset(("NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"))
_API_VERSION = "Docker-Distribution-Api-Version"  # a header of every answer of a registry
# Detail of registry 3's 500 for a schema 1 manifest that its store has from 2.8; it stays so.
_UNREADABLE = "unrecognized manifest schema version"


class RegistryClient:
    """A registry at `url`, which may have a path in front of /v2/, or be unix:/PATH of a socket. A
    Source that also writes."""

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca: Path | None = None,
        timeout: tuple[float, float] = (3.05, 30),
        pool: int = 16,
        act: str = "",
        source: str = "",
        is_kept_alive: bool = True,
    ) -> None:
        """`timeout`: seconds to connect, and to wait for each piece of an answer. `ca`: a PEM
        file of the authorities to trust instead of the system's. `act`: an id of the operator's
        action, by which its registry events are recognised; see index/events.py. `source`: the
        address of this machine to connect from. `is_kept_alive`: False for a connection for each
        request, as nginx has them for writes (write_freeze.py counts them)."""
        socket = url.removeprefix("unix:") if url.startswith("unix:") else ""
        self.url = "http://localhost" if socket else url.rstrip("/")
        self._timeout = timeout
        self._deletes_tags: bool | None = None  # None: not known yet
        self._session = _session(pool=pool, ca=ca, socket=socket, source=source)
        if not is_kept_alive:
            self._session.headers["Connection"] = "close"
        if act:
            self._session.headers["User-Agent"] = _agent(act)
        if username:
            # Bytes: requests would write the text in latin-1, Docker and nginx take it as UTF-8.
            self._session.auth = (username.encode(), password.encode())  # type: ignore[assignment]
        self._elsewhere = _session(pool=pool, ca=None)  # object stores: never with our password
        self._kept: KeepAliveConnections | None = None
        if (
            self.url.startswith("http:") and not username and is_kept_alive
        ):  # the registry behind our own nginx
            headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
            self._kept = KeepAliveConnections(self.url, headers, timeout=timeout[1], socket=socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._kept is not None:
            self._kept.close()
        self._session.close()
        self._elsewhere.close()

    # -- reading ---------------------------------------------------------------------------------
    def ping(self) -> str:
        """The version of the API, "registry/2.0"; "" if the registry does not say."""
        with self._request("GET", f"{self.url}/v2/") as response:
            self._expect(response, 200)
            version = text(response.headers.get(_API_VERSION, ""), limit=64)
            if not version:
                _json(response, self._read(response, ERROR_LIMIT))
            return version

    def repositories(self) -> Iterator[str]:
        """See Source. Names that clients cannot use are left out and logged."""
        path = f"{self.url}/v2/_catalog"
        try:
            yield from self._names(f"{path}?n={PAGE}", "repositories", check_repository)
        except RegistryError as error:
            if error.status != 400:
                raise
            # Configured to refuse that many. It refuses the first page or none, so no name is
            # returned twice.
            yield from self._names(path, "repositories", check_repository)

    def tags(self, repository: str) -> list[str]:
        """See Source. Without a page size, each registry from 2.8 to 3.1 returns all."""
        url = f"{self.url}/v2/{check_repository(repository)}/tags/list"
        return list(dict.fromkeys(self._names(url, "tags", check_tag)))

    def resolve(self, repository: str, reference: str) -> str | None:
        """See Source. One HEAD; a GET if the answer has no digest, is a doubtful 404, or a 500,
        whose reason is in the body."""
        url = self._manifest_url(repository, reference)
        if quick := self._quick("HEAD", url, _ACCEPT, limit=0):
            digest = _answered_digest(quick, reference)
            if digest:
                return digest
        with self._request("HEAD", url, _ACCEPT) as response:
            if response.status_code == 404 and _API_VERSION in response.headers:
                return None
            if response.status_code not in (200, 404, 500):
                raise _error(response, b"")
            digest = _answered_digest(response, reference)
            if response.status_code == 200 and digest:
                return digest
        stored = self.manifest(repository, reference)
        return stored.digest if stored else None

    def manifest(self, repository: str, reference: str) -> Stored | None:
        """See Source."""
        url = self._manifest_url(repository, reference)
        if quick := self._quick("GET", url, _ACCEPT, limit=MANIFEST_LIMIT):
            media_type = _manifest_type(quick)
            return Stored(
                _checked(quick, reference, quick.body, media_type), media_type, quick.body
            )
        with self._request("GET", url, _ACCEPT) as response:
            if self._is_absent(response):
                return None
            media_type = _manifest_type(response)
            raw = self._read(response, MANIFEST_LIMIT)
            return Stored(_checked(response, reference, raw, media_type), media_type, raw)

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        """See Source. Follows redirects to an object store."""
        url = f"{self.url}/v2/{check_repository(repository)}/blobs/{check_digest(digest)}"
        if quick := self._quick("GET", url, {}, limit=limit):
            return _matching(quick, digest, quick.body)
        for _ in range(REDIRECTS_LIMIT + 1):
            with self._request("GET", url, elsewhere=not self._is_ours(url)) as response:
                if response.is_redirect:
                    url = self._redirect(response)
                    continue
                if self._is_absent(response):
                    return None
                return _matching(response, digest, self._read(response, limit))
        raise BadAnswer(f"more than {REDIRECTS_LIMIT} redirects for {digest}")

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the registry says that the repository has this blob. One HEAD."""
        return self.blob_size(repository, digest) is not None

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a blob, by one HEAD; None if it does not exist, -1 if it is elsewhere or its
        size is unknown."""
        url = f"{self.url}/v2/{check_repository(repository)}/blobs/{check_digest(digest)}"
        with self._request("HEAD", url) as response:
            # A redirect to an object store: it exists.
            if response.status_code == 200 or response.is_redirect:
                told = response.headers.get("Content-Length", "")
                is_told = not response.is_redirect and told.isascii() and told.isdigit()
                return int(told[:19]) if is_told else -1
            if response.status_code == 404:
                return None
            raise _error(response, b"")

    def stored_as(self, repository: str, digests: Iterable[str]) -> dict[str, str]:
        """See Source. One HEAD for each that is no sha256."""
        found = {}
        for digest in dict.fromkeys(digests):
            if is_canonical(digest):
                continue
            url = f"{self.url}/v2/{check_repository(repository)}/blobs/{check_digest(digest)}"
            with self._request("HEAD", url) as response:
                told = response.headers.get("Docker-Content-Digest", "")
                if response.status_code == 200 and is_digest(told) and told != digest:
                    found[digest] = told
                elif response.status_code == 429 or response.status_code > 500:
                    raise _error(response, b"")  # 500: one of its two links is missing
        return found

    def pieces(self, repository: str, digest: str) -> Iterator[bytes]:
        """The content of a blob, unchecked. NotFound if it does not exist."""
        url = f"{self.url}/v2/{check_repository(repository)}/blobs/{check_digest(digest)}"
        for _ in range(REDIRECTS_LIMIT + 1):
            with self._request("GET", url, elsewhere=not self._is_ours(url)) as response:
                if response.is_redirect:
                    url = self._redirect(response)
                    continue
                self._expect(response, 200)
                while piece := response.raw.read1(PIECE, decode_content=False):
                    yield piece
                return
        raise BadAnswer(f"more than {REDIRECTS_LIMIT} redirects for {digest}")

    # -- writing ---------------------------------------------------------------------------------
    def upload_blob(self, repository: str, data: bytes) -> str:
        """The digest of `data`, which the repository holds afterwards; sent only if it lacks it."""
        digest = sha256(data)
        base = f"{self.url}/v2/{check_repository(repository)}/blobs"
        if self.has_blob(repository, digest):
            return digest
        with self._request("POST", f"{base}/uploads/") as response:
            self._expect(response, 202)
            url = self._upload_url(response)
        with self._request("PUT", f"{url}digest={digest}", _BLOB, data=data) as response:
            self._expect(response, 201)
        return digest

    def mount(self, repository: str, digest: str, *, source: str) -> bool:
        """Whether the repository has that blob now, from the repository `source`; nothing is sent.
        A registry that cannot do so begins an upload, which is ended."""
        base = f"{self.url}/v2/{check_repository(repository)}/blobs/uploads/"
        query = f"mount={check_digest(digest)}&from={check_repository(source)}"
        with self._request("POST", f"{base}?{query}") as response:
            if response.status_code == 201:
                return True
            self._expect(response, 202)
            url = self._upload_url(response)
        self._cancel(url)
        return False

    def upload(
        self, repository: str, pieces: Iterable[bytes], *, digest: str = "", size: int = -1
    ) -> tuple[str, int]:
        """Streams a blob; its digest and size. The registry computes the digest, too, and refuses
        content of another one than `digest`: BadAnswer, and nothing is stored. `size`: bytes, if
        known. What `pieces` raises is raised, after the upload was ended."""
        base = f"{self.url}/v2/{check_repository(repository)}/blobs"
        check_digest(digest or sha256(b""))
        with self._request("POST", f"{base}/uploads/") as response:
            self._expect(response, 202)
            url = self._upload_url(response)
        body = _Body(pieces, size, is_hashed=not digest)
        try:
            if not digest:
                with self._request("PATCH", url, _BLOB, data=body) as response:
                    self._expect(response, 202)
                    url = self._upload_url(response)
            finished = f"{url}digest={digest or body.digest}"
            with self._request("PUT", finished, _BLOB, data=body if digest else None) as response:
                if response.status_code == 400:  # other content, or another size
                    raise _bad(response, f"content of another digest than {digest}")
                self._expect(response, 201)
        except BaseException:
            self._cancel(url)
            raise
        return digest or body.digest, body.sent

    def _cancel(self, url: str) -> None:
        """Ends an upload. What is left of one is removed by garbage collection."""
        with suppress(RegistryError), self._request("DELETE", url) as response:
            self._expect(response, 204)

    def prove_writes(self) -> None:
        """Begins an upload in the first repository, and ends it. RegistryError: the registry cannot
        write its store; not known of an empty one. 2.8 leaves some small files behind, which
        garbage collection removes, so use it rarely."""
        with self._request("GET", f"{self.url}/v2/_catalog?n=1") as response:
            self._expect(response, 200)
            names = _json(response, self._read(response, LIST_LIMIT)).get("repositories")
        if not isinstance(names, list) or not names:
            return
        base = f"{self.url}/v2/{check_repository(names[0])}/blobs"
        with self._request("POST", f"{base}/uploads/") as response:
            self._expect(response, 202)
            url = self._upload_url(response)
        with self._request("DELETE", url) as response:
            self._expect(response, 204)

    def put_manifest(
        self, repository: str, reference: str, raw: bytes, media_type: str, *, act: str = ""
    ) -> str:
        """Push `raw` under a tag, or its digest; returns the digest. Its blobs and children must
        exist.

        `act`: as of the client, for this request alone.
        """
        url = self._manifest_url(repository, reference)
        headers = {"Content-Type": media_type}
        if act:
            headers["User-Agent"] = _agent(act)
        with self._request("PUT", url, headers, data=raw) as response:
            self._expect(response, 201)
            return _checked(response, reference, raw, media_type)

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest with *every* tag on it; False if it does not exist.

        Code UNSUPPORTED: the registry is configured to delete nothing.
        """
        return self._delete(self._manifest_url(repository, check_digest(digest)))

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Untag: delete this tag alone. False: this registry cannot, such as 2.8, which deletes by
        digest only (see oci/throw_away.py). NotFound: there is no such tag."""
        if self._deletes_tags is False:
            return False
        try:
            if not self._delete(self._manifest_url(repository, check_tag(tag))):
                raise NotFound(f"{repository}:{tag} is not there", status=404)
        except RegistryError as error:
            if error.status != 400 or error.code != "DIGEST_INVALID":
                raise
            self._deletes_tags = False
            return False
        self._deletes_tags = True
        return True

    def delete_blob(self, repository: str, digest: str) -> bool:
        """Delete a blob from this repository, others keep it; False if it does not exist."""
        return self._delete(
            f"{self.url}/v2/{check_repository(repository)}/blobs/{check_digest(digest)}"
        )

    def _delete(self, url: str) -> bool:
        with self._request("DELETE", url) as response:
            try:
                self._expect(response, 202)
            except NotFound:
                return False
        return True

    # -- one request -----------------------------------------------------------------------------
    def _quick(
        self, method: str, url: str, headers: dict[str, str], *, limit: int
    ) -> Answer | None:
        """The complete answer, if it succeeded; None: use _request, which finds the reason."""
        return self._kept.ask(method, url, headers, limit=limit) if self._kept else None

    @contextmanager
    def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        *,
        data: bytes | _Body | None = None,
        elsewhere: bool = False,
    ) -> Iterator[requests.Response]:
        session = self._elsewhere if elsewhere else self._session
        try:
            with self._send(session, method, url, headers, data) as response:
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Unreachable(f"{method} {_shown(url)}: {_reason(error)}") from error

    def _send(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: dict[str, str] | None,
        data: bytes | _Body | None,
    ) -> requests.Response:
        # Like Session.request, without merging settings, which takes a fifth of the time of a small
        # request.
        request = requests.PreparedRequest()
        try:
            request.prepare(
                method=method,
                url=url,
                headers={**session.headers, **(headers or {})},
                data=data,
                auth=session.auth,
            )
            response = session.send(
                request,
                timeout=self._timeout,
                verify=session.verify,
                proxies={},
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException:
            raise
        except ValueError as error:  # requests parses a Location even if it is not to follow it
            raise BadAnswer(f"{method} {_shown(url)}: {quoted(str(error))}") from error
        if method == "HEAD" or response.headers.get("Content-Length") == "0":
            response.raw.drain_conn()  # closing an unread answer closes the connection, too
        return response

    def _read(self, response: requests.Response, limit: int) -> bytes:
        """The body as it was sent; TooLarge as soon as it passes `limit` bytes."""
        told = response.headers.get("Content-Length", "")
        if told.isascii() and told.isdigit() and len(told) < 20 and int(told) > limit:
            raise TooLarge(f"{_shown(response.url)}: {told} bytes, more than {limit}")
        # The time-out restarts with each byte: a slow server needs a limit as well.
        deadline = time.monotonic() + 10 * self._timeout[1]
        body = bytearray()
        while piece := response.raw.read1(65_536, decode_content=False):  # what is available
            body += piece
            if len(body) > limit:
                raise TooLarge(f"{_shown(response.url)}: more than {limit} bytes")
            if time.monotonic() > deadline:
                raise Unreachable(f"{_shown(response.url)}: the answer does not end")
        if told.isascii() and told.isdigit() and len(body) != int(told):
            raise Unreachable(f"{_shown(response.url)}: {len(body)} of {told} bytes came")
        return bytes(body)

    def _expect(self, response: requests.Response, status: int) -> None:
        """Raise what the registry answered instead of `status`."""
        if response.is_redirect:
            raise _bad(response, f"redirects to {_shown(response.headers['Location'])}")
        if response.status_code != status:
            raise _error(response, self._read(response, ERROR_LIMIT))

    def _is_absent(self, response: requests.Response) -> bool:
        """Whether the registry says that it does not exist; other errors are raised."""
        try:
            self._expect(response, 200)
        except NotFound:
            return True
        return False

    def _names(self, url: str, key: str, check: Any) -> Iterator[str]:
        """The valid names under `key` of all pages, from `url` on."""
        seen = set()
        while url:
            seen.add(url)
            with self._request("GET", url) as response:
                self._expect(response, 200)
                found = _json(response, self._read(response, LIST_LIMIT)).get(key)
                if not isinstance(found, list | None):
                    raise _bad(response, f"{key} is no list")
                url = self._next(response)
                if url in seen or len(seen) >= PAGES_LIMIT:
                    raise _bad(response, "pages without end")
            for name in found or ():  # null and [] both mean: none
                try:
                    yield check(name)
                except ValueError as error:
                    logger.warning("left out of %s: %s", key, error)

    def _next(self, response: requests.Response) -> str:
        """The next page, "" if this is the last. Links to anything but a page of the same list are
        an error, because half a list looks like deleted repositories."""
        links = parse_header_links(response.headers.get("Link", ""))
        targets = [link.get("url", "") for link in links if link.get("rel") == "next"]
        if not targets:
            return ""
        url = _joined(response, targets[0])
        if not self._is_ours(url) or urlsplit(url).path != urlsplit(response.url).path:
            raise _bad(response, f"its next page is elsewhere: {_shown(url)}")
        return url

    def _redirect(self, response: requests.Response) -> str:
        url = _joined(response, response.headers["Location"])
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (scheme == "http" and self.url.startswith("http:")):
            raise _bad(response, f"redirects to {_shown(url)}")
        return url

    def _upload_url(self, response: requests.Response) -> str:
        """Where to send the content, ready for one more parameter."""
        location = response.headers.get("Location", "")
        url = _joined(response, location)
        if not location or not self._is_ours(url):
            raise _bad(response, f"wants the content sent to {_shown(url)}")
        return f"{url}{'&' if urlsplit(url).query else '?'}"

    def _is_ours(self, url: str) -> bool:
        """Whether `url` is below our registry: same scheme, host, port and path prefix."""
        ours, theirs = urlsplit(f"{self.url}/v2/"), urlsplit(url)
        is_below = theirs.path.startswith(ours.path) and "/../" not in theirs.path
        return _origin(ours) == _origin(theirs) and is_below

    def _manifest_url(self, repository: str, reference: str) -> str:
        if not is_digest(reference):
            check_tag(reference)
        return f"{self.url}/v2/{check_repository(repository)}/manifests/{reference}"


_ACCEPT = {"Accept": media_types.ACCEPT}
_BLOB = {"Content-Type": "application/octet-stream"}


class _Body:
    """The content of a request that is streamed. With a size it is no chunked one."""

    def __init__(self, pieces: Iterable[bytes], size: int, *, is_hashed: bool) -> None:
        self._pieces = pieces
        self._size = size
        self._hash = hashlib.sha256() if is_hashed else None
        self.sent = 0  # bytes so far

    def __len__(self) -> int:
        return max(self._size, 0)  # 0: unknown, for requests

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if self._hash:
                self._hash.update(piece)
            self.sent += len(piece)
            yield piece
        if 0 <= self._size != self.sent:
            raise Unreachable(f"{self.sent} of {self._size} bytes came")

    @property
    def digest(self) -> str:
        """Of what was sent, if it is computed here."""
        return f"sha256:{self._hash.hexdigest()}" if self._hash else ""


class _FromAddress(HTTPAdapter):
    """Connects from that address of this machine."""

    def __init__(self, address: str, **options: Any) -> None:
        self._address = address
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


def _agent(act: str) -> str:
    return f"{USER_AGENT} act/{act}"


def _session(*, pool: int, ca: Path | None, socket: str = "", source: str = "") -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxies, no ~/.netrc: only our settings count
    session.verify = str(ca) if ca else True
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = USER_AGENT
    session.headers["Accept-Encoding"] = "identity"  # digests and limits are of the bytes as sent
    retry = Retry(
        total=3,
        read=1,  # a keep-alive connection that the registry has just closed
        allowed_methods=("GET", "HEAD"),
        status_forcelist=(502, 503, 504),
        backoff_factor=0.2,  # seconds: 0, 0.4, 0.8
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    adapter = HTTPAdapter(max_retries=retry, pool_connections=4, pool_maxsize=pool)
    plain: HTTPAdapter = adapter
    if socket:
        plain = SocketAdapter(socket, max_retries=retry, pool_maxsize=pool)
    elif source:
        plain = _FromAddress(source, max_retries=retry, pool_maxsize=pool)
    session.mount("http://", plain)
    session.mount("https://", adapter)
    return session


def _answered_digest(response: requests.Response | Answer, reference: str) -> str:
    """The digest that an answer names, "" if it names none; BadAnswer if another was asked for."""
    digest = response.headers.get("Docker-Content-Digest", "")
    if not is_digest(digest):
        return ""
    if response.status_code == 200 and is_digest(reference) and digest != reference:
        raise _bad(response, f"asked for {reference}, answers with {digest}")
    return digest


def _manifest_type(response: requests.Response | Answer) -> str:
    media_type = media_types.bare(response.headers.get("Content-Type", ""))
    if not media_types.is_manifest(media_type) and not media_type.endswith("json"):
        raise _bad(response, f"a manifest of type {quoted(media_type)}")
    return media_type


def _matching(response: requests.Response | Answer, digest: str, data: bytes) -> bytes:
    if not matches(digest, data):
        raise _bad(response, f"content of another digest than {digest}")
    return data


def _checked(
    response: requests.Response | Answer, reference: str, raw: bytes, media_type: str
) -> str:
    """The digest of `raw`, if it is what was asked for and what the registry says it is."""
    told = response.headers.get("Docker-Content-Digest", "")
    wanted = [digest for digest in (reference, told) if is_digest(digest)]
    try:
        content = signed_bytes(raw, media_type)
        if all(matches(digest, content) for digest in wanted):
            return wanted[0] if wanted else digest_of(raw, media_type)
    except ValueError as error:
        raise _bad(response, str(error)) from error
    raise _bad(response, f"content of another digest than {wanted[-1]}")


def _json(response: requests.Response, body: bytes) -> dict[str, Any]:
    try:
        return read_object(body, limit=LIST_LIMIT)
    except ValueError as error:
        raise _bad(response, str(error)) from error


def _error(response: requests.Response, body: bytes) -> RegistryError:
    """The error that the answer is, with the registry's own code and message if it has them."""
    status = response.status_code
    code, message, detail = _registry_error(body)
    is_unreadable = status == 500 and detail.startswith(_UNREADABLE)
    message = detail if is_unreadable else message
    line = f"{response.request.method} {_shown(response.url)}: {status} {code} {message}".strip()
    if status == 404 and code in _ABSENT:
        return NotFound(line, code=code, status=status)
    if status < 400 or (status == 404 and not code) or is_unreadable:
        return BadAnswer(line, code=code, status=status)
    return RegistryError(line, code=code, status=status, temporary=status == 429 or status >= 500)


def _registry_error(body: bytes) -> tuple[str, str, str]:
    """Code, message and detail of the first error in `body`; "" where it is no registry's."""
    try:
        errors = read_object(body).get("errors")
    except ValueError:
        return "", "", ""
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", "", ""
    message, detail = (quoted(text(first.get(name)))[1:-1] for name in ("message", "detail"))
    return text(first.get("code"), limit=64), message, detail


def _bad(response: requests.Response | Answer, reason: str) -> BadAnswer:
    return BadAnswer(f"{_shown(response.url)}: {reason}", status=response.status_code)


def _joined(response: requests.Response, target: str) -> str:
    """`target`, which may be relative, as a full URL; BadAnswer if it is none."""
    try:
        url = urljoin(response.url, target)
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:  # reading a bad port raises, too
            return url
    except ValueError:
        pass
    raise _bad(response, f"points to {quoted(target)}")


def _reason(error: Exception) -> str:
    """The innermost cause, in one line: requests wraps urllib3, which wraps the socket's error."""
    while (inner := error.__cause__ or error.__context__) and isinstance(inner, Exception):
        error = inner
    return f"{type(error).__name__}: {text(str(error), limit=200)}"


def _shown(url: str) -> str:
    """`url` for a log: without a password, and without a query, which may hold a signature."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}{_port(parts.port)}{parts.path}"[:400]
    except ValueError:
        return quoted(url)


def _port(port: int | None) -> str:
    return f":{port}" if port else ""


def _origin(parts: Any) -> tuple[str, str | None, int | None]:
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default
