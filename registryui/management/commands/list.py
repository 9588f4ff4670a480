"""./boathouse list: what the index has, for people and for scripts."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from registryui import formats
from registryui.management.command import BoathouseCommand, add_json
from registryui.models import UNKNOWN, Manifest, Repository, Tag
from registryui.oci.digest import short


class Command(BoathouseCommand):
    help = "Lists the repositories in the index, or the tags of one, without asking the registry."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("repository", nargs="?", help="list the tags of this repository")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["repository"]
        rows = _tags(name) if name else _repositories()
        none = "No repositories yet. The first push creates one."
        self.say(rows, _table(rows) if rows else none)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    head = [column.upper() for column in rows[0]]
    return formats.columns([head, *([_cell(item) for item in row.items()] for row in rows)])


def _cell(item: tuple[str, Any]) -> str:
    column, value = item
    if value is None:
        return "unknown"
    if column == "size":
        return formats.size(value)
    return short(value) if column == "digest" else formats.cell(value)


def _repositories() -> list[dict[str, Any]]:
    return [
        {
            "repository": row.name,
            "tags": row.tag_count,
            "size": row.size,
            "newest": row.newest_tag,
            "pushed": _time(row.pushed_at),
        }
        for row in Repository.objects.order_by("name")
    ]


def _tags(name: str) -> list[dict[str, Any]]:
    if not Repository.objects.filter(name=name).exists():
        raise CommandError(
            f"There is no repository {name} in the index. ./boathouse list shows all of them; "
            "./boathouse sync reads the registry now."
        )
    tags = (
        Tag.objects.filter(repository__name=name)
        .select_related("manifest")
        .defer("manifest__raw", "manifest__config", "manifest__annotations")
        .order_by("-group_key", "-version_key")
    )
    platforms = _platforms(tag.manifest for tag in tags if tag.manifest)
    return [
        {
            "tag": tag.name,
            "digest": tag.manifest.digest if tag.manifest else "",
            "size": tag.size,
            "platforms": platforms.get(tag.manifest_id or 0, []),
            "pushed": _time(tag.tagged_at),
            "by": tag.tagged_by,
            "problem": tag.problem,
        }
        for tag in tags
    ]


def _platforms(manifests: Iterable[Manifest]) -> dict[int, list[str]]:
    """Platforms of each manifest by its id; those of an image index in its order."""
    found: dict[int, list[str]] = {}
    for manifest in (
        Manifest.objects.filter(pk__in={one.pk for one in manifests})
        .prefetch_related("entries")
        .defer("raw", "config")
    ):
        own = [manifest.platform] if manifest.platform else []
        children = [entry.platform for entry in manifest.entries.all()]
        found[manifest.pk] = own + [one for one in children if one and "unknown" not in one]
    return found


def _time(when: datetime) -> str | None:
    return None if when == UNKNOWN else when.isoformat(timespec="seconds")
