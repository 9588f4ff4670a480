"""./boathouse search: the language of the search page, for people and for scripts.

Ends like grep: 0 something was found, 1 nothing was, 2 the query is wrong.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import humanize
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui.index import search
from registryui.index.conditions import Condition
from registryui.index.query import Query, QueryError
from registryui.management.user_facts import columns
from registryui.models import UNKNOWN, Manifest, Repository, Tag

LIMIT = 50
PAGE = 500
FOUND, NOTHING, WRONG = 0, 1, 2


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)
    help = (
        "Searches the index for tags, repositories and manifests, most recently pushed first. Words"
        " and conditions as on the search page: api label:team=shop size>1GB pushed<90d -tag:dev"
        " (docs/search.md). The exit status is 0 if something was found, 1 if not, 2 if the query"
        " is invalid. Quote it for the shell; write -- before a query that starts with -."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("query", nargs="+", help="one quoted text, or several parts")
        parser.add_argument("--json", action="store_true", help="print JSON for programs")
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
            raise CommandError(_marked(text, error), returncode=WRONG) from error
        if not query.terms:
            raise CommandError("The query is empty.", returncode=WRONG)
        found = _found(query, options["limit"])
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        else:
            self._print(found)
        if not (found["repositories"] or found["tags"] or found["manifests"]):
            raise SystemExit(NOTHING)

    def _print(self, found: dict[str, Any]) -> None:
        for kind in ("repositories", "manifests", "tags"):
            rows = [[_cell(item) for item in row.items()] for row in found[kind]]
            if rows:
                self.stdout.write(columns(rows))
        if found["more"]:
            self.stderr.write("There are more: --limit N prints N of them.")


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
        return humanize.naturalsize(value, format="%.1f")
    if column == "tags":
        return "1 tag" if value == 1 else f"{value} tags"
    if value is None:
        return "unknown"
    return "".join(one if one.isprintable() else "?" for one in str(value)) or "-"
