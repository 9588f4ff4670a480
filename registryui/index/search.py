"""Answers a query from the index: tags, repositories, manifests. Reads only.

Two ways, because each alone is slow for half of all questions:

  rare     an item that few rows fit names them by its database index (letters by trigrams,
           statements by facts, layers by edges); only these are asked for the other items
  common   nothing is rare: the rows are walked in the order of the page, which is full soon;
           after WALK rows it stops and offers to go on

Both cost the same at a thousand tags and at a million. No text of a person becomes SQL or a
pattern: all are parameters, and LIKE's signs are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.conf import settings
from django.db import connection, models
from django.db.models import BooleanField, Case, ExpressionWrapper, Q, QuerySet, Value, When
from django.utils import timezone

from registryui.models import Manifest, Repository, Tag
from registryui.models.paging import page_of_few, walk

from . import query as language
from .conditions import Condition, condition, few, names_like
from .query import REFERENCE, WORD, Query, Term

RARE = 2000  # rows that are looked at one by one
WALK = 2000  # rows that one page walks over, if other tables are asked about each
FAR = 8000  # the same, if names and columns of the tags are all that is asked
PROBES = 2  # items that are tried as the rare one
FEW = 50  # repositories that are looked into instead of all
COUNTED = 1000  # more hits are "more than 1,000": nobody reads them, and counting takes time
# What sorts the tags; each column has a database index.
ORDERS = {
    "newest": "-tagged_at",
    "oldest": "tagged_at",
    "largest": "-size",
    "smallest": "size",
    "pulled": "-pulled_at",
    "unpulled": "pulled_at",
    "name": "name",
    "reverse": "-name",
}
_ON_REPOSITORIES = (WORD, REFERENCE, "repo")

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """A page of rows. count: None if nobody counted; above COUNTED it stands for "more"."""

    rows: list[Row]
    previous: str = ""
    next: str = ""
    count: int | None = 0
    walked: int = 0  # only so many rows were looked at, and `next` goes on from there; 0: all


def parse(text: str) -> Query:
    """The query in `text` as of now, for this registry; QueryError if it is none."""
    return language.parse(text, now=timezone.localtime(), registry=settings.REGISTRY_NAME)


def conditions(query: Query) -> list[Condition]:
    """Its items, ready to be asked; some cost a query."""
    return [condition(term) for term in query.terms]


def tags(
    items: Sequence[Condition], *, order: str = "newest", after: str = "", size: int = 25
) -> Found[Tag]:
    """Tags that match all items, without referrer tags. An invalid order is "newest"."""
    if not items:
        return Found([])
    keys = [ORDERS.get(order, "-tagged_at")]
    # What the order itself can skip is not walked over.
    leading = [one for one in items if _leads(one, keys[0].lstrip("-"))]
    every = Tag.objects.filter(*(one.within for one in leading))
    fitting = every.filter(refers_to="")
    others = [one for one in items if one not in leading]
    plain = Q(*(one.tag for one in others if one.is_plain))
    costly = Q(*(one.tag for one in others if not one.is_plain))
    fitting = fitting.filter(_first(plain, costly) if plain and costly else plain & costly)
    ids, only = _named_repositories(items)
    if ids is None:
        ids = _rare(items)
    if ids is not None:
        return _of_few(fitting, ids, keys, after=after, size=size)
    if only is not None:  # one large repository: its own indexes lead through it
        every = every.filter(repository=only, refers_to="")
        fitting = fitting.filter(repository=only)
    most = FAR if all(one.is_plain for one in items) else WALK
    return _of_several(fitting, every, keys, after=after, size=size, most=most)


def repositories(query: Query, *, size: int) -> Found[Repository]:
    """Those with all words in their name, the last pushed first; none if the query asks for
    anything that a repository does not have."""
    if not query.terms or any(not _is_on_repositories(term) for term in query.terms):
        return Found([])
    fitting = Repository.objects.described()
    for term in query.terms:
        named = Q(name__icontains=term.value)
        fitting = fitting.filter(~named if term.is_negated else named)
    order = ["-pushed_at"]
    for term in query.terms:
        like = names_like("repository", term.value, most=RARE + 1)
        if term.is_negated or like is None:
            continue
        ids = few(Repository.objects.filter(like), RARE)
        if ids is not None:
            return _of_few(fitting, ids, order, size=size)
    return _of_several(fitting, Repository.objects.all(), order, size=size, most=FAR)


def manifests(
    query: Query, items: Sequence[Condition], *, after: str = "", size: int = 25
) -> Found[Manifest]:
    """What has no tag, if the query asks for that, last seen first; else, for a digest, the
    manifests that have it, by digest."""
    fitting = Manifest.objects.filter(*(one.manifest for one in items))
    if is_untagged(query):
        every = Manifest.objects.filter(untagged_at__isnull=False)
        fitting = fitting.filter(untagged_at__isnull=False)
        return _of_several(fitting, every, ["-id"], after=after, size=size, most=WALK)
    asked = [term for term in query.terms if term.digest and not term.is_negated]
    if not asked or any(term.field not in (*_ON_REPOSITORIES, "digest") for term in query.terms):
        return Found([])
    # "g" sorts after every hex digit: a range is read from the index, LIKE is not.
    least = asked[0].digest
    fitting = _light(fitting.filter(digest__gte=least, digest__lt=f"{least}g"))
    rows = list(fitting.order_by("digest", "pk")[: size + 1])
    return Found(rows[:size], count=len(rows))


def is_untagged(query: Query) -> bool:
    """Whether the query asks for manifests without a tag."""
    return any(
        term.field == "is" and term.value == "untagged" and not term.is_negated
        for term in query.terms
    )


def rebuild() -> None:
    """Fills the trigrams of SQLite anew from the tables, for a load that went round the triggers.
    On PostgreSQL the indexes need nothing."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        for names in ("registryui_tag_names", "registryui_repository_names"):
            cursor.execute(f"INSERT INTO {names}({names}) VALUES('rebuild')")


# -- the two ways --------------------------------------------------------------------------------


def _first(plain: Q, costly: Q) -> Q:
    """Both, and the costly one is asked only of rows that the plain one fits: a database may ask
    it first, because it needs no join."""
    then = ExpressionWrapper(costly, output_field=BooleanField())
    both = Case(When(plain, then=then), default=Value(False), output_field=BooleanField())
    return Q(both)


def _leads(one: Condition, column: str) -> bool:
    """Whether a database index for rows in the order of that column begins with what is asked."""
    columns = ("tagged_at", "tagged_by") if column == "tagged_at" else (column,)
    return one.column in columns and not one.term.is_negated


def _rare(items: Sequence[Condition]) -> list[int] | None:
    """The ids of all tags that may fit, by the first item that is rare; None if none is."""
    asked = [one for one in items if one.probe is not None and not one.term.is_negated]
    for one in sorted(asked, key=lambda one: one.rank)[:PROBES]:
        ids = one.probe(RARE) if one.probe else None
        if ids is not None:
            return ids
    return None


def _named_repositories(items: Sequence[Condition]) -> tuple[list[int] | None, int | None]:
    """For a query that names repositories: the ids of all their tags if these are few, or the one
    large repository; (None, None) if it names none or too many."""
    named = [
        one.term.value
        for one in items
        if one.term.value and not one.term.is_negated and _is_repository(one.term)
    ]
    if not named:
        return None, None
    found = Repository.objects.filter(*(Q(name__icontains=value) for value in named))
    like = names_like("repository", max(named, key=len), most=RARE + 1)
    if like is not None:
        ids = few(Repository.objects.filter(like), RARE)
        if ids is None:
            return None, None
        found = found.filter(pk__in=ids)
    rows = list(found.order_by().values_list("pk", "tag_count")[: FEW + 1])
    if len(rows) > FEW or sum(count for _pk, count in rows) > RARE:
        return None, rows[0][0] if len(rows) == 1 else None
    inside = Tag.objects.filter(repository__in=[pk for pk, _count in rows], refers_to="")
    return few(inside, RARE), None


def _is_repository(term: Term) -> bool:
    """Whether the value is in the name of the repository; a tag has no slash."""
    return term.field in (REFERENCE, "repo") or (term.field == WORD and "/" in term.value)


def _of_few(
    fitting: QuerySet[Row],
    ids: Sequence[int],
    order: Sequence[str],
    *,
    after: str = "",
    size: int,
) -> Found[Row]:
    """A page of those of the rows that fit; all of them are counted."""
    found, count = page_of_few(_light(fitting), ids, order, after=after, size=size)
    return Found(found.rows, found.previous, found.next, count)


def _of_several(
    fitting: QuerySet[Row],
    every: QuerySet[Row],
    order: Sequence[str],
    *,
    after: str = "",
    size: int,
    most: int,
) -> Found[Row]:
    """A page of what is found on a walk; counted only where it is seen whole."""
    found = walk(_light(fitting), every, order, after=after, size=size, most=most)
    is_complete = not (found.previous or found.next)
    count = len(found.rows) if is_complete else None
    return Found(found.rows, found.previous, found.next, count, most if found.is_stopped else 0)


def _light(queryset: QuerySet[Row]) -> QuerySet[Row]:
    """With what a row of the page shows, without the heavy columns."""
    if queryset.model is Tag:
        return queryset.select_related("repository", "manifest").defer(
            "manifest__raw", "manifest__config", "manifest__annotations"
        )
    if queryset.model is Manifest:
        return queryset.select_related("repository").defer("raw", "config", "annotations")
    return queryset


def _is_on_repositories(term: Term) -> bool:
    return term.field in _ON_REPOSITORIES and term.second is None and bool(term.value)
