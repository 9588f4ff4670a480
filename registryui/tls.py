"""CA and server certificate: reading, creating, renewing, checking. No tables, no network.

The TLS folder, created by `ensure` and not used with a certificate of the user's own:

    ca.crt      what clients install; 10 years; may sign the host's domain and addresses only;
                replaced only by `replace_ca`, never silently
    ca.key      0600; only this module reads it
    server.crt  what nginx shows; at most 397 days, renewed 30 days before its end
    server.key  0600; made anew with each server.crt
    lock        one writer at a time: `up`, the worker's renewal, `manage.py tls`
"""

import contextlib
import ipaddress
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings

from . import files, locks

CA_DAYS = 3652
LEAF_DAYS = 397  # some clients reject longer ones
RENEW_DAYS = 30
# Of two parts, under a country; the complete list of public suffixes is long and changes each week.
_PUBLIC_SUFFIX = re.compile(
    r"(ac|co|com|edu|go|gob|gov|gv|ltd|mil|ne|net|nom|or|org|plc|sch)\.\w\w"
)
_BACKDATE = timedelta(hours=1)  # a client whose clock is slow


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts of a certificate for people."""

    subject: str
    names: tuple[str, ...]  # DNS names and addresses of the SAN, in its order
    not_before: datetime
    not_after: datetime
    fingerprint: str  # SHA-256, "AA:BB:…", 32 pairs
    key: str  # "ECDSA P-256", "RSA 2048"
    issuer: str
    is_ca: bool
    may_sign: tuple[str, ...]  # name constraints of a CA; (): none

    def days_left(self, now: datetime | None = None) -> int:
        """Full days until it expires, negative afterwards."""
        return (self.not_after - (now or datetime.now(UTC))).days

    def covers(self, name: str) -> bool:
        """True if a client that asks for `name` (DNS name or address) accepts this certificate."""
        wanted = _plain(name)
        names = {_plain(own) for own in self.names}
        parent = "" if _address(wanted) else wanted.partition(".")[2]
        return wanted in names or (bool(parent) and f"*.{parent}" in names)


# -- which files are in use ----------------------------------------------------------------------
def server_certificate() -> Path:
    """The certificate that nginx presents: ours, or the user's own."""
    return Path(settings.TLS_CERTIFICATE or settings.TLS_DIR / "server.crt")


def server_key() -> Path:
    """The key that belongs to `server_certificate`."""
    return Path(settings.TLS_KEY or settings.TLS_DIR / "server.key")


def ca_certificate() -> Path | None:
    """The CA that clients must install; None when the certificate is the user's own."""
    return None if settings.TLS_CERTIFICATE else Path(settings.TLS_DIR / "ca.crt")


def wanted_names() -> list[str]:
    """The names our certificate must have: the host, its other names, and this machine itself."""
    ours = [settings.HOST, settings.PUBLIC_HOST, *settings.NAMES]
    return _without_repeats([*ours, "localhost", "127.0.0.1", "::1"])


# -- reading and checking ------------------------------------------------------------------------
def read_certificate(path: Path) -> Certificate:
    """The first certificate of a PEM file. ValueError, one sentence, if there is none."""
    return _describe(_load_certificate(path))


def check_pair(certificate: Path, key: Path, *, host: str = "") -> None:
    """Checks that nginx can serve `host` (default: settings.HOST) with these two files.

    ValueError has one sentence about what is wrong.
    """
    host = host or settings.HOST
    loaded = _load_certificate(certificate)
    if _spki(_load_key(key).public_key()) != _spki(loaded.public_key()):
        raise ValueError(f"The key {key} does not belong to the certificate {certificate}.")
    found = _describe(loaded)
    now = datetime.now(UTC)
    if found.not_after <= now:
        raise ValueError(f"The certificate {certificate} expired on {found.not_after:%Y-%m-%d}.")
    if found.not_before > now:
        raise ValueError(
            f"The certificate {certificate} is not valid before {found.not_before:%Y-%m-%d}."
        )
    if not found.covers(host):
        names = ", ".join(found.names) or "no name at all"
        raise ValueError(f"The certificate {certificate} is for {names}, not for {host}.")


# -- making and renewing -------------------------------------------------------------------------
def ensure(folder: Path, *, names: Iterable[str]) -> bool:
    """Create what is missing in the TLS folder and renew the leaf when due. True if it changed.

    The leaf is due when it has less than 30 days, lacks a name, does not belong to its key or to
    the CA. A CA is created only if there is none. ValueError says what has to be fixed.
    """
    wanted = _checked_names(names)
    with _locked(folder):
        made_ca = _ensure_ca(folder, wanted)
        if not made_ca and not _is_due(folder, wanted):
            return False
        _issue(folder, wanted)
        return True


def renew(folder: Path, *, names: Iterable[str]) -> None:
    """Issue a new server certificate now, due or not. ValueError as for `ensure`."""
    wanted = _checked_names(names)
    with _locked(folder):
        _ensure_ca(folder, wanted)
        _issue(folder, wanted)


def replace_ca(folder: Path, *, names: Iterable[str]) -> None:
    """Create a new CA and server certificate: from then on every client must trust the new one.

    The old CA is kept beside it as ca-YYYYmmddTHHMMSS.{crt,key}.
    """
    wanted = _checked_names(names)
    with _locked(folder):
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        for suffix in ("crt", "key"):
            with contextlib.suppress(FileNotFoundError):
                (folder / f"ca.{suffix}").rename(folder / f"ca-{stamp}.{suffix}")
        _ensure_ca(folder, wanted)
        _issue(folder, wanted)


def _ensure_ca(folder: Path, names: list[str]) -> bool:
    """Create the CA if there is none; True if it did.

    A key without its certificate is left by a crash between the two writes: it is used.
    """
    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    if certificate_file.exists():
        return False
    if key_file.exists():
        key = _signing_key(key_file)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        files.write(key_file, _pem(key), mode=0o600)
    certificate = _make_ca(key, names)
    files.write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return True


def _is_due(folder: Path, names: list[str]) -> bool:
    """True if the server certificate has to be issued (again), and a new one would be better."""
    ca = _load_ca(folder)
    try:
        leaf = _load_certificate(folder / "server.crt")
        key = _load_key(folder / "server.key")
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return True
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        return True  # a crash between the two writes
    found = _describe(leaf)
    if not all(found.covers(name) for name in names):
        return True
    # Near the end of the CA no leaf can be valid for longer: do not issue one at every start.
    ends = _leaf_end(datetime.now(UTC), ca)
    return found.days_left() < RENEW_DAYS and ends > found.not_after + timedelta(days=1)


def _load_ca(folder: Path) -> x509.Certificate:
    try:
        return _load_certificate(folder / "ca.crt")
    except ValueError as error:
        raise ValueError(
            f"{error} Put it back from a backup (each client that trusts it has a copy), or make a "
            "new authority with ./boathouse manage tls --new-authority."
        ) from error


def _issue(folder: Path, names: list[str]) -> None:
    """Sign a new server certificate. The key is written first: nginx -t rejects an incomplete pair,
    the running nginx keeps the old one, and the next `ensure` detects the mismatch."""
    ca = _load_ca(folder)
    if not (folder / "ca.key").exists():
        raise ValueError(
            f"{folder / 'ca.key'} is missing, so no certificate can be signed: put it back from a "
            "backup, or make a new authority with `tls --new-authority`."
        )
    ca_key = _signing_key(folder / "ca.key")
    if _spki(ca_key.public_key()) != _spki(ca.public_key()):
        raise ValueError(
            f"{folder / 'ca.key'} does not belong to {folder / 'ca.crt'}: put back the right one "
            "from a backup, or make a new authority with `tls --new-authority`."
        )
    if ca.not_valid_after_utc <= datetime.now(UTC):
        raise ValueError(
            f"The authority {folder / 'ca.crt'} expired on {ca.not_valid_after_utc:%Y-%m-%d}: "
            "make a new one with `tls --new-authority`."
        )
    limits = _describe(ca).may_sign
    if strange := [name for name in names if limits and not _is_within(name, limits)]:
        raise ValueError(
            f"The authority {folder / 'ca.crt'} may sign {', '.join(limits)}, so not "
            f"{', '.join(strange)}: take that name away, or make a new authority with "
            "`tls --new-authority`, which every client must then trust."
        )
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _make_leaf(key.public_key(), names, ca=ca, ca_key=ca_key)
    files.write(folder / "server.key", _pem(key), mode=0o600)
    files.write(folder / "server.crt", leaf.public_bytes(serialization.Encoding.PEM), mode=0o644)


# -- certificates --------------------------------------------------------------------------------
def _make_ca(key: ec.EllipticCurvePrivateKey, names: list[str]) -> x509.Certificate:
    """A self-signed CA, constrained to these names.

    The random part of its name keeps two CAs of one host apart in a client's store.
    """
    name = _name(f"Boathouse CA {names[0][:40]} {secrets.token_hex(4)}")
    limits = [_limit(domain) for domain in _without_repeats(map(_domain, names))]
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(limits, excluded_subtrees=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _make_leaf(
    key: ec.EllipticCurvePublicKey,
    names: list[str],
    *,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A server certificate for `names`, signed by the CA; it never outlives the CA."""
    now = datetime.now(UTC)
    authority = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(names[0] if len(names[0]) <= 64 else "Boathouse"))
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _BACKDATE, ca.not_valid_before_utc))
        .not_valid_after(_leaf_end(now, ca))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
    )
    return builder.sign(ca_key, hashes.SHA256())


def _leaf_end(now: datetime, ca: x509.Certificate) -> datetime:
    """The last moment of a leaf signed now: 397 days in all, the hour before now included."""
    return min(now - _BACKDATE + timedelta(days=LEAF_DAYS), ca.not_valid_after_utc)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _describe(certificate: x509.Certificate) -> Certificate:
    """The facts of a certificate. ValueError if its extensions cannot be read."""
    names: tuple[str, ...] = ()
    may_sign: list[str] = []
    is_ca = False
    with contextlib.suppress(x509.ExtensionNotFound):
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = (str(address) for address in san.get_values_for_type(x509.IPAddress))
        names = (*san.get_values_for_type(x509.DNSName), *addresses)
    with contextlib.suppress(x509.ExtensionNotFound):
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with contextlib.suppress(x509.ExtensionNotFound):
        limits = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        may_sign = [_limit_words(one) for one in limits.permitted_subtrees or ()]
    return Certificate(
        subject=_words(certificate.subject),
        names=names,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        key=_key_words(certificate.public_key()),
        issuer=_words(certificate.issuer),
        is_ca=is_ca,
        may_sign=tuple(may_sign),
    )


def _words(name: x509.Name) -> str:
    """The common name, or the full name if there is none."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _key_words(key: PublicKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        curves = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        return f"ECDSA {curves.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return "Ed448" if isinstance(key, ed448.Ed448PublicKey) else type(key).__name__


# -- names ---------------------------------------------------------------------------------------
def _checked_names(names: Iterable[str]) -> list[str]:
    """Names without duplicates, as in a certificate; ValueError for an invalid one."""
    found = _without_repeats(names)
    if not found:
        raise ValueError("A server certificate needs at least one name.")
    for name in found:
        _general_name(name)
    return found


def _without_repeats(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(plain for plain in map(_plain, names) if plain))


def _plain(name: str) -> str:
    """The normal form of a name: lower case, IDNA, addresses in their short form."""
    bare = name.strip().rstrip(".").removeprefix("[").removesuffix("]").lower()
    if address := _address(bare):
        return str(address)
    try:
        return bare if bare.isascii() else bare.encode("idna").decode("ascii")
    except UnicodeError:
        return bare


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _general_name(name: str) -> x509.GeneralName:
    """A plain name as a SAN; ValueError if it is neither a host name nor an address."""
    if address := _address(name):
        return x509.IPAddress(address)
    label = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    if len(name) > 253 or not re.fullmatch(rf"(\*\.)?{label}(\.{label})*", name):
        raise ValueError(f"{name!r} is neither a host name nor an address.")
    return x509.DNSName(name)


# -- name constraints of a CA (RFC 5280, 4.2.1.10) -------------------------------------------------
def _domain(name: str) -> str:
    """The domain of a host, so that another host in it needs no new CA; an address itself.

    A host right below a public suffix ("co.uk") is its own domain.
    """
    parent = name.partition(".")[2]
    if name.startswith("*."):
        return parent
    is_alone = "." not in parent or _PUBLIC_SUFFIX.fullmatch(parent)
    return name if _address(name) or is_alone else parent


def _limit(domain: str) -> x509.GeneralName:
    """A subtree: this domain and all below it, or one address."""
    address = _address(domain)
    return x509.IPAddress(ipaddress.ip_network(address)) if address else x509.DNSName(domain)


def _limit_words(limit: x509.GeneralName) -> str:
    return str(limit.value).removesuffix("/32").removesuffix("/128").removeprefix(".")


def _is_within(name: str, limits: Iterable[str]) -> bool:
    bare = name.removeprefix("*.")
    if address := _address(bare):
        networks = (one for one in limits if _address(one.partition("/")[0]))
        return any(address in ipaddress.ip_network(one) for one in networks)
    return any(bare == one or bare.endswith(f".{one}") for one in limits)


# -- files ---------------------------------------------------------------------------------------
def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ValueError(f"The certificate {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a certificate in PEM form.") from error


def _load_key(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ValueError(f"The key {path} cannot be read: {error.strerror}.") from error
    except TypeError as error:
        raise ValueError(f"The key {path} has a password; nginx needs one without.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path} is not a private key in PEM form.") from error


def _signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = _load_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"The key {path} is not an elliptic curve key.")
    return key


def _spki(key: PublicKeyTypes) -> bytes:
    """A public key as bytes that can be compared."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks the TLS folder, which is created if it is missing. The lock ends with the process."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        locks.take(lock.fileno())
        yield
