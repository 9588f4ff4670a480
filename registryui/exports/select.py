"""Which tags an export has: by patterns and a search, with what refers to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from registryui.chunks import chunks
from registryui.index import search
from registryui.models import Manifest, Tag
from registryui.refused import Refused

PAGE = 500
_PROBLEMS = {
    Tag.Problem.DANGLING: "the registry has no manifest for it",
    Tag.Problem.UNREADABLE: "its manifest cannot be read",
    Tag.Problem.INCOMPLETE: "a part that its manifest names is missing",
    Tag.Problem.BROKEN: "the integrity check found it damaged",
}


@dataclass(frozen=True, slots=True, order=True)
class Chosen:
    """A tag, or with tag "" a manifest that refers to one."""

    repository: str
    tag: str
    digest: str
    problem: str = ""  # why it cannot be exported


def select(patterns: Sequence[str], query: str) -> list[Chosen]:
    """The tags that one of the patterns means (none: all) and the search finds ("": all), sorted,
    and after them what refers to them. A pattern is a repository, or repository:tag, with *.
    Raises Refused, QueryError."""
    rows = _found(query) if query else _tags(Tag.objects.all())
    chosen = sorted(one for one in rows if _is_meant(one, patterns))
    if not chosen:
        raise Refused(_("No tag matches: ./boathouse list shows all repositories."))
    return [*chosen, *_referring(chosen)]


def one_tag(repository: str, tag: str) -> list[Chosen]:
    """That tag, and what refers to it. Refused: there is none."""
    chosen = list(_tags(Tag.objects.filter(repository__name=repository, name=tag)))
    if not chosen:
        raise Refused(_("There is no tag %(name)s in the index.") % {"name": f"{repository}:{tag}"})
    return [*chosen, *_referring(chosen)]


def _found(query: str) -> Iterator[Chosen]:
    items = search.conditions(search.parse(query))
    after, is_more = "", True
    while is_more:
        page = search.tags(items, after=after, size=PAGE)
        yield from _tags(Tag.objects.filter(pk__in=[row.pk for row in page.rows]))
        after, is_more = page.next, bool(page.next)


def _tags(rows: QuerySet[Tag]) -> Iterator[Chosen]:
    columns = ("repository__name", "name", "manifest__digest", "problem")
    for repository, name, digest, problem in rows.values_list(*columns).iterator():
        why = _PROBLEMS.get(problem, "") or ("" if digest else _PROBLEMS[Tag.Problem.DANGLING])
        yield Chosen(repository, name, digest or "", why)


def _is_meant(one: Chosen, patterns: Sequence[str]) -> bool:
    pairs = (pattern.partition(":") for pattern in patterns)
    return not patterns or any(
        fnmatchcase(one.repository, name) and (not colon or fnmatchcase(one.tag, tags))
        for name, colon, tags in pairs
    )


def _referring(chosen: list[Chosen]) -> list[Chosen]:
    """Signatures, attestations and the like of these, and of those in turn, sorted."""
    known = {(one.repository, one.tag or one.digest) for one in chosen}
    found: set[Chosen] = set()
    newest = {one for one in chosen if one.digest}
    while newest:
        every = {*_with_subject(newest), *_with_tag(newest)}
        newest = {one for one in every if (one.repository, one.tag or one.digest) not in known}
        known |= {(one.repository, one.tag or one.digest) for one in newest}
        found |= newest
    return sorted(found)


def _with_subject(subjects: set[Chosen]) -> Iterator[Chosen]:
    for some in chunks(sorted(subjects), PAGE):
        rows = Manifest.objects.filter(
            subject_digest__in={one.digest for one in some},
            repository__name__in={one.repository for one in some},
        )
        pairs = {(one.repository, one.digest) for one in some}
        columns = ("repository__name", "digest", "subject_digest")
        for repository, digest, subject in rows.values_list(*columns):
            if (repository, subject) in pairs:
                yield Chosen(repository, "", digest)


def _with_tag(subjects: set[Chosen]) -> Iterator[Chosen]:
    """Tags of cosign, and of the referrers fallback."""
    for some in chunks(sorted(subjects), PAGE):
        rows = Tag.objects.filter(
            refers_to__in={one.digest for one in some},
            repository__name__in={one.repository for one in some},
        )
        pairs = {(one.repository, one.digest) for one in some}
        ids = (
            pk
            for pk, repository, digest in rows.values_list("pk", "repository__name", "refers_to")
            if (repository, digest) in pairs
        )
        yield from _tags(Tag.objects.filter(pk__in=list(ids)))
