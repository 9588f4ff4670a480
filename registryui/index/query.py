"""What a typed text asks for: the language of the search box and of `./boathouse search`.

    team/api tag:2.1 label:team=shop -platform:arm64 size>1GB pushed<90d

    text  = item { blank item }           all of them must be true
    item  = ["-"] ( word | qualifier )    "-" in front: must not be true
    word  = repository, tag, repository:tag, repository@digest, digest, or a part of one
    value = characters up to a blank; between quotation marks also blanks, with \\" and \\\\

Pure: no database, no clock, no settings. Any text gives a query or a QueryError, which says where
the text is wrong; both count characters of the text as it was given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from django.utils.translation import gettext as _

from registryui import formats
from registryui.oci import names
from registryui.oci.digest import is_digest

LONGEST = 1000  # characters of a query
MOST = 12  # items of a query
LAYER_DIGITS = 6  # of a layer's digest: fewer fit too many layers
LARGEST = 2**62  # bytes

STATES = ("multi-platform", "signed", "untagged", "broken", "protected", "immutable", "expiring")
WORD, REFERENCE = "word", "reference"  # the fields of items without a qualifier
# Each qualifier, and how it is used.
EXAMPLES = {
    "repo": "repo:team/api",
    "tag": "tag:2.1",
    "digest": "digest:4c1b77",
    "layer": "layer:4c1b77e0",
    "label": "label:team=shop",
    "env": "env:LANG=C.UTF-8",
    "cmd": "cmd:nginx",
    "base": "base:python:3.13",
    "platform": "platform:linux/arm64",
    "media": "media:helm",
    "by": "by:ci-team",
    "size": "size>1GB",
    "pushed": "pushed<90d",
    "pulled": "pulled:never",
    "expires": "expires<7d",
    "is": "is:signed",
}


@dataclass(frozen=True, slots=True)
class Term:
    """One item. What the parts hold depends on the field; see the functions that fill them."""

    field: str  # WORD, REFERENCE or one of EXAMPLES
    start: int  # its place in the text, with "-"
    end: int
    is_negated: bool = False
    value: str = ""  # of a label and a variable: the key; of a reference: the repository
    second: str | None = None  # the value of a label; the tag of a reference
    digest: str = ""  # the beginning of one, with its algorithm
    least: int | None = None  # bytes, both inclusive
    most: int | None = None
    since: datetime | None = None  # inclusive
    until: datetime | None = None  # exclusive


@dataclass(frozen=True, slots=True)
class Query:
    text: str  # as given, but for characters that cannot be kept
    terms: tuple[Term, ...] = ()

    def source(self, term: Term) -> str:
        """The item as it was typed."""
        return self.text[term.start : term.end]

    def without(self, term: Term) -> str:
        """The text without this item."""
        return " ".join((self.text[: term.start] + self.text[term.end :]).split(" ")).strip()

    @property
    def doubts(self) -> list[tuple[Term, str]]:
        """Items that may be meant otherwise: `lable:x` is read as a repository and a tag."""
        return [(term, near) for term in self.terms if (near := _near(term))]


class QueryError(ValueError):
    """The text is no query: a sentence in the active language, and the place in the text."""

    def __init__(self, reason: str, start: int, end: int) -> None:
        super().__init__(reason)
        self.reason, self.start, self.end = reason, start, end


def parse(text: str, *, now: datetime, registry: str = "") -> Query:
    """The query in `text`; QueryError if it is none. An empty text gives a query of no terms.

    registry: the name before repositories in references, and is left out.
    now: for ages; its time zone is the one of dates.
    """
    text = storable(text)
    if len(text) > LONGEST:
        reason = _("A search can be at most %(limit)s characters long.") % {"limit": LONGEST}
        raise QueryError(reason, LONGEST, len(text))
    terms: list[Term] = []
    begin, end = _pasted(text, registry) or (0, len(text))
    text, whole = text[:end], text
    place = _skip_blanks(text, begin)
    while place < len(text):
        term, place = _item(text, place, _Context(now, registry))
        place = _skip_blanks(text, place)
        if len(terms) == MOST:
            reason = _("A search can have at most %(limit)s conditions.") % {"limit": MOST}
            raise QueryError(reason, term.start, len(text))
        terms.append(term)
    return Query(whole, tuple(terms))


def storable(text: str) -> str:
    """The text with a sign for each character that no database keeps, as long as it was."""
    return _UNSTORABLE.sub("\ufffd", text)


def quote(value: str) -> str:
    """`value` so that it is read as one value, whatever is in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(text: str, *, registry: str = "") -> Term:
    """A whole text as one word or reference, blanks and all; never raises. For `docker search`."""
    text = _UNSTORABLE.sub("", text.strip())[:255]
    begin, end = _pasted(text, registry) or (0, len(text))
    text = text[begin:end]
    return _word(text, Term(WORD, 0, len(text)), registry)


# -- taking the text apart -----------------------------------------------------------------------

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# A line that was pasted: of a shell, or of a Dockerfile.
_LINE = re.compile(
    r"\s*(?:[$#]\s+)?(?:sudo\s+)?"
    r"(?:(?:docker|podman|nerdctl)\s+(?:image\s+|container\s+)?(?:pull|push|run|create)|FROM)\s"
)
# Options whose value is the next word.
_WITH_VALUE = re.compile(
    r"-[ehlmpuvw]|--(?:add-host|cpus|entrypoint|env|env-file|gpus|hostname|label|memory|mount|name|"
    r"net|network|platform|publish|restart|user|volume|workdir)"
)
_SCHEME = re.compile(r"(?:https?|docker|oci)://")
# Chinese keyboards give the wide forms.
_QUALIFIER = re.compile(r"([A-Za-z-]{2,16})([:：]?[<>＜＞]=?|[:：])")
_NARROW = str.maketrans("：＜＞", ":<>")


@dataclass(frozen=True, slots=True)
class _Context:
    now: datetime
    registry: str


def _pasted(text: str, registry: str) -> tuple[int, int] | None:
    """The place of the reference in a pasted line: the first word of this registry, else the first
    that is no option and no option's value. None: the text is no such line, or has no reference."""
    line = _LINE.match(text)
    if line is None:
        return None
    words = list(re.finditer(r"\S+", text[line.end() :]))
    others = [
        one
        for before, one in zip([None, *words], words, strict=False)
        if not one[0].startswith("-") and not (before and _WITH_VALUE.fullmatch(before[0]))
    ]
    ours = [one for one in others if registry and f"{registry}/" in one[0]]
    for found in (*ours, *others):
        return line.end() + found.start(), line.end() + found.end()
    return None


def _skip_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _item(text: str, start: int, context: _Context) -> tuple[Term, int]:
    """The item that begins at `start`, and the place behind it."""
    is_negated = text[start] == "-" and not (text[start + 1 : start + 2] or " ").isspace()
    begin = start + is_negated
    found = _QUALIFIER.match(text, begin)
    name = found[1].lower() if found else ""
    if found is None or name not in EXAMPLES:
        value, end = _value(text, begin)
        if not value:
            raise QueryError(_("There is nothing between the quotation marks."), start, end)
        term = Term(WORD, start, end, is_negated, value=value)
        return (term if text[begin] == '"' else _word(value, term, context.registry)), end
    value, end = _value(text, found.end())
    if not value:
        reason = _("“%(name)s” needs a value: %(example)s.")
        raise QueryError(reason % {"name": found[0], "example": EXAMPLES[name]}, start, end)
    item = _Item(
        Term(name, start, end, is_negated), found[2].translate(_NARROW), value, found.end(), context
    )
    return _READERS[name](item), end


def _value(text: str, place: int) -> tuple[str, int]:
    """The characters up to a blank outside quotation marks, and the place behind them."""
    value: list[str] = []
    opened = -1
    while place < len(text):
        character = text[place]
        if opened >= 0 and character == "\\" and text[place + 1 : place + 2] in ('"', "\\"):
            place += 1
            value.append(text[place])
        elif character == '"':
            opened = -1 if opened >= 0 else place
        elif opened < 0 and character.isspace():
            break
        else:
            value.append(character)
        place += 1
    if opened >= 0:
        raise QueryError(_("This quotation mark is not closed."), opened, len(text))
    return "".join(value), place


# -- words and references ------------------------------------------------------------------------

_ALGORITHMS = ("sha256:", "sha384:", "sha512:")
_HEX = re.compile(r"[0-9a-f]{7,128}")  # fewer digits are rather a word, such as "cafe" or "2024"
_HEX_OF_DIGEST = re.compile(r"[0-9a-f]{1,128}")


def _word(text: str, term: Term, registry: str) -> Term:
    """`api`, `team/api:2.1`, `:latest`, `sha256:4c1b`, `4c1b77e0`, `name@sha256:4c1b`."""
    text = _SCHEME.sub("", text, count=1) if _SCHEME.match(text) else text
    text = (text.removeprefix(f"{registry}/") if registry else text) or text
    repository, _at, digest = text.rpartition("@")
    algorithm = next((one for one in _ALGORITHMS if digest.startswith(one)), "")
    if algorithm and _HEX_OF_DIGEST.fullmatch(digest.lower(), len(algorithm)):
        repository = repository.partition(":")[0]
        return replace(term, field=REFERENCE, value=repository, digest=digest.lower())
    if _HEX.fullmatch(text.lower()):
        return replace(term, value=text, digest=f"sha256:{text.lower()}")
    repository, colon, tag = text.partition(":")
    if tag:
        return replace(term, field=REFERENCE, value=repository, second=tag)
    return replace(term, value=repository if colon and repository else text)


def _near(term: Term) -> str:
    """The qualifier that the repository of a reference looks like, "" if it does not."""
    if term.field != REFERENCE or not term.second or not term.value.isalpha():
        return ""
    found = difflib.get_close_matches(term.value.lower(), EXAMPLES, n=1, cutoff=0.74)
    return found[0] if found else ""


# -- qualifiers: one reader each ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Item:
    """A qualifier with its value."""

    term: Term
    operator: str  # ":", "<", ">=", ":<" …
    value: str
    at: int  # the place of the value in the text
    context: _Context

    def wrong(self, reason: str, *, is_complete: bool = False) -> QueryError:
        """The error that the value, or the whole item, is not what belongs there."""
        start = self.term.start if is_complete else self.at
        example = _("For example: %(example)s") % {"example": EXAMPLES[self.term.field]}
        return QueryError(f"{reason} {example}", start, self.term.end)


def _only_colon(item: _Item) -> None:
    if item.operator != ":":
        values = {"name": item.term.field, "operator": item.operator.lstrip(":")}
        reason = _("“%(name)s” does not support %(operator)s.") % values
        raise item.wrong(reason, is_complete=True)


def _text(item: _Item) -> Term:
    """value: any text."""
    _only_colon(item)
    return replace(item.term, value=item.value)


def _repository(item: _Item) -> Term:
    """value: a part of a name, without the registry in front."""
    _only_colon(item)
    registry = item.context.registry
    value = item.value.removeprefix(f"{registry}/") if registry else item.value
    return replace(item.term, value=value or item.value)


def _digest(item: _Item) -> Term:
    """digest: the beginning of one, with its algorithm."""
    _only_colon(item)
    value = item.value.lower()
    algorithm = next((one for one in _ALGORITHMS if value.startswith(one)), "")
    hexadecimal = value.removeprefix(algorithm)
    if _HEX_OF_DIGEST.fullmatch(hexadecimal) is None:
        raise item.wrong(_("A digest starts with hexadecimal digits: 0 to 9 and a to f."))
    if item.term.field == "layer" and len(hexadecimal) < LAYER_DIGITS:
        reason = _("At least %(count)s digits of a layer digest are required.")
        raise item.wrong(reason % {"count": LAYER_DIGITS})
    return replace(item.term, digest=f"{algorithm or 'sha256:'}{hexadecimal}")


def _pair(item: _Item) -> Term:
    """value: the key; second: the text behind "=", None without one."""
    _only_colon(item)
    key, equals, value = item.value.partition("=")
    if not key:
        raise item.wrong(_("The name before “=” is missing."))
    return replace(item.term, value=key, second=value if equals else None)


def _base(item: _Item) -> Term:
    """value: a whole repository name; second: its tag, or digest: its digest."""
    _only_colon(item)
    registry = item.context.registry
    text = item.value.removeprefix(f"{registry}/") if registry else item.value
    repository, at, digest = text.partition("@")
    repository, _colon, tag = repository.partition(":")
    try:
        names.check_repository(repository)
        if at:
            if not is_digest(digest):
                raise ValueError
            return replace(item.term, value=repository, digest=digest)
        return replace(item.term, value=repository, second=names.check_tag(tag))
    except ValueError:
        reason = _("A base image is a complete name: repository:tag or repository@digest.")
        raise item.wrong(reason) from None


_PLATFORM = re.compile(r"[a-z0-9._-]{1,64}(?:/[a-z0-9._-]{1,64}){0,2}")
_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}


def _platform(item: _Item) -> Term:
    """value: `os/architecture[/variant]`, or one of os and architecture alone."""
    _only_colon(item)
    value = item.value.lower()
    if _PLATFORM.fullmatch(value) is None:
        raise item.wrong(_("A platform is os/architecture, or either of the two."))
    return replace(item.term, value="/".join(_SAME.get(part, part) for part in value.split("/")))


def _state(item: _Item) -> Term:
    """value: one of STATES."""
    _only_colon(item)
    value = item.value.lower()
    if value not in STATES:
        choices = ", ".join(STATES)
        reason = _("“is:” accepts %(choices)s.") % {"choices": choices}
        raise QueryError(reason, item.at, item.term.end)
    return replace(item.term, value=value)


def _size(item: _Item) -> Term:
    """least, most: bytes. kB are 1000 as on the pages, KiB 1024."""
    operator = item.operator.lstrip(":")
    if not operator:
        raise item.wrong(_("Compare a size with >, >=, < or <=."), is_complete=True)
    found = formats.bytes_in(item.value)
    if found is None:
        raise item.wrong(
            _("A size is a number with a unit: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.")
        )
    amount = min(found, LARGEST)
    if operator.startswith(">"):
        return replace(item.term, least=amount + (operator == ">"))
    return replace(item.term, most=amount - (operator == "<"))


_AGE = re.compile(r"([0-9]{1,6})\s?([hdwy])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def _when(item: _Item) -> Term:
    """since, until: `<90d` is younger than 90 days, `>2026-01-31` after that day, `:` and a day on
    that day; value: "never" for what was not pulled."""
    operator, text = item.operator.lstrip(":"), item.value.lower()
    if item.term.field == "pulled" and text == "never" and not operator:
        return replace(item.term, value="never")
    age = _AGE.fullmatch(text)
    try:
        if age:
            when = item.context.now - timedelta(hours=int(age[1]) * _HOURS[age[2]])
            when = max(when, datetime(1970, 1, 2, tzinfo=UTC))  # before that a time means "unknown"
            if operator.startswith(">"):
                return replace(item.term, until=when)
            return replace(item.term, since=when)
        return _day(item, operator, date.fromisoformat(text))
    except (ValueError, OverflowError):
        raise item.wrong(_("A time is an age (h, d, w, y) or a date (2026-01-31).")) from None


def _expires(item: _Item) -> Term:
    """since, until: `<7d` is within the next 7 days or past, `>7d` later; dates as of `_when`."""
    operator, text = item.operator.lstrip(":"), item.value.lower()
    age = _AGE.fullmatch(text)
    if age is None:
        return _when(item)
    when = item.context.now + timedelta(hours=min(int(age[1]) * _HOURS[age[2]], _FARTHEST))
    if operator.startswith(">"):
        return replace(item.term, since=when)
    return replace(item.term, until=when)


_FARTHEST = 100 * _HOURS["y"]


def _day(item: _Item, operator: str, day: date) -> Term:
    if not 1970 <= day.year <= 9000:
        raise ValueError
    begin = datetime.combine(day, time(), item.context.now.tzinfo)
    end = datetime.combine(day + timedelta(days=1), time(), item.context.now.tzinfo)
    return {
        "": replace(item.term, since=begin, until=end),
        ">": replace(item.term, since=end),
        ">=": replace(item.term, since=begin),
        "<": replace(item.term, until=begin),
        "<=": replace(item.term, until=end),
    }[operator]


_READERS: dict[str, Callable[[_Item], Term]] = {
    "repo": _repository,
    "tag": _text,
    "digest": _digest,
    "layer": _digest,
    "label": _pair,
    "env": _pair,
    "cmd": _text,
    "base": _base,
    "platform": _platform,
    "media": _text,
    "by": _text,
    "size": _size,
    "pushed": _when,
    "pulled": _when,
    "expires": _expires,
    "is": _state,
}
