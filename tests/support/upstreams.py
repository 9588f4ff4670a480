"""Upstreams for mirrors: real registries on loopback, each behind a front that counts and may fail.

    a mirror ──► front: counts, fails on command, TLS ──► docker-registry with a login ─┐
    a test ─────────────────────────────────────────────► docker-registry, open ────────┴─ store

`upstream()` starts one and ends it. It is filled through `registry`, which nobody counts:

    with upstream(folder, auth="token") as hub:
        hub.registry.push_image("library/app", "1")
        hub.fail(LIMITED)
        hub.count("GET", "/blobs/")
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registryui import tls
from registryui.accounts import htpasswd

from .parts import running_registry
from .registries import Registry
from .waiting import LONGEST

LOOPBACK = "127.0.0.1"
NAMES = [LOOPBACK, "localhost"]  # in certificates
PIECE = 65_536
LOGIN = ("mirror-account", "a secret of the upstream")
ISSUER, SERVICE = "tests", "upstream"
# Docker Hub's words for its limit: so many manifests in so many seconds.
WINDOW = 21_600


@dataclass(frozen=True, slots=True)
class Fault:
    """How an upstream fails. It fails for paths that match `of`, for all others it works."""

    status: int = 0  # instead of an answer
    headers: Mapping[str, str] = field(default_factory=dict)  # with that status
    hangs: bool = False  # no answer; after `part` of a body, if that is set
    part: float = 0.0  # of a body is sent, then the connection is closed
    pace: int = 0  # bytes a second
    is_wrong: bool = False  # the last byte of the body is another one
    of: str = ""


HANGING = Fault(hangs=True)
LIMITED = Fault(
    status=429,
    headers={
        "Retry-After": "60",
        "RateLimit-Limit": f"100;w={WINDOW}",
        "RateLimit-Remaining": f"0;w={WINDOW}",
    },
)
BROKEN = Fault(status=500)
# Of blobs alone: their manifests come as they are.
WRONG = Fault(is_wrong=True, of="/blobs/")
WRONG_MANIFESTS = Fault(is_wrong=True, of="/manifests/")
CUT_OFF = Fault(part=0.5, of="/blobs/")
HANGING_IN_BLOB = Fault(hangs=True, part=0.5, of="/blobs/")


def slow(pace: int) -> Fault:
    """Blobs come at so many bytes a second."""
    return Fault(pace=pace, of="/blobs/")


@dataclass(slots=True)
class Asked:
    """A request. Names of headers are in lower case, the path has no query."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0  # of the answer, once there is one


@dataclass
class Front:
    """What the mirror knows as the upstream: `url`, before the registry at `target`."""

    target: str
    port: int = 0
    certificate: Path | None = None  # of TLS; with its key beside it, as registryui.tls does it
    headers: dict[str, str] = field(default_factory=dict)  # of every answer that is passed on
    elsewhere: str = ""  # blobs are redirected to this address, as Docker Hub does it
    fault: Fault | None = None
    asked: list[Asked] = field(default_factory=list)
    sent_bytes: int = 0

    _server: _Server | None = None
    _thread: threading.Thread | None = None
    _lifted: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{LOOPBACK}:{self.port}"

    def fail(self, fault: Fault | None) -> None:
        """From the next request on; None: it works again. What hangs meanwhile is cut off."""
        self.fault = fault
        self._lifted.set()
        self._lifted = threading.Event()

    def count(self, method: str = "", part: str = "") -> int:
        """Requests of that method (all) whose path has this part."""
        return sum(one.method == (method or one.method) and part in one.path for one in self.asked)

    def forget(self) -> None:
        """Counts from here on."""
        self.asked.clear()
        self.sent_bytes = 0

    def kill(self) -> None:
        """Nobody listens any more, and every open connection is cut."""
        if self._server is None or self._thread is None:
            return
        self.fail(self.fault)
        self._server.shutdown()
        self._thread.join(timeout=LONGEST)
        self._server.server_close()
        self._server.cut_all()
        self._server = None

    def start(self) -> None:
        """At the same port as before, if there was one."""
        made = _Server((LOOPBACK, self.port), _handler_of(self))
        self.port = made.server_port
        if self.certificate:
            _use_tls(made, self.certificate)
        # It looks so often whether it is to end.
        self._thread = threading.Thread(
            target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._server = made
        self._thread.start()


@dataclass
class Upstream(Front):
    """A front, and the way to fill its registry."""

    registry: Registry = field(default_factory=lambda: Registry("", Path()))
    ca: Path | None = None  # of its certificate
    login: tuple[str, str] | None = None
    tokens: TokenServer | None = None

    @property
    def store(self) -> Path:
        return self.registry.store


@contextmanager
def upstream(
    folder: Path,
    *,
    auth: str = "",
    is_tls: bool = False,
    is_expired: bool = False,
) -> Iterator[Upstream]:
    """One that runs, with its store below `folder`. `auth`: "" (anonymous), "basic" or "token".
    `is_tls`: with a certificate of an authority of its own. `is_expired`: of yesterday."""
    with ExitStack() as stack:
        filled = stack.enter_context(running_registry(folder / "open"))
        registry = Registry(filled, folder / "open" / "store")
        certificate = folder / "tls" / "server.crt" if is_tls or is_expired else None
        if certificate:
            tls.ensure(folder / "tls", names=NAMES)
            # The product's own user reads it, and not the folder with the keys.
            shutil.copyfile(folder / "tls" / "ca.crt", folder / "ca.crt")
        tokens = None
        target = filled
        if auth:
            if auth == "token":
                tokens = stack.enter_context(token_server(folder / "tokens", certificate))
            settings = _guarded(folder, registry.store, tokens)
            target = stack.enter_context(running_registry(folder / "guarded", settings=settings))
        made = Upstream(target, registry=registry, tokens=tokens, login=LOGIN if auth else None)
        if certificate:
            made.certificate, made.ca = certificate, folder / "ca.crt"
        if is_expired:
            expire(made)
        made.start()
        stack.callback(made.kill)
        yield made


@contextmanager
def content_network(target: str) -> Iterator[Front]:
    """Another address for the content of that upstream's registry, which asks for no login."""
    made = Front(target)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def expire(one: Upstream) -> None:
    """Its certificate ended yesterday; it holds from its next start on."""
    assert one.certificate
    folder = one.certificate.parent
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    ca_key = tls._signing_key(folder / "ca.key")
    key = tls._signing_key(folder / "server.key")
    old = tls._make_leaf(key.public_key(), NAMES, ca=ca, ca_key=ca_key)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=ca.subject,
        subject_name=old.subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=10),
        not_valid_after=now - timedelta(days=1),
        extensions=list(old.extensions),
    )
    made = builder.sign(ca_key, hashes.SHA256())
    one.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _guarded(folder: Path, store: Path, tokens: TokenServer | None) -> dict[str, Any]:
    """Sections of the configuration of a registry over that store which wants a login."""
    if tokens:
        auth: dict[str, Any] = {
            "token": {
                "realm": f"{tokens.url}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(tokens.certificate),
            }
        }
    else:
        file = folder / "htpasswd"
        file.write_text(f"{LOGIN[0]}:{htpasswd.hash_password(LOGIN[1], rounds=5)}\n")
        auth = {"htpasswd": {"realm": SERVICE, "path": str(file)}}
    storage = {"filesystem": {"rootdirectory": str(store)}, "delete": {"enabled": True}}
    return {"auth": auth, "storage": storage}


# -- the front -------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left, or that does not take our certificate, is no error of the test."""


def _use_tls(server: ThreadingHTTPServer, certificate: Path) -> None:
    """The handshake is made by the thread of the request: who never ends his, stops nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )


def _handler_of(front: Front) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"front": front})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    front: ClassVar[Front]
    _asked: Asked

    def _pass(self) -> None:
        front = self.front
        path = urlsplit(self.path).path
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): text for name, text in self.headers.items()}
        self._asked = Asked(self.command, path, headers)
        front.asked.append(self._asked)
        fault = front.fault if front.fault and re.search(front.fault.of, path) else Fault()
        if fault.status:
            self._answer(fault.status, fault.headers)
        elif fault.hangs and not fault.part:
            self._hang()
        elif front.elsewhere and "/blobs/" in path and self._is_let_in():
            self._answer(307, {"Location": f"{front.elsewhere}{self.path}"})
        else:
            self._forward(fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass

    def _is_let_in(self) -> bool:
        """Whether the registry would answer it."""
        with self._asking("HEAD") as answer:
            return answer.status == 200

    def _forward(self, fault: Fault) -> None:
        with self._asking(self.command) as answer:
            self._asked.status = answer.status
            self.send_response_only(answer.status)
            for name, text in {**dict(answer.getheaders()), **self.front.headers}.items():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, text)
            length = int(answer.headers.get("Content-Length") or 0)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", "0")
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(answer, length, fault)

    @contextmanager
    def _asking(self, method: str) -> Iterator[http.client.HTTPResponse]:
        address = urlsplit(self.front.target)
        connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=LONGEST
        )
        kept = {name: text for name, text in self.headers.items() if name.lower() != "connection"}
        try:
            connection.request(method, self.path, headers=kept)
            yield connection.getresponse()
        finally:
            connection.close()

    def _send_body(self, answer: http.client.HTTPResponse, length: int, fault: Fault) -> None:
        last = int(length * fault.part) if fault.part else length
        sent = 0
        while sent < last and (piece := answer.read1(min(PIECE, last - sent))):
            if fault.is_wrong and sent + len(piece) == length:
                piece = piece[:-1] + bytes([piece[-1] ^ 1])
            if fault.pace:
                self.front._lifted.wait(len(piece) / fault.pace)
            self.wfile.write(piece)
            sent += len(piece)
            self.front.sent_bytes += len(piece)
        if fault.part:
            self.wfile.flush()
            self._hang() if fault.hangs else self._cut()

    def _answer(self, status: int, headers: Mapping[str, str]) -> None:
        self._asked.status = status
        self.send_response_only(status)
        body = json.dumps({"errors": [{"code": "UNKNOWN", "message": "made up"}]}).encode()
        for name, text in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang(self) -> None:
        self.front._lifted.wait()
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


# -- tokens ----------------------------------------------------------------------------------------


@dataclass
class TokenServer:
    """Gives tokens as distribution's `auth: token` checks them (distribution, docs/spec/auth)."""

    certificate: Path
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    given: int = 0
    is_anonymous: bool = False  # it gives everybody a token to pull with, as Docker Hub does
    fault: Fault | None = None


@contextmanager
def token_server(folder: Path, tls_certificate: Path | None = None) -> Iterator[TokenServer]:
    """One on loopback, ended afterwards. Without LOGIN no token, unless it is anonymous."""
    folder.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key)
    made = TokenServer(folder / "tokens.crt")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): text for name, text in self.headers.items()}
            made.asked.append(Asked("GET", urlsplit(self.path).path, headers))
            login = base64.b64encode(":".join(LOGIN).encode()).decode()
            said = headers.get("authorization", "")
            if made.fault and made.fault.status:
                self._answer(made.fault.status, {})
            elif said == f"Basic {login}" or (made.is_anonymous and not said):
                made.given += 1
                scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
                token = _token(key, certificate, scopes, LOGIN[0] if said else "")
                self._answer(200, {"token": token, "expires_in": 300})
            else:
                self._answer(401, {"details": "incorrect username or password"})

        def _answer(self, status: int, content: Mapping[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = _Server((LOOPBACK, 0), Handler)
    if tls_certificate:
        _use_tls(server, tls_certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"{'https' if tls_certificate else 'http'}://{LOOPBACK}:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join(timeout=LONGEST)
        server.server_close()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name, now = tls._name("tokens of the tests"), datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256())


def _token(
    key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, scopes: list[str], subject: str
) -> str:
    """A JSON Web Token for these scopes ("repository:library/app:pull"), signed with ES256."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    now = int(time.time())
    access = []
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        may = ("*",) if (kind, name) == ("registry", "catalog") else ("pull",)
        wanted = [one for one in actions.split(",") if one in may]
        access.append({"type": kind, "name": name, "actions": wanted})
    claims = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": subject,
        "iat": now,
        "nbf": now - 10,
        "exp": now + 300,
        "jti": str(uuid.uuid4()),
        "access": access,
    }
    signed = f"{_packed(json.dumps(header).encode())}.{_packed(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_packed(r.to_bytes(32) + s.to_bytes(32))}"


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
