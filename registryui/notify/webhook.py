"""One request to a webhook: signed as Standard Webhooks says, and never to this machine.

The host's addresses are looked up once, checked, and one of them is connected to: a name that leads
elsewhere a moment later changes nothing. Redirects and proxies are not followed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import ceil
from urllib.parse import SplitResult, urlsplit

import psutil
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

import portal
from registryui.mirror_service.upstream import is_local
from registryui.oci.untrusted import quoted

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0  # between two pieces of an answer
LONGEST = 20.0  # seconds of a request in all
MOST_BYTES = 1000  # of an answer that are read and kept
PREFIX = "whsec_"
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt. `status` 0: no answer, and `error` says why."""

    status: int
    ms: int
    answer: str = ""
    error: str = ""
    retry_after: int = 0  # seconds that a busy receiver asks for; 0: it does not

    @property
    def is_gone(self) -> bool:
        """The receiver wants no more messages (Standard Webhooks, 410 Gone)."""
        return self.status == HTTPStatus.GONE

    @property
    def is_done(self) -> bool:
        """The receiver has it."""
        return not self.error and (self.status == 0 or 200 <= self.status < 300)


def new_secret() -> str:
    """A signing secret: 256 random bits, in the form that libraries of Standard Webhooks take."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


@sensitive_variables()
def signature(secret: str, key: str, at: int, body: str) -> str:
    """The header `webhook-signature`. `at`: seconds, as in `webhook-timestamp`."""
    signing = base64.b64decode(secret.removeprefix(PREFIX))
    mac = hmac.new(signing, f"{key}.{at}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


@sensitive_variables()
def send(url: str, secret: str, key: str, body: str) -> Attempt:
    """Posts a message. Never raises; takes about LONGEST at most."""
    began = time.monotonic()
    at = int(time.time())
    headers = {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "User-Agent": f"boathouse/{portal.__version__}",
        "webhook-id": key,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(secret, key, at, body),
    }
    status, answer, error, retry_after = 0, "", "", 0
    try:
        with _connected(urlsplit(url)) as (connection, target):
            connection.request("POST", target, body.encode(), headers)
            response = connection.getresponse()
            status = response.status
            if status in _BUSY:
                retry_after = seconds_of(response.getheader("Retry-After", ""))
            answer = response.read(MOST_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException, ValueError) as problem:
        error = _words(problem)
    if status and not error and not 200 <= status < 300:
        error = f"HTTP status {status}"
    return Attempt(status, round((time.monotonic() - began) * 1000), answer, error, retry_after)


def seconds_of(retry_after: str) -> int:
    """Seconds from now that a Retry-After names, as a number or a date; 0: none, or in the past."""
    text = retry_after.strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0, ceil((at - datetime.now(UTC)).total_seconds()))


class NotAllowed(OSError):
    """The host leads to this machine, or to a service for it alone."""


@contextmanager
def _connected(parts: SplitResult) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A connection to an address that is allowed, and the target of a request. Ended after
    LONGEST, though bytes still come."""
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    sock = _socket(host, port)
    twin = sock.dup()  # ends the connection, also inside TLS, which takes the socket over
    end = threading.Timer(LONGEST, _shut, [twin])
    end.daemon = True
    end.start()
    try:
        if is_tls:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        connection = http.client.HTTPConnection(host, port)
        connection.default_port = 443 if is_tls else 80  # left out of the header Host
        connection.sock = sock
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        yield connection, target
    finally:
        end.cancel()
        sock.close()
        twin.close()


def _socket(host: str, port: int) -> socket.socket:
    """Connected to the first address that is allowed and answers; OSError if none does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    allowed = [one for one in addresses if is_allowed(one)]
    if not allowed:
        raise NotAllowed("it is an address of this machine")
    problem: OSError = OSError("no address")
    for one in allowed[:3]:
        try:
            sock = socket.create_connection((one, port), CONNECT_SECONDS)
        except OSError as error:
            problem = error
        else:
            sock.settimeout(ANSWER_SECONDS)
            return sock
    raise problem


def is_allowed(address: str) -> bool:
    """False for this machine, unless BOATHOUSE_NOTIFY_LOOPBACK is on; for services for it alone,
    and for what is no address of one machine."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    ours = {one.address for some in psutil.net_if_addrs().values() for one in some}
    if found.is_loopback or str(found) in ours:
        return bool(settings.NOTIFY_LOOPBACK)
    return not (found.is_unspecified or found.is_multicast or is_local(str(found)))


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    """A few words; the texts of failures.py, so that pages translate them."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "timed out"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return quoted(text)[1:-1][:200]
