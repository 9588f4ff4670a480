"""Names that clients give: repository, tag, reference; and the order of tags.

The grammar is the registry's own (distribution/reference, regexp.go). URL converters use the same
sources, so that a page exists exactly for what can be pushed. A repository may have a part named
like an endpoint (`a/manifests/b`): paths are parsed from the right.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .digest import DIGEST, check_digest
from .untrusted import quoted

__all__ = [
    "DIGEST",
    "REPOSITORY",
    "TAG",
    "Reference",
    "check_repository",
    "check_tag",
    "namespace_of",
    "parse_reference",
    "referrer_subject",
    "version_key",
]

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
REPOSITORY = rf"{_PART}(?:/{_PART})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
REPOSITORY_LIMIT = 255  # characters; the registry answers 500 beyond

_REPOSITORY = re.compile(REPOSITORY)
_ONE_PART = re.compile(_PART)
_TAG = re.compile(TAG)
_REFERRER_TAG = re.compile(r"sha256-([0-9a-f]{64})(?![0-9A-Za-z]).*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository, with a tag, a digest, both, or neither ("")."""

    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def check_repository(name: object) -> str:
    """`name` if it is a valid repository name, else ValueError."""
    # The length first: the text may be megabytes.
    if (
        not isinstance(name, str)
        or len(name) > REPOSITORY_LIMIT
        or _REPOSITORY.fullmatch(name) is None
    ):
        raise ValueError(f"not a repository name: {quoted(name)}")
    return name


def is_repository(name: str) -> bool:
    """Whether it is a valid repository name."""
    return len(name) <= REPOSITORY_LIMIT and _REPOSITORY.fullmatch(name) is not None


def is_part(name: str) -> bool:
    """Whether it is one valid part of a repository name."""
    return _ONE_PART.fullmatch(name) is not None


def is_tag(name: str) -> bool:
    """Whether it is a valid tag name."""
    return _TAG.fullmatch(name) is not None


def check_tag(name: object) -> str:
    """`name` if it is a valid tag name, else ValueError."""
    if not isinstance(name, str) or _TAG.fullmatch(name) is None:
        raise ValueError(f"not a tag: {quoted(name)}")
    return name


def parse_reference(text: str) -> Reference:
    """`repository[:tag][@digest]`, without a host, taken apart; ValueError if it is none."""
    rest, at, digest = text.partition("@")
    repository, colon, tag = rest.partition(":")
    return Reference(
        check_repository(repository),
        check_tag(tag) if colon else "",
        check_digest(digest) if at else "",
    )


def namespace_of(repository: str) -> str:
    """The first part of the name; "" for a name of one part."""
    namespace, slash, _ = repository.partition("/")
    return namespace if slash else ""


def referrer_subject(tag: str) -> str:
    """The digest that a referrer tag refers to, "" for other tags.

    These are the referrers fallback tag of distribution-spec (`sha256-<hex>`, also with a suffix)
    and cosign's `sha256-<hex>.sig|.att|.sbom`. Only sha256: a longer digest does not fit in a tag,
    so clients cut it, and what is left names nothing.
    """
    match = _REFERRER_TAG.fullmatch(tag)
    return f"sha256:{match[1]}" if match else ""


def tag_counts(tags: Iterable[str]) -> tuple[int, int]:
    """How many of these are tags, and how many referrer tags. Whatever counts tags counts those of
    signatures and the like by themselves."""
    found = [bool(referrer_subject(tag)) for tag in tags]
    return len(found) - sum(found), sum(found)


def is_fallback(tag: str) -> bool:
    """Whether it is the referrers fallback tag of distribution-spec, whose image index lists what
    refers to an image."""
    return len(tag) == len("sha256-") + 64 and bool(referrer_subject(tag))


# -- the order of tags ---------------------------------------------------------------------------
KEY_LIMIT = 512  # bytes

_VERSION = re.compile(r"[vV]?([0-9]+(?:\.[0-9]+)*)(.*)", re.DOTALL)
_TOKEN = re.compile(r"([0-9]+)|([^0-9._-]+)")
_GLUED = re.compile(r"([a-zA-Z]+)[0-9]{0,3}(?:[._-].*)?", re.DOTALL)
_FIRST_WORD = re.compile(r"[^0-9._-]*")
# Words of pre-releases, in their order.
_BEFORE = {
    **dict.fromkeys(("dev", "snapshot", "nightly", "canary", "edge", "next"), 1),
    **dict.fromkeys(("a", "alpha"), 2),
    **dict.fromkeys(("b", "beta"), 3),
    **dict.fromkeys(("m", "milestone", "ea"), 4),
    **dict.fromkeys(("pre", "preview"), 5),
    **dict.fromkeys(("c", "cr", "rc"), 6),
}
_AFTER = {"p", "post", "r", "rev", "build", "patch", "u"}

# What may follow a version's numbers, in the order of the bytes. The next number comes last: 2.14
# sorts below 2.14.0, with any suffix.
_PRE_RELEASE, _VARIANT, _FINAL, _REVISION, _NUMBER = (bytes([n]) for n in (1, 2, 3, 4, 5))
_WORDS, _VERSIONS = b"\x01", b"\x02"


@lru_cache(maxsize=4096)  # the same names stand in many repositories
def version_key(tag: str) -> bytes:
    """Bytes that sort tags as a person would: compare them bytewise, the newest is the greatest.

    Versions (`2.14.0`, `v3`) sort above words (`latest`), 2.10 above 2.9, and below each version
    its variants (`2.14.0-alpine`), then its pre-releases (`2.14.0-rc.2`). At most 512 bytes.
    """
    tag = tag[:128]
    match = _VERSION.fullmatch(tag)
    if match and _is_suffix(match[2]):
        numbers = b"".join(_NUMBER + _number(n) for n in match[1].split("."))
        key = _VERSIONS + numbers + _suffix(match[2])
    else:
        key = _WORDS + _natural(tag)
    # The tag itself last: 1.0 and v1.0 and 1.00 have some order, and always the same.
    return (key + b"\x00" + tag.encode("utf-8", "replace"))[:KEY_LIMIT]


def _is_suffix(text: str) -> bool:
    """False for what starts like a version and is a word: `3f2a91c`, `7th-try`."""
    if not text or text[0] in "._-":
        return True
    glued = _GLUED.fullmatch(text)
    return glued is not None and glued[1].lower() in (_BEFORE.keys() | _AFTER)


def _suffix(text: str) -> bytes:
    word = _word_of(text)
    if not text.strip("._-"):
        return _FINAL
    if word in _BEFORE:
        return _PRE_RELEASE + bytes([_BEFORE[word]]) + _natural(text)
    if not word or word in _AFTER:
        return _REVISION + _natural(text)
    return _VARIANT + _natural(text)


def _word_of(text: str) -> str:
    found = _FIRST_WORD.match(text.lstrip("._-"))
    return found[0].lower() if found else ""


def _natural(text: str) -> bytes:
    """Runs of digits compared as numbers, all else as lower-case text."""
    return b"".join(
        b"\x01" + _number(number) if number else b"\x02" + word.lower().encode("utf-8", "replace")
        for number, word in _TOKEN.findall(text)
    )


def _number(digits: str) -> bytes:
    """The longer number is the greater one; 128 digits fit in the byte that tells the length."""
    digits = digits.lstrip("0")
    return bytes([len(digits)]) + digits.encode()
