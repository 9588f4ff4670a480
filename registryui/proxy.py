"""Requests to our own nginx as a client, to verify the files it reads.

Trusts only the certificate of this instance; speaks to this machine only.
"""

import hashlib
import http.client
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

CONNECT_SECONDS, READ_SECONDS = 1.5, 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    challenge: str  # WWW-Authenticate
    protocol: str  # "TLSv1.3"
    fingerprint: str  # SHA-256 of the presented certificate, in hex
    seconds: float  # from the request to the answer's head


def ask(path: str, headers: Mapping[str, str], *, method: str = "GET") -> Answer:
    """A request without a body at nginx on this machine, by the name that clients use.

    A certificate of the user's own is trusted directly, whoever signed it.
    Raises OSError (ssl.SSLCertVerificationError too), ValueError, http.client.HTTPException.
    """
    from registryui import tls  # takes long, and few commands ask nginx

    anchor = tls.ca_certificate() or tls.server_certificate()
    context = ssl.create_default_context(cafile=str(anchor))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    plain = socket.create_connection((address(), settings.PORT), timeout=CONNECT_SECONDS)
    plain.settimeout(READ_SECONDS)
    with plain, context.wrap_socket(plain, server_hostname=settings.HOST.strip("[]")) as secure:
        # Now, because the connection may be gone after the answer.
        shown, protocol = secure.getpeercert(binary_form=True) or b"", secure.version() or ""
        connection = http.client.HTTPConnection(settings.HOST)
        connection.sock = secure
        start = time.monotonic()
        headers = {"Host": settings.REGISTRY_NAME, "User-Agent": "boathouse-doctor", **headers}
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        seconds = time.monotonic() - start
        challenge = response.headers.get("WWW-Authenticate", "")
        fingerprint = hashlib.sha256(shown).hexdigest()
        return Answer(response.status, challenge, protocol, fingerprint, seconds)


def basic(name: str, secret: str) -> dict[str, str]:
    """The header of a Basic login."""
    return {"Authorization": "Basic " + b64encode(f"{name}:{secret}".encode()).decode()}


def address() -> str:
    """The address of this machine that nginx listens on."""
    bare = [one.strip().strip("[]") for one in settings.BIND]
    if "*" in bare or "0.0.0.0" in bare:  # noqa: S104 (compared, not bound)
        return "127.0.0.1"
    return "::1" if "::" in bare else bare[0]
