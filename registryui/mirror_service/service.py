"""The HTTP server that nginx asks (deploy/nginx.conf.template), on a Unix socket.

Requests of manifests and blobs of a mirror come here: nginx has checked the user, the rights and
the path. It says who the user is, for the registry's events; their secret stays there.
"""

from __future__ import annotations

import http.server
import logging
import os
import re
import socketserver
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from registryui.oci.digest import is_digest
from registryui.oci.names import REPOSITORY, REPOSITORY_LIMIT, TAG

from .configuration import Configuration
from .content import Content
from .downloads import Download, Downloads, NotStored, passed_through
from .failures import Denied, Failure, Unknown
from .filling import Filling
from .manifests import ACCEPT, Found, Manifests
from .mirrors import Mirror, Mirrors
from .state import States
from .upstream import Upstream

log = logging.getLogger(__name__)

_TARGET = re.compile(
    rf"/v2/(?P<repository>(?P<mirror>[^/]+)/(?P<rest>{REPOSITORY}))"
    r"/(?P<kind>manifests|blobs)/(?P<reference>[^/?]+)"
)
_TAG = re.compile(TAG)
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_OF_CLIENT = ("User-Agent", "X-Real-IP", "X-Forwarded-For", "X-Request-ID")  # for events
_OF_REGISTRY = ("Content-Type", "Docker-Content-Digest", "Etag", "Content-Range")
PIECE = 256 * 1024  # bytes


class Service:
    """All that a request needs."""

    def __init__(self, configuration: Configuration) -> None:
        self.content = Content(configuration)
        self.manifests = Manifests(self.content)
        self.downloads = Downloads(self.content)
        self.filling = Filling(self.content, self.downloads)
        self.states = States(Path(configuration.mirrors))
        self._mirrors = Mirrors(Path(configuration.mirrors), Path(configuration.key))
        self._upstreams: dict[str, Upstream] = {}
        self._lock = threading.Lock()

    def upstream(self, name: str) -> Upstream | None:
        """That of the mirror, as its file is now; None: there is no enabled one."""
        mirror = self._mirrors.get(name)
        with self._lock:
            known = self._upstreams.get(name)
            if known and known.mirror is mirror:
                return known
            if known:
                known.close()
                del self._upstreams[name]
            if mirror is None:
                return None
            made = self._upstreams[name] = Upstream(mirror, self.states.of(name))
            return made


_in_progress: list[Any] = []


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread for each request."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, socket: Path, service: Service) -> None:
        new = socket.with_name(f"{socket.name}.new")
        new.unlink(missing_ok=True)  # of a process that was killed
        super().__init__(str(new), Handler)
        new.rename(socket)  # in place of another process that ends what it has begun
        self.service = service

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Counts the requests that are being answered."""
        _in_progress.append(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            _in_progress.remove(request)

    @staticmethod
    def in_progress() -> int:
        """Requests that are being answered now."""
        return len(_in_progress)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: nginx has closed the connection."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server
    _has_begun = False

    def do_GET(self) -> None:
        """Answers; an error too, unless a part was already sent: then the connection breaks."""
        self.close_connection = True
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Failure as failure:
            if not self._has_begun:
                self._fail(failure)
        except Exception:
            log.exception("%s failed", self.path[:300])
            if not self._has_begun:
                self._fail(Failure(500, "UNKNOWN", "the mirror failed; its log says why"))

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        """Nothing can be changed. nginx says so itself, but for secrets that were replaced."""
        self.close_connection = True
        left = int(self.headers.get("Content-Length") or 0)
        with suppress(OSError):  # a connection that is closed before could lose the answer
            while left > 0 and (piece := self.rfile.read(min(left, PIECE))):
                left -= len(piece)
        name = self.path.removeprefix("/v2/").partition("/")[0]
        upstream = self.server.service.upstream(name)
        of = f" of {upstream.mirror.url}" if upstream else ""
        words = f"{name} is a mirror{of}: nothing can be pushed or deleted here"
        self._fail(Failure(405, "UNSUPPORTED", words))

    do_POST = do_PATCH = do_DELETE = do_PUT

    def _answer(self) -> None:
        if self.path == "/healthz":
            self._send(200, {"Content-Type": "text/plain"}, b"ok")
            return
        found = _TARGET.fullmatch(self.path)
        upstream = self.server.service.upstream(found["mirror"]) if found else None
        if found is None or upstream is None or len(found["repository"]) > REPOSITORY_LIMIT:
            raise Unknown("NAME_UNKNOWN", "there is no such repository")
        repository, rest, reference = found["repository"], found["rest"], found["reference"]
        _check_allowed(upstream.mirror, rest)
        name = upstream.mirror.upstream_name(rest)
        if found["kind"] == "manifests":
            if not is_digest(reference) and not _TAG.fullmatch(reference):
                raise Unknown("MANIFEST_UNKNOWN", "neither a tag nor a digest")
            self._manifest(upstream, repository, name, reference)
        elif is_digest(reference):
            self._blob(upstream, repository, name, reference)
        else:
            raise Unknown("BLOB_UNKNOWN", "not a digest")

    # -- manifests ---------------------------------------------------------------------------------
    def _manifest(self, upstream: Upstream, repository: str, name: str, reference: str) -> None:
        manifests = self.server.service.manifests
        found = manifests.find(upstream, repository, name, reference)
        if found.raw and self.command == "HEAD":
            self._tell_of_pull()
        if self._from_registry(found, repository, reference):
            return
        if not found.raw:  # it was deleted in this moment
            found = manifests.find(upstream, repository, name, reference, is_here=False)
            if self._from_registry(found, repository, reference):
                return
        headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        self._send(200, {**headers, **_freshness(found)}, found.raw)

    def _from_registry(self, found: Found, repository: str, reference: str) -> bool:
        """Sends the registry's answer; False if it does not have the manifest. Another 404 is the
        answer to a client that does not accept the manifest's type."""
        content = self.server.service.content
        accept = ", ".join(self.headers.get_all("Accept", []))
        response, connection = content.ask(
            self.command,
            self.path,
            {**self._client(), **({"Accept": accept} if accept else {})},
            user=self.headers.get("X-Boathouse-User", ""),
        )
        with closing(connection):
            try:
                body = response.read()
            except (OSError, HTTPException) as error:
                raise Failure(503, "UNAVAILABLE", "the registry broke off") from error
        if response.status != 200:
            digest = reference if is_digest(reference) else content.tag(repository, reference)
            if not digest or not content.has_manifest(repository, digest):
                return False
        headers = _headers_of(response)
        if self.command == "HEAD":
            headers["Content-Length"] = response.headers.get("Content-Length", "0")
        self._send(response.status, {**headers, **_freshness(found)}, body)
        return True

    def _tell_of_pull(self) -> None:
        """Lets the registry notify the index of content that is new here: a GET, whatever the
        client asked."""
        accept = {"Accept": ACCEPT}
        response, connection = self.server.service.content.ask("GET", self.path, accept)
        with closing(connection), suppress(OSError, HTTPException):
            response.read()

    def _client(self) -> dict[str, str]:
        """What the registry's event says of the client."""
        return {name: self.headers[name] for name in _OF_CLIENT if name in self.headers}

    # -- blobs -------------------------------------------------------------------------------------
    def _blob(self, upstream: Upstream, repository: str, name: str, digest: str) -> None:
        service = self.server.service
        if self.command == "HEAD":
            if service.content.has_blob(repository, digest):
                self._blob_from_registry(upstream, name, digest)
            else:
                self._head_of_blob(upstream, name, digest)
            return
        download = service.downloads.join(
            upstream,
            repository,
            name,
            digest,
            after=lambda: service.filling.add(upstream, repository, name, digest),
        )
        try:
            size = download.wait_for_head()
            handle = download.open()
        except NotStored:
            if service.content.has_blob(repository, digest):
                self._blob_from_registry(upstream, name, digest)
            else:
                self._pass_through(upstream, name, digest)
            return
        try:
            self._follow(download, handle, size)
        finally:
            os.close(handle)

    def _head_of_blob(self, upstream: Upstream, name: str, digest: str) -> None:
        with upstream.blob("HEAD", name, digest) as answer:
            size = answer.size
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        if size is not None:
            headers["Content-Length"] = str(size)
        self._send(200, headers, b"")

    def _follow(self, download: Download, handle: int, size: int) -> None:
        """Sends what was asked for, while it arrives."""
        start, end = self._begin_blob(download.digest, size)
        position = start
        try:
            while position < end:
                count = min(download.available(position), end - position)
                if not count:
                    raise ConnectionResetError  # less than the upstream had said
                while count:
                    sent = os.sendfile(self.connection.fileno(), handle, position, count)
                    position, count = position + sent, count - sent
        except NotStored:
            before = _read(handle, position)
            upstream = download.upstream
            _size, rest = passed_through(
                upstream, download.name, download.digest, start=position, before=before
            )
            self._send_pieces(rest, end - position)

    def _pass_through(self, upstream: Upstream, name: str, digest: str) -> None:
        """From the upstream, without a copy here."""
        start = self._wanted(None)[0]
        size, pieces = passed_through(upstream, name, digest, start=start)
        if size is None:
            self._begin(200, {"Content-Type": "application/octet-stream"}, None)
            self._send_chunked(passed_through(upstream, name, digest)[1] if start else pieces)
            return
        start, end = self._begin_blob(digest, size)
        self._send_pieces(pieces, end - start)

    def _begin_blob(self, digest: str, size: int) -> tuple[int, int]:
        """Sends the head; the first byte, and the one after the last."""
        start, end = self._wanted(size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
        }
        if (start, end) != (0, size):
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._begin(206 if "Content-Range" in headers else 200, headers, end - start)
        return start, end

    def _wanted(self, size: int | None) -> tuple[int, int]:
        """The range that the client asks for: one that begins within the content, else all."""
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        last = int(asked[2]) if asked and asked[2] else None
        if size is None:
            return start, 0
        if start >= size or (last is not None and last < start):
            if asked and size:
                raise Failure(416, "RANGE_INVALID", f"the blob has {size} bytes")
            return 0, size
        return start, size if last is None else min(last + 1, size)

    def _blob_from_registry(self, upstream: Upstream, name: str, digest: str) -> None:
        headers = self._client()
        if "Range" in self.headers:
            headers["Range"] = self.headers["Range"]
        response, connection = self.server.service.content.ask(self.command, self.path, headers)
        with closing(connection):
            if response.status == 404 and self.command == "GET":  # it was deleted in this moment
                self._pass_through(upstream, name, digest)
                return
            length = int(response.headers.get("Content-Length", "0"))
            self._begin(response.status, _headers_of(response), length)
            with suppress(HTTPException):
                while piece := response.read1(PIECE):
                    self.wfile.write(piece)

    # -- sending -----------------------------------------------------------------------------------
    def _send_pieces(self, pieces: Iterable[bytes], most: int) -> None:
        for piece in pieces:
            self.wfile.write(piece[:most])
            most -= len(piece[:most])
            if not most:  # the rest is of no use to this client
                return
        raise ConnectionResetError  # less than was said

    def _send_chunked(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _fail(self, failure: Failure) -> None:
        headers = {"Content-Type": "application/json"}
        if failure.retry_after:
            headers["Retry-After"] = str(failure.retry_after)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(failure.status, headers, failure.body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        length = int(headers.pop("Content-Length", len(body)))
        self._begin(status, headers, length)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str], length: int | None) -> None:
        self._has_begun = True
        self.send_response_only(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: nginx has an access log."""


def _check_allowed(mirror: Mirror, rest: str) -> None:
    if not mirror.allows(rest):
        raise Denied(f"the mirror {mirror.name} does not allow {rest}")


def _freshness(found: Found) -> dict[str, str]:
    headers = {}
    if found.age is not None:
        headers["Age"] = str(found.age)
    if found.warning:
        headers["Warning"] = found.warning
    return headers


def _headers_of(response: HTTPResponse) -> dict[str, str]:
    return {name: response.headers[name] for name in _OF_REGISTRY if name in response.headers}


def _read(handle: int, end: int) -> Iterator[bytes]:
    position = 0
    while position < end and (piece := os.pread(handle, min(PIECE, end - position), position)):
        yield piece
        position += len(piece)
