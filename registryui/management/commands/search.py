"""./boathouse search: the language of the search page, for people and for scripts.

Ends like grep: 0 something was found, 1 nothing was, 2 the query is wrong.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from registryui import formats
from registryui.index import search
from registryui.index.conditions import Condition
from registryui.index.query import Query, QueryError
from registryui.management.command import BoathouseCommand, Usage, add_json
from registryui.models import UNKNOWN, Manifest, Repository, Tag

LIMIT = 50
PAGE = 500
NOTHING = 1


class Command(BoathouseCommand):
    help = (
        "Searches the index for tags, repositories and manifests, most recently pushed first. Words"
        " and conditions as on the search page: api label:team=shop size>1GB pushed<90d -tag:dev"
        " (docs/search.md). The exit status is 0 if something was found, 1 if not, 2 if the query"
        " is invalid. Quote it for the shell; write -- before a query that starts with -."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("query", nargs="+", help="one quoted text, or several parts")
        add_json(parser)
        parser.add_argument(
            "--limit",
            type=_limit,
            default=LIMIT,
            metavar="N",
            help=f"maximum number of tags and manifests ({LIMIT})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        text = " ".join(options["query"])
        try:
            query = search.parse(text)
        except QueryError as error:
            raise Usage(_marked(text, error)) from error
        if not query.terms:
            raise Usage("The query is empty.")
        found = _found(query, options["limit"])
        self.say(found, *_tables(found))
        if found["more"] and not self.as_json:
            self.stderr.write("There are more: --limit N prints N of them.")
        if not (found["repositories"] or found["tags"] or found["manifests"]):
            raise SystemExit(NOTHING)


def _tables(found: dict[str, Any]) -> Iterator[str]:
    for kind in ("repositories", "manifests", "tags"):
        if rows := [[_cell(item) for item in row.items()] for row in found[kind]]:
            yield formats.columns(rows)


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise ValueError(text)
    return number


def _marked(text: str, error: QueryError) -> str:
    """The reason, the text, and a line of ^ below what is wrong."""
    marks = "^" * max(error.end - error.start, 1)
    return f"{error.reason}\n  {text}\n  {' ' * error.start}{marks}"


def _found(query: Query, limit: int) -> dict[str, Any]:
    items = search.conditions(query)
    repositories = search.repositories(query, size=min(limit, PAGE))
    manifests = search.manifests(query, items, size=limit)
    tags: list[dict[str, Any]] = []
    more = bool(repositories.next or manifests.next)
    if not search.is_untagged(query):
        pages = _pages(items, limit)
        tags = [_tag(tag) for tag in pages]
        more |= len(tags) > limit
    return {
        "query": query.text,
        "repositories": [_repository(row) for row in repositories.rows],
        "manifests": [_manifest(row) for row in manifests.rows],
        "tags": tags[:limit],
        "more": more,
    }


def _pages(items: list[Condition], limit: int) -> Iterator[Tag]:
    """Up to one tag more than asked, walking on over all rows where that is needed."""
    after, left = "", limit + 1
    while left > 0:
        found = search.tags(items, after=after, size=min(left, PAGE))
        yield from found.rows
        left -= len(found.rows)
        if not found.next:
            return
        after = found.next


def _repository(row: Repository) -> dict[str, Any]:
    return {
        "repository": row.name,
        "tags": row.tag_count,
        "size": row.size,
        "pushed": _time(row.pushed_at),
    }


def _manifest(row: Manifest) -> dict[str, Any]:
    return {
        "repository": row.repository.name,
        "digest": row.digest,
        "kind": row.kind,
        "platform": row.platform,
        "size": row.size,
        "pushed": _time(row.pushed_at),
    }


def _tag(tag: Tag) -> dict[str, Any]:
    return {
        "reference": f"{tag.repository.name}:{tag.name}",
        "digest": tag.manifest.digest if tag.manifest else "",
        "size": tag.size,
        "pushed": _time(tag.tagged_at),
        "by": tag.tagged_by,
        "problem": tag.problem,
    }


def _time(when: datetime) -> str | None:
    return None if when == UNKNOWN else when.isoformat(timespec="seconds")


def _cell(item: tuple[str, Any]) -> str:
    column, value = item
    if column == "size":
        return formats.size(value)
    if column == "tags":
        return "1 tag" if value == 1 else f"{value} tags"
    return "unknown" if value is None else formats.cell(value)
