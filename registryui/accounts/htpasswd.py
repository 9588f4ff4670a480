"""What an htpasswd file says: names, hashes, and how to change one line and keep all others.

Pure: bytes in, bytes out. publish.py writes the file; nginx reads it at every request.

    docker:{SSHA}6Kb1…     one user: name, colon, hash
    # a comment            kept, like everything else that is not ours
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator

import bcrypt
from passlib.context import CryptContext

MOST_NAME_CHARACTERS = 128
MOST_PASSWORD_BYTES = 72  # bcrypt reads no further

# What other programs write into such files. No plain text, although nginx would take {PLAIN}.
_OTHERS = CryptContext(
    schemes=["apr_md5_crypt", "sha256_crypt", "sha512_crypt", "ldap_sha1", "md5_crypt", "des_crypt"]
)


def check_name(name: str) -> str:
    """The name, if it can stand in the file and in a Basic login; else ValueError."""
    if not name or len(name) > MOST_NAME_CHARACTERS:
        raise ValueError(f"a name has 1 to {MOST_NAME_CHARACTERS} characters: {name[:140]!r}")
    # A colon ends the name, a line break begins another user, '#' begins a comment. str.isprintable
    # leaves out every other character that an editor or a log would not show.
    if ":" in name or name.startswith("#") or not name.isprintable() or name != name.strip():
        raise ValueError(f"a name has no colon, space at its ends or control character: {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as bad:
        raise ValueError(f"a name is text: {name!r}") from bad
    return name


def new_secret() -> str:
    """A generated secret: 160 random bits in 40 characters that need no quoting anywhere."""
    return secrets.token_hex(20)


def hash_secret(secret: str) -> str:
    """The line's hash of a *generated* secret: {SSHA}, cheap because nginx hashes every request.

    Nobody guesses 160 random bits; see docs/decisions/0001-hash-of-generated-secrets.md.
    """
    salt = secrets.token_bytes(8)
    mixed = hashlib.sha1(secret.encode() + salt).digest()  # noqa: S324  (a random secret)
    return "{SSHA}" + base64.b64encode(mixed + salt).decode()


def hash_password(password: str, *, rounds: int = 8) -> str:
    """The line's hash of a password that a person chose: bcrypt, 2**rounds.

    ValueError over 72 bytes.
    """
    if len(password.encode()) > MOST_PASSWORD_BYTES:
        raise ValueError(f"a password has at most {MOST_PASSWORD_BYTES} bytes")
    salt = bcrypt.gensalt(rounds, prefix=b"2a")
    # One algorithm, two prefixes: nginx hands both to the C library, htpasswd writes 2y.
    return bcrypt.hashpw(password.encode(), salt).decode().replace("$2a$", "$2y$", 1)


def verify(line_hash: str, secret: str) -> bool:
    """True if nginx would take `secret` for that hash; False for a kind of hash we do not know."""
    if line_hash.startswith("{SSHA}"):
        return _verify_ssha(line_hash, secret)
    if line_hash.startswith(("$2y$", "$2a$", "$2b$")):
        return _verify_bcrypt(line_hash, secret)
    try:
        return bool(_OTHERS.verify(secret, line_hash))
    except (ValueError, TypeError):
        return False


def _verify_ssha(line_hash: str, secret: str) -> bool:
    try:
        raw = base64.b64decode(line_hash.removeprefix("{SSHA}"), validate=True)
    except ValueError:
        return False
    mixed = hashlib.sha1(secret.encode() + raw[20:]).digest()  # noqa: S324  (a random secret)
    return hmac.compare_digest(mixed, raw[:20])


def _verify_bcrypt(line_hash: str, secret: str) -> bool:
    try:
        return bcrypt.checkpw(secret.encode()[:MOST_PASSWORD_BYTES], line_hash.encode())
    except ValueError:
        return False


def parse(content: bytes) -> dict[str, str]:
    """Name to hash, in the order of the file; the first line of a name counts, as for nginx.

    Lines that are no users (comments, blank lines, no colon) and names that are not UTF-8 are
    left out here and kept by `put` and `take`.
    """
    users: dict[str, str] = {}
    for line in content.splitlines():
        name, colon, rest = line.partition(b":")
        if colon and name and not name.startswith(b"#"):
            try:
                # Behind a second colon stand comments: nginx stops there too.
                users.setdefault(name.decode(), rest.partition(b":")[0].decode().strip())
            except UnicodeDecodeError:
                continue
    return users


def put(content: bytes, name: str, line_hash: str) -> bytes:
    """`content` with that user: his line replaced where it stands, else added at the end.

    Every other byte stays as it is. ValueError if name or hash would break the file.
    """
    check_name(name)
    if not line_hash or ":" in line_hash or not line_hash.isprintable() or " " in line_hash:
        raise ValueError("a hash has no colon, space or control character")
    new = f"{name}:{line_hash}".encode()
    lines = list(_lines(content))
    place = next((i for i, line in enumerate(lines) if _is_of(line, name)), None)
    if place is None:
        end = b"\n" if content and not content.endswith(b"\n") else b""
        return content + end + new + b"\n"
    ending = lines[place][len(lines[place].rstrip(b"\r\n")) :]
    lines[place] = new + ending
    # A second line of the same name never counted, and must not come back when the first goes.
    return b"".join(line for i, line in enumerate(lines) if i <= place or not _is_of(line, name))


def take(content: bytes, name: str) -> bytes:
    """`content` without that user's lines; unchanged if he has none."""
    check_name(name)
    return b"".join(line for line in _lines(content) if not _is_of(line, name))


def _lines(content: bytes) -> Iterator[bytes]:
    # nginx ends a line at \n (and \r); a form feed or \x1c inside a line must not split it.
    yield from content.splitlines(keepends=True)


def _is_of(line: bytes, name: str) -> bool:
    return line.startswith(name.encode() + b":")
