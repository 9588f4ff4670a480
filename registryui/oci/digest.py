"""Digests: the names of content by its hash."""

import hashlib
import re

from .untrusted import quoted

# The algorithms that the registry knows (opencontainers/go-digest). It stores by the first only:
# content referenced by another one is found by a link in the repository (registry/paths.py).
DIGEST = r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"

_DIGEST = re.compile(DIGEST)


def is_digest(text: str) -> bool:
    """Whether `text` is a digest, written in lower case as the registry wants it."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: object) -> str:
    """`text` if it is a digest, else ValueError."""
    if not isinstance(text, str) or not is_digest(text):
        raise ValueError(f"not a digest: {quoted(text)}")
    return text


def is_canonical(digest: str) -> bool:
    """Whether content is stored under this digest, by its algorithm."""
    return digest.startswith("sha256:")


def sha256(data: bytes) -> str:
    """`sha256:<64 hex digits>` of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def matches(digest: str, data: bytes) -> bool:
    """Whether `digest` is the digest of `data`, by whichever algorithm it names."""
    return alike(check_digest(digest), data) == digest


def alike(digest: str, data: bytes) -> str:
    """The digest of `data` by the algorithm of another digest."""
    algorithm = digest.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def short(digest: str) -> str:
    """The first 12 hex digits, as Docker shows a digest to people."""
    return digest.partition(":")[2][:12]
