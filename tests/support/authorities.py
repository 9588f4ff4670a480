"""Authorities that are not as ours are made today, and a server that shows what one signed."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registryui import tls


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def make_unlimited(folder: Path) -> bytes:
    """An authority as the first ones were, without limits, in place of the new one."""
    key, now = tls._signing_key(folder / "ca.key"), datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = x509.CertificateBuilder(
        issuer_name=tls._name("Boathouse CA"),
        subject_name=tls._name("Boathouse CA"),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now,
        not_valid_after=now + timedelta(days=3000),
        extensions=[
            x509.Extension(x509.BasicConstraints.oid, True, x509.BasicConstraints(True, 0)),
            x509.Extension(identifier.oid, False, identifier),
        ],
    )
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.crt").write_bytes(made)
    return made


def forge(folder: Path, *names: str) -> None:
    """A server certificate that whoever took the authority's key makes, in place of ours."""
    ca, ca_key = load(folder / "ca.crt"), tls._signing_key(folder / "ca.key")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = tls._make_leaf(key.public_key(), list(names), ca=ca, ca_key=ca_key)
    (folder / "server.key").write_bytes(tls._pem(key))
    (folder / "server.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """The port of an HTTPS server on loopback with that folder's certificate."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    web.socket = context.wrap_socket(web.socket, server_side=True)
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield web.server_address[1]
    finally:
        web.shutdown()
        thread.join()
        web.server_close()
