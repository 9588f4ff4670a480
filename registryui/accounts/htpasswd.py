"""The format of the htpasswd file: names, hashes, and how to change some lines and keep all others.

Pure: bytes in, bytes out. publish.py writes the file; lines, names and hashes are parsed exactly as
ngx_http_auth_basic_module does.

    docker:{SSHA}6Kb1…     one user: name, colon, hash
    # a comment            kept, like everything that is not ours
"""

import base64
import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

import bcrypt

from . import nginx_crypt

MOST_NAME_BYTES = 255
# A line with a new secret at each of our writes: a login with it proves that nginx reads what we
# wrote (publish.py). It has no rights, and the secret is not kept.
CANARY = "boathouse-canary"
MOST_PASSWORD_BYTES = 72  # bcrypt reads no further
ROUNDS = 8  # of bcrypt, as a power of two


def check_name(name: str) -> str:
    """The name, if it is valid in the file and in a Basic login; else ValueError."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError as bad:
        raise ValueError(f"a name is text: {name!r}") from bad
    if not 1 <= length <= MOST_NAME_BYTES:
        raise ValueError(f"a name has 1 to {MOST_NAME_BYTES} bytes: {name[:140]!r}")
    # A colon ends the name, a line break begins another user, '#' begins a comment. str.isprintable
    # leaves out every other character that an editor or a log would not show.
    if ":" in name or name.startswith("#") or not name.isprintable() or name != name.strip():
        raise ValueError(f"a name has no colon, space at its ends or control character: {name!r}")
    return name


def new_secret() -> str:
    """A generated secret: 160 random bits in 40 characters that need no quoting."""
    return secrets.token_hex(20)


def hash_secret(secret: str) -> str:
    """The hash of a *generated* secret: {SSHA}, cheap because nginx hashes every request.

    160 random bits cannot be guessed; see docs/decisions/0001-hash-of-generated-secrets.md.
    """
    salt = secrets.token_bytes(8)
    mixed = hashlib.sha1(secret.encode() + salt).digest()  # noqa: S324  (a random secret)
    return "{SSHA}" + base64.b64encode(mixed + salt).decode()


def hash_password(password: str, *, rounds: int = ROUNDS) -> str:
    """The hash of a user-chosen password: bcrypt, 2**rounds.

    ValueError over 72 bytes.
    """
    if len(password.encode()) > MOST_PASSWORD_BYTES:
        raise ValueError(f"a password has at most {MOST_PASSWORD_BYTES} bytes")
    return hash_clear(password, rounds=rounds)


def hash_clear(password: str, *, rounds: int) -> str:
    """The same of a password of any length: like nginx, bcrypt reads 72 bytes of it."""
    salt = bcrypt.gensalt(rounds, prefix=b"2a")
    # One algorithm, two prefixes: nginx passes both to the C library, htpasswd writes 2y.
    hashed = bcrypt.hashpw(password.encode()[:MOST_PASSWORD_BYTES], salt)
    return hashed.decode().replace("$2a$", "$2y$", 1)


def verify(line_hash: str, secret: str) -> bool:
    """True if nginx would accept `secret` for that hash; False for an unknown kind of hash."""
    return nginx_crypt.accepts(line_hash.encode(), secret.encode())


class Kind(Enum):
    """The kind of a hash; the value is its usual name."""

    SSHA = "{SSHA}"
    SHA = "{SHA}"
    PLAIN = "{PLAIN}"
    BCRYPT = "bcrypt"
    YESCRYPT = "yescrypt"
    SHA512 = "SHA-512 crypt"
    SHA256 = "SHA-256 crypt"
    APR1 = "apr1 (MD5)"
    MD5 = "MD5 crypt"
    DES = "DES crypt"
    RARE = "crypt of a rare kind"  # SHA-1, Sun MD5, BSDi, bigcrypt, NT
    UNKNOWN = ""  # nginx accepts no login with it

    @property
    def is_slow(self) -> bool:
        """True if guessing a password from the hash takes long enough for a user-chosen one."""
        return self in (Kind.BCRYPT, Kind.YESCRYPT, Kind.SHA512, Kind.SHA256)

    @property
    def is_quick(self) -> bool:
        """True if nginx computes it in negligible time."""
        return self in (Kind.SSHA, Kind.SHA, Kind.PLAIN)


_KINDS = (
    (Kind.SSHA, re.compile(r"\{SSHA\}[A-Za-z0-9+/]{27,}={0,2}")),
    (Kind.SHA, re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}=")),
    (Kind.PLAIN, re.compile(r"\{PLAIN\}.*")),
    (Kind.BCRYPT, re.compile(r"\$2[abxy]\$.+")),
    (Kind.YESCRYPT, re.compile(r"\$(?:y|7|gy)\$.+")),
    (Kind.SHA512, re.compile(r"\$6\$.+")),
    (Kind.SHA256, re.compile(r"\$5\$.+")),
    (Kind.APR1, re.compile(r"\$apr1\$.+")),
    (Kind.MD5, re.compile(r"\$1\$.+")),
    (Kind.DES, re.compile(r"[./0-9A-Za-z]{13}")),
    (Kind.RARE, re.compile(r"\$(?:sha1\$|md5[$,]|3\$).+|_[./0-9A-Za-z]{19}")),
    (Kind.RARE, re.compile(r"[./0-9A-Za-z]{13}(?:[./0-9A-Za-z]{11})+")),
)


def kind(line_hash: str) -> Kind:
    """What Debian's nginx takes that hash for."""
    return next((one for one, shape in _KINDS if shape.fullmatch(line_hash)), Kind.UNKNOWN)


def takes_as_long_as_ours(line_hash: str) -> bool:
    """True if checking a password against it takes at least as long as against `hash_password`."""
    return _rounds(line_hash) >= ROUNDS


def takes_longer_than_ours(line_hash: str) -> bool:
    """True if it is far slower than that: such users should get a new secret."""
    return _rounds(line_hash) > ROUNDS


def _rounds(line_hash: str) -> int:
    """The cost, as that of bcrypt; 0: less than any of bcrypt."""
    if found := re.match(r"\$2[abxy]\$([0-9]{2})\$", line_hash):
        return int(found[1])
    return ROUNDS + 1 if kind(line_hash) is Kind.YESCRYPT else 0


# One user's line: name, hash, and what nginx ignores (a comment, the line's end).
_LINE = re.compile(rb"(?![#\r])([^:\n]+):([^:\r\n\0]*)(.*)", re.DOTALL)


def parse(content: bytes) -> dict[str, str]:
    """Name to hash, in the order of the file; the first line of a name counts, as for nginx.

    Other lines (comments, blank lines, no colon) and names that are not UTF-8 are left out here and
    kept by `change`. What is not UTF-8 in a hash is U+FFFD here.
    """
    users: dict[str, str] = {}
    for name, line_hash in parse_bytes(content).items():
        with contextlib.suppress(UnicodeDecodeError):
            users[name.decode()] = line_hash.decode(errors="replace")
    return users


def parse_bytes(content: bytes) -> dict[bytes, bytes]:
    """The same as bytes, with the names that are not UTF-8."""
    users: dict[bytes, bytes] = {}
    before: list[bytes] = []
    for line in _lines(content):
        if (found := _LINE.fullmatch(line)) and not _is_shadowed(found[1], before):
            users.setdefault(found[1], found[2])
        before.append(line)
    return users


def change(content: bytes, lines: Mapping[str, str]) -> bytes:
    """`content` with those users: name to hash, "" takes the user out.

    An existing user's line is replaced in place, a new one added at the end; every other byte is
    kept. ValueError if a name or hash would break the file.
    """
    wanted = {_name(name, line_hash): _hash(line_hash) for name, line_hash in lines.items()}
    seen: set[bytes] = set()
    kept: list[bytes] = []
    is_gap = False
    for line in _lines(content):
        found = _LINE.fullmatch(line)
        if found is None or found[1] not in wanted:
            if is_gap and kept and _may_shadow(kept[-1]):
                kept.append(b"\n")
            kept.append(line)
            is_gap = False
        elif found[1] not in seen and wanted[found[1]]:
            seen.add(found[1])
            _append(kept, found[1], wanted[found[1]] + found[3])
            is_gap = False
        else:
            # A second line of the same name was ignored, and must not apply when the first is
            # removed.
            is_gap = True
    for name, line_hash in wanted.items():
        if line_hash and name not in seen:
            _append(kept, name, line_hash + b"\n")
    return b"".join(kept)


def _append(kept: list[bytes], name: bytes, rest: bytes) -> None:
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    if _is_shadowed(name, kept):
        kept.append(b"\n")
    kept.append(name + b":" + rest)


def _is_shadowed(name: bytes, before: Sequence[bytes]) -> bool:
    """True if nginx does not see a line of that name behind those lines.

    It looks for the name letter by letter. If a line without a colon is how the name begins, the
    line's end is the first wrong letter, and what nginx then skips is the next line.
    """
    is_shadowed = False
    for line in reversed(before):
        if not (_may_shadow(line) and name.startswith(line.rstrip(b"\n"))):
            break
        is_shadowed = not is_shadowed  # a skipped line shadows nothing
    return is_shadowed


def _may_shadow(line: bytes) -> bool:
    return b":" not in line and line[:1] not in (b"#", b"\r", b"\n")


def _name(name: str, line_hash: str) -> bytes:
    # A name to remove need not be one that we would write.
    return (check_name(name) if line_hash else name).encode()


def _hash(line_hash: str) -> bytes:
    if any(letter in line_hash for letter in ": ") or not (
        line_hash.isascii() and line_hash.isprintable()
    ):
        raise ValueError("a hash is ASCII without colon, space or control character")
    return line_hash.encode()


def _lines(content: bytes) -> Iterator[bytes]:
    # Only \n ends a line for nginx: splitlines would see one in the middle of a name.
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        yield content[start:end]
        start = end
