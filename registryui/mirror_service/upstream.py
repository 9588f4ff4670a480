"""The registry that is mirrored, over HTTP: anonymously, by Basic or by a token.

    ask ── 401 ──► challenge ─┬ Bearer: a token from its realm, kept until it expires
        │                     └ Basic
        └─ 301 … 308 ──► followed, without Authorization to another host, never from https to http,
                         nor to services of this machine

Health says whether it is away: then nobody waits for it until a probe in the background succeeds.
A 429 only stops manifests, which is what Docker Hub counts.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import NoReturn
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from registryui.oci.untrusted import quoted

from .failures import Away, Denied, Failure, Limited, Unknown, Wrong
from .mirrors import Mirror
from .state import StateFile, now

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # between two pieces of a blob
ANSWER_SECONDS = 10.0  # for a manifest, a token, a probe
MOST_ERRORS = 3  # 5xx in a row, after which an upstream is away
FIRST_PROBE_SECONDS = 2.0  # after which an upstream that is away is probed
PROBE_SECONDS = 10.0  # between two probes of an upstream that is away
IDLE_SECONDS = 20.0  # for so long a connection is used again
LIMITED_SECONDS = 60  # after a 429 that says nothing
MOST_REDIRECTS = 5
MOST_IDLE = 8  # connections
TOKEN_LIMIT = 1_000_000  # bytes of an answer with a token
USER_AGENT = "boathouse-mirror"


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> _Origin:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no address of a web server: {quoted(url)}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port)


class Answer:
    """An answer of which only the head was read; to be closed, at best after its end."""

    def __init__(
        self,
        response: HTTPResponse,
        connection: HTTPConnection,
        origin: _Origin,
        keep: Callable[[_Origin, HTTPConnection], None],
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.origin = origin
        self._response = response
        self._connection = connection
        self._keep = keep

    @property
    def size(self) -> int | None:
        """Bytes of the content; None: not said."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() else None

    def pieces(self, size: int = 256 * 1024) -> Iterator[bytes]:
        """The content; OSError or HTTPException if it is cut off."""
        while piece := self._response.read1(size):
            yield piece
        if self._response.length:
            raise http.client.IncompleteRead(b"", self._response.length)

    def read(self, limit: int) -> bytes:
        """The whole content; ValueError if it is longer than `limit` bytes."""
        content = bytearray()
        for piece in self.pieces():
            content += piece
            if len(content) > limit:
                raise ValueError(f"longer than {limit} bytes")
        return bytes(content)

    def close(self) -> None:
        """Keeps the connection if the answer was read to its end."""
        if self._response.length == 0:
            self._response.read()  # notices that this is the end
        if self._response.isclosed() and not self._response.will_close:
            self._keep(self.origin, self._connection)
        else:
            self._response.close()
            self._connection.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Health:
    """Whether an upstream is away, or limits us."""

    def __init__(self, mirror: Mirror, state: StateFile, probe: Callable[[], bool]) -> None:
        self._mirror = mirror
        self._state = state
        self._probe = probe
        self._lock = threading.Lock()
        self._away = ""
        self._errors = 0  # answers in a row that were a 5xx
        self._limited_until = 0.0
        self.is_over = threading.Event()  # its mirror was changed or removed

    def obstacle(self, *, is_manifest: bool) -> Failure | None:
        """Why the upstream is not to be asked now; None if it may be."""
        if self._away:
            return Away(f"{self._mirror.url} is unavailable ({self._away})")
        left = self._limited_until - time.monotonic()
        if is_manifest and left > 0:
            return self._limited(int(left) + 1)
        return None

    def answered(self, *, is_fine: bool = True) -> None:
        """The upstream answered."""
        with self._lock:
            was_away, self._away, self._errors = self._away, "", 0
        if self.is_over.is_set():  # the state is that of a new address
            return
        # Also if it was away before its mirror was changed, which another Health has noted.
        self._state.note(contact=now(), away_since=None, **({"error": ""} if is_fine else {}))
        if was_away:
            log.warning("mirror %s: %s answers again", self._mirror.name, self._mirror.url)

    def failed(self, words: str) -> Away:
        """The upstream is away; returns what clients are told."""
        with self._lock:
            is_new, self._away = not self._away, words
        if self.is_over.is_set():
            return Away(f"{self._mirror.url} is unavailable ({words})")
        self._state.note(error=words)
        if is_new:
            log.warning(
                "mirror %s: %s is unavailable: %s", self._mirror.name, self._mirror.url, words
            )
            self._state.note(away_since=now())
            threading.Thread(target=self._probe_always, name="probe", daemon=True).start()
        return Away(f"{self._mirror.url} is unavailable ({words})")

    def erred(self, words: str) -> Away:
        """The upstream answered with an error of its own. One may be that of a single path."""
        with self._lock:
            self._errors += 1
            is_away = self._errors >= MOST_ERRORS
        if is_away:
            return self.failed(words)
        self._state.note(error=words)
        return Away(f"{self._mirror.url} has an error ({words})")

    def limited(self, seconds: int) -> Limited:
        """The upstream answered 429."""
        self._limited_until = time.monotonic() + seconds
        self._state.note(error=f"limits our requests for {seconds} s")
        return self._limited(seconds)

    def _limited(self, seconds: int) -> Limited:
        return Limited(f"{self._mirror.url} limits requests; try again in {seconds} s", seconds)

    def _probe_always(self) -> None:
        pause = FIRST_PROBE_SECONDS
        while self._away and not self.is_over.wait(pause):
            began = time.monotonic()
            if self._probe():
                self.answered()
                return
            pause = max(1.0, PROBE_SECONDS - (time.monotonic() - began))


class Upstream:
    """One mirror's upstream. Safe for several threads."""

    def __init__(self, mirror: Mirror, state: StateFile, *, idle: int = MOST_IDLE) -> None:
        """`idle`: connections that are kept for the next requests."""
        self.mirror = mirror
        self.state = state
        self.health = Health(mirror, state, self._is_there)
        self._most_idle = idle
        self._origin = _Origin.of(mirror.url)
        self._idle: deque[tuple[_Origin, HTTPConnection, float]] = deque()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._token_lock = threading.Lock()
        self._wants_basic = False
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Ends probes and idle connections."""
        self.health.is_over.set()
        while self._idle:
            self._idle.pop()[1].close()

    def manifest(self, method: str, name: str, reference: str, accept: str) -> Answer:
        """200 for HEAD or GET of a manifest; raises Failure."""
        if obstacle := self.health.obstacle(is_manifest=True):
            raise obstacle
        path = f"/v2/{name}/manifests/{reference}"
        answer = self._ask(method, path, name, {"Accept": accept}, ANSWER_SECONDS)
        return self._checked(answer, "MANIFEST_UNKNOWN", name, reference)

    def blob(self, method: str, name: str, digest: str, *, start: int = 0) -> Answer:
        """200 for HEAD or GET of a blob, or 206 from that byte on; raises Failure."""
        if obstacle := self.health.obstacle(is_manifest=False):
            raise obstacle
        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = self._ask(method, f"/v2/{name}/blobs/{digest}", name, headers, READ_SECONDS)
        return self._checked(answer, "BLOB_UNKNOWN", name, digest)

    def ask(self, path: str, name: str = "", *, method: str = "GET") -> Answer:
        """The answer for that path, which may have a query, whatever its status. `name`: of the
        repository that a token is to be for; "": of none. Raises Failure."""
        return self._ask(method, path, name, {"Accept": "*/*"}, ANSWER_SECONDS)

    def _checked(self, answer: Answer, code: str, name: str, reference: str) -> Answer:
        self._note_limit(answer)
        status = answer.status
        if status in (200, 206):
            self.health.answered()
            return answer
        retry_after = answer.headers.get("Retry-After", "")
        answer.close()
        url = self.mirror.url
        if status == 404:
            self.health.answered()
            what = f"{name}@{reference}" if ":" in reference else f"{name}:{reference}"
            raise Unknown(code, f"{url} does not have {what}")
        if status in (401, 403):
            words = f"{url} refuses {name}: it does not exist there, or the mirror may not pull it"
            self.state.note(error=words)
            self.health.answered(is_fine=False)
            raise Denied(words)
        if status == 429:
            self.health.answered(is_fine=False)
            seconds = int(retry_after) if re.fullmatch("[0-9]{1,9}", retry_after) else 0
            raise self.health.limited(min(max(1, seconds or LIMITED_SECONDS), 3600))
        if status >= 500:
            raise self.health.erred(f"it answers {status}")
        raise Wrong(f"{url} answers {status} to a request for {name}")

    def _note_limit(self, answer: Answer) -> None:
        """Docker Hub's headers: `ratelimit-limit: 100;w=21600`."""
        found = {}
        for name in ("limit", "remaining"):
            text = answer.headers.get(f"ratelimit-{name}", "")
            if match := re.fullmatch(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?", text):
                found[name] = int(match[1])
                found["window"] = int(match[2] or found.get("window", 0))
        if "limit" in found and "remaining" in found:
            self.state.note(limit=found)

    def _is_there(self) -> bool:
        """Whether it answers like a registry that works."""
        try:
            with self._follow("GET", f"{self.mirror.url}/v2/", {}, "", ANSWER_SECONDS) as answer:
                return answer.status < 500 and answer.status != 429
        except Failure:
            return False

    # -- requests ----------------------------------------------------------------------------------
    def _ask(
        self, method: str, path: str, name: str, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        url = self.mirror.url + quote(path, safe="/:@+?=&%")
        scope = f"repository:{name}:pull" if name else ""
        sent = self._authorization(scope)
        answer = self._follow(method, url, headers, sent, timeout)
        if answer.status != 401 or answer.origin != self._origin:
            return answer
        challenge = answer.headers.get("WWW-Authenticate", "")
        authorization = self._answer_challenge(challenge, scope, sent)
        if not authorization:
            return answer
        with suppress(OSError, HTTPException, ValueError):
            answer.read(TOKEN_LIMIT)
        answer.close()
        return self._follow(method, url, headers, authorization, timeout)

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str,
        timeout: float,
    ) -> Answer:
        """The last answer of a chain of redirects; raises Away."""
        for _number in range(MOST_REDIRECTS + 1):
            try:
                origin = _Origin.of(url)
                is_own = origin == self._origin
                sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
                if authorization and is_own:
                    sent["Authorization"] = authorization
                answer = self._request(method, url, origin, sent, timeout)
            except (OSError, HTTPException, ValueError) as error:
                raise self.health.failed(_words(error)) from error
            place = answer.headers.get("Location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not place:
                return answer
            with suppress(OSError, HTTPException, ValueError):
                answer.read(TOKEN_LIMIT)
            answer.close()
            following = urljoin(url, place)
            if origin.scheme == "https" and urlsplit(following).scheme != "https":
                raise Wrong(f"{self.mirror.url} redirects from https to another protocol")
            url = following
        raise Wrong(f"{self.mirror.url} redirects too often")

    def _request(
        self, method: str, url: str, origin: _Origin, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        self.state.count(upstream_requests=1)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if origin.scheme == "http" and self.mirror.proxy:
            target = url.partition("#")[0]
            headers = {**headers, **_proxy_login(self.mirror.proxy)}
        while (kept := self._take(origin)) is not None:
            try:
                return self._sent(kept, method, target, origin, headers, timeout)
            except TimeoutError:
                kept.close()
                raise
            except (OSError, HTTPException):  # it was closed meanwhile: another one
                kept.close()
        connection = self._connected(origin)
        try:
            return self._sent(connection, method, target, origin, headers, timeout)
        except BaseException:
            connection.close()
            raise

    def _sent(
        self,
        connection: HTTPConnection,
        method: str,
        target: str,
        origin: _Origin,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Answer:
        if connection.sock:
            connection.sock.settimeout(timeout)
        connection.request(method, target, headers=dict(headers))
        return Answer(connection.getresponse(), connection, origin, self._put)

    def _connected(self, origin: _Origin) -> HTTPConnection:
        """A new connection, through the proxy if there is one."""
        proxy = urlsplit(self.mirror.proxy) if self.mirror.proxy else None
        host, port = origin.host, origin.port
        if proxy:
            host, port = proxy.hostname or "", proxy.port or 3128
        connection: HTTPConnection
        if origin.scheme == "https":
            context = self._tls()
            connection = http.client.HTTPSConnection(
                host, port, timeout=CONNECT_SECONDS, context=context
            )
            if proxy:
                login = _proxy_login(self.mirror.proxy)
                connection.set_tunnel(origin.host, origin.port, headers=login)
        else:
            connection = HTTPConnection(host, port, timeout=CONNECT_SECONDS)
        connection.connect()
        if not proxy and origin.host != self._origin.host and _is_local(connection.sock):
            self._check_may_be_local(connection)
        return connection

    def _check_may_be_local(self, connection: HTTPConnection) -> None:
        """Another host, which the upstream names: on this machine only if the upstream is, too."""
        own = (self._origin.host, self._origin.port)
        with suppress(OSError), socket.create_connection(own, CONNECT_SECONDS) as upstream:
            if _is_local(upstream):
                return
        connection.close()
        raise Wrong(f"{self.mirror.url} refers to a service of the machine that asks")

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            context = ssl.create_default_context()
            if self.mirror.ca:
                context.load_verify_locations(cadata=self.mirror.ca)
            self._context = context
        return self._context

    def _take(self, origin: _Origin) -> HTTPConnection | None:
        for _number in range(len(self._idle)):
            try:
                one = self._idle.popleft()
            except IndexError:
                return None
            if time.monotonic() - one[2] > IDLE_SECONDS:
                one[1].close()
            elif one[0] == origin:
                return one[1]
            else:
                self._idle.append(one)
        return None

    def _put(self, origin: _Origin, connection: HTTPConnection) -> None:
        if len(self._idle) < self._most_idle and not self.health.is_over.is_set():
            self._idle.append((origin, connection, time.monotonic()))
        else:
            connection.close()

    # -- logins -----------------------------------------------------------------------------------
    def _authorization(self, scope: str) -> str:
        """What is known to be wanted; ""."""
        if self._wants_basic:
            return _basic(self.mirror.user, self.mirror.password)
        token, until = self._tokens.get(scope, ("", 0.0))
        return f"Bearer {token}" if token and time.monotonic() < until else ""

    def _answer_challenge(self, challenge: str, scope: str, sent: str) -> str:
        """The Authorization that it asks for instead of the one that was sent; "" if we have none.
        Raises Failure."""
        scheme, _space, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            self._wants_basic = bool(self.mirror.user)
            return self._authorization(scope)
        if scheme.lower() != "bearer":
            return ""
        told = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        with self._token_lock:
            if obstacle := self.health.obstacle(is_manifest=False):  # while we waited
                raise obstacle
            known = self._authorization(scope)
            if known and known != sent:  # another thread was first
                return known
            self._tokens.pop(scope, None)
            wanted = scope or told.get("scope", "")  # of the catalogue, whose name is no repository
            return self._token(told.get("realm", ""), told.get("service", ""), wanted, key=scope)

    def _token(self, realm: str, service: str, scope: str, *, key: str) -> str:
        asked = {"service": service, "scope": scope}
        query = urlencode({key: value for key, value in asked.items() if value})
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        if self._origin.scheme == "https" and not url.startswith("https://"):
            self._refuse_token("asks for a login without https")
        login = {}
        if self.mirror.user:
            login["Authorization"] = _basic(self.mirror.user, self.mirror.password)
        try:
            with self._request(
                "GET",
                url,
                _Origin.of(url),
                {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **login},
                ANSWER_SECONDS,
            ) as answer:
                content = answer.read(TOKEN_LIMIT)
        except (OSError, HTTPException, ValueError) as error:
            raise self.health.failed(f"its login: {_words(error)}") from error
        if answer.status == 429 or answer.status >= 500:
            raise self.health.erred(f"its login answers {answer.status}")
        if answer.status != 200:
            self._refuse_token("does not accept the mirror's user and password")
        try:
            found = json.loads(content)
            token = str(found.get("token") or found["access_token"])
            seconds = float(found.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._refuse_token("has a login that gives no token")
        if not token.isascii() or not token.isprintable():
            self._refuse_token("has a login that gives no token")
        if len(self._tokens) > 1000:
            self._tokens.clear()
        self._tokens[key] = (token, time.monotonic() + min(max(seconds, 60), 3600) * 0.8)
        return f"Bearer {token}"

    def _refuse_token(self, words: str) -> NoReturn:
        self.state.note(error=words)
        raise Denied(f"{self.mirror.url} {words}")


def _is_local(connected: socket.socket) -> bool:
    """Whether the other end is this machine, or a service for it alone."""
    return is_local(connected.getpeername()[0])


def is_local(text: str) -> bool:
    """Whether that address is this machine's own, or of a service for it alone, as clouds have
    them. ValueError for what is no address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_link_local


_PARAMETER = re.compile(r'([A-Za-z_]+)="([^"]*)"')


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _proxy_login(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = unquote(parts.username), unquote(parts.password or "")
    return {"Proxy-Authorization": _basic(*pair)}


def _words(error: Exception) -> str:
    """A few words for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return quoted(text)[1:-1][:200]
