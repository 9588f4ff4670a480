"""Search: the query read back, what fits it and why, or where the text is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from registryui.index import search as index
from registryui.index.query import Query, QueryError, Term, storable
from registryui.models import Manifest, Role, Tag
from registryui.views.access import Request, require_role
from registryui.views.catalogue.tag_rows import kind_words
from registryui.views.form import one_of, read_or_default
from registryui.views.kept import keep
from registryui.views.live import wants_fragment
from registryui.views.plain_text import line, shown

from .help import help_lines
from .reasons import reasons

SIZE = 25  # tags a page
FEW = 6  # repositories and digests: the head of their list
SHOWN = 200  # characters of a wrong text


@dataclass(frozen=True, slots=True)
class Wrong:
    """A text that is no query, in three parts, and why the middle one is wrong."""

    before: str
    part: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chip:
    """An item as it was read, and the text without it."""

    name: str  # "any" for a word
    value: str
    is_negated: bool
    rest: str


@dataclass(frozen=True, slots=True)
class Sort:
    """A column to sort by. key: what a click asks for; is_descending: the order shown now."""

    label: str
    key: str
    is_current: bool
    is_descending: bool


@require_role(Role.VIEWER)
@keep()
def search(request: Request) -> HttpResponse:
    text = storable(request.GET.get("q", ""))
    sort = read_or_default(request.GET, sort=one_of(index.ORDERS, "newest"))["sort"]
    context: dict[str, Any] = {"text": text, "sort": sort, "help": help_lines()}
    try:
        query = index.parse(text)
    except QueryError as error:
        context["wrong"] = _wrong(text, error)
    else:
        context |= _found(query, sort, request.GET.get("after", ""))
    template = "_fragment" if wants_fragment(request) else "page"
    return render(request, f"search/{template}.html", context)


def _wrong(text: str, error: QueryError) -> Wrong:
    """The text about the wrong place; a long one is cut."""
    before, after = text[: error.start], text[error.end :]
    part = text[error.start : error.end]
    if len(before) > SHOWN:
        before = f"…{before[-SHOWN:]}"
    return Wrong(
        str(shown(before, SHOWN + 1)),
        str(shown(part, SHOWN)) or "␣",
        str(shown(after, SHOWN)),
        error.reason,
    )


def _found(query: Query, sort: str, after: str) -> dict[str, Any]:
    if not query.terms:
        return {}
    items = index.conditions(query)
    manifests = index.manifests(query, items, after=after, size=_manifest_count(query))
    tags: index.Found[Tag] = index.Found([])
    if not index.is_untagged(query):
        tags = index.tags(items, order=sort, after=after, size=SIZE)
    repositories = index.repositories(query, size=FEW)
    whys = reasons(query, tags.rows)
    return {
        "query": query,
        "chips": [_chip(query, term) for term in query.terms],
        "doubts": [(query.source(term), f"{near}:{term.second}") for term, near in query.doubts],
        "is_untagged": index.is_untagged(query),
        "manifests": manifests,
        "manifest_rows": [(one, _words(one)) for one in manifests.rows],
        "tags": tags,
        "tag_rows": [(tag, whys.get(tag.pk, [])) for tag in tags.rows],
        "repositories": repositories,
        "marks": _marks(query),
        "sorts": _sorts(sort),
        "counted": index.COUNTED,
        "few": FEW,
        "is_first": not after,
    }


def _manifest_count(query: Query) -> int:
    return SIZE if index.is_untagged(query) else FEW


def _chip(query: Query, term: Term) -> Chip:
    source = query.source(term)
    typed = source[1:] if term.is_negated else source
    rest = query.without(term)
    if term.field in ("word", "reference"):
        return Chip("", typed, term.is_negated, rest)
    return Chip(term.field, typed[len(term.field) :].lstrip(":："), term.is_negated, rest)


@dataclass(frozen=True, slots=True)
class Marks:
    """What is marked in the names of what was found."""

    repository: tuple[str, ...]
    tag: tuple[str, ...]
    digest: tuple[str, ...]


def _marks(query: Query) -> Marks:
    asked = [term for term in query.terms if not term.is_negated]
    words = [term.value for term in asked if term.field == "word"]
    of_repository = [term.value for term in asked if term.field in ("repo", "reference")]
    of_tag = [term.value for term in asked if term.field == "tag"]
    of_tag += [term.second for term in asked if term.field == "reference" and term.second]
    return Marks(
        repository=tuple(one for one in [*words, *of_repository] if one),
        tag=tuple(one for one in [*words, *of_tag] if one),
        digest=tuple(term.digest for term in asked if term.digest),
    )


def _sorts(sort: str) -> list[Sort]:
    """Each column with the order that a click gives: the other way round for the current one."""
    columns = (
        (_("Pushed"), "newest", "oldest"),
        (_("Size"), "largest", "smallest"),
        (_("Pulled"), "pulled", "unpulled"),
        (_("Tag"), "name", "reverse"),
    )
    return [
        Sort(
            label,
            key=other if sort == first else first,
            is_current=sort in (first, other),
            is_descending=index.ORDERS[sort].startswith("-"),
        )
        for label, first, other in columns
    ]


def _words(manifest: Manifest) -> str:
    """The platform of an image, else what it is."""
    if manifest.kind == Manifest.Kind.IMAGE_INDEX:
        return _("Image index")
    return line(manifest.platform, 60) or kind_words(manifest)
