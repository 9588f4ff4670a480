"""`./boathouse mirror …`: other registries' content in a namespace of this one.

Ends with 0 if it is done, 1 with one sentence if it was refused or went wrong, 2 for words it does
not know. `check` ends with 1 if the upstream cannot be used.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError

from registryui.management import mirror_arguments, mirror_facts
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    Usage,
    given_password,
)
from registryui.mirrors import mirrors, presets, upstream
from registryui.mirrors.mirrors import Wanted
from registryui.models import Mirror
from registryui.refused import Refused

_FIELDS = ("user", "allow", "deny", "fresh_minutes", "keep_days", "ca", "proxy", "networks")
_RENAMED = {"keep_size": "keep_bytes", "library": "is_library", "open_port": "open_port"}


class Command(BoathouseCommand):
    help = (
        "Mirrors of other registries: `mirror add hub`, then `docker pull HOST/hub/library/nginx`. "
        "What was pulled once is stored here and can be pulled while the upstream is unavailable."
    )

    def add_arguments(self, parser: Any) -> None:
        mirror_arguments.add_to(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        _ACTS[options["act"]](self, options)


def _list(command: Command, options: Options) -> None:
    rows = list(Mirror.objects.all())
    command.say([mirror_facts.of(row) for row in rows], mirror_facts.table(rows))


def _show(command: Command, options: Options) -> None:
    row = _find(options)
    command.say(mirror_facts.of(row), mirror_facts.block(row))


def _add(command: Command, options: Options) -> None:
    url = options["url"]
    if not url or options["preset"]:
        name = options["preset"] or options["name"]
        found = presets.preset(name)
        if url:
            raise Usage("Enter a URL or --preset, not both.")
        if found is None or not found.url:
            known = ", ".join(one.name for one in presets.PRESETS if one.url)
            raise Usage(f"Enter the URL of the upstream: only {known} are known without one.")
        url = found.url
    row = mirrors.add(options["name"], _given(options, Wanted(url)), by=BY)
    _tell(command, row)


def _change(command: Command, options: Options) -> None:
    row = _find(options)
    before = mirrors.wanted(row)
    if options["url"]:
        before = replace(before, url=options["url"], may_be_plain=False)
    _tell(command, mirrors.change(row, _given(options, before), by=BY))


def _given(options: Options, before: Wanted) -> Wanted:
    """`before` with what the command line says otherwise."""
    given = {name: options[name] for name in _FIELDS}
    given |= {field: options[name] for name, field in _RENAMED.items()}
    if given["open_port"] == 0 and given["networks"] is None:
        given["networks"] = ""  # the networks go with the port
    changes = {name: one for name, one in given.items() if one is not None}
    if password := given_password(options):
        changes["password"] = password
    if options["insecure"]:
        changes["may_be_plain"] = True
    return replace(before, **changes)


def _enable(command: Command, options: Options) -> None:
    _tell(command, mirrors.set_active(_find(options), is_active=True, by=BY))


def _disable(command: Command, options: Options) -> None:
    _tell(command, mirrors.set_active(_find(options), is_active=False, by=BY))


def _pin(command: Command, options: Options) -> None:
    _tell(command, mirrors.pin(_find(options), options["what"], by=BY))


def _unpin(command: Command, options: Options) -> None:
    _tell(command, mirrors.unpin(_find(options), options["what"], by=BY))


def _remove(command: Command, options: Options) -> None:
    row = _find(options)
    content = mirrors.DELETE if options["delete_content"] else ""
    content = mirrors.KEEP if options["keep_content"] else content
    count = mirrors.tag_count(row)
    if count and not content:
        raise Usage(
            f"{row.name} has {count:,} tags: add --delete-content, or --keep-content "
            "to keep them as ordinary repositories."
        )
    does = {mirrors.DELETE: "deletes", mirrors.KEEP: "keeps"}.get(content, "has")
    command.confirm(
        [f"Remove the mirror {row.name}? This {does} {count} tags."], word="yes", options=options
    )
    deleted = mirrors.remove(row, by=BY, content=content)
    kept = count - deleted if content == mirrors.KEEP else 0
    command.say(
        {"removed": row.name, "tags_deleted": deleted, "tags_kept": kept},
        f"Removed {row.name}: {deleted} tags deleted, {kept} kept.",
    )


def _check(command: Command, options: Options) -> None:
    row = _find(options)
    found = upstream.check(row)
    command.say(mirror_facts.of_check(row, found), mirror_facts.check_lines(row, found))
    if not found.is_ok:
        raise CommandError(f"{row.url} cannot be used: {found.error}")


def _tags(command: Command, options: Options) -> None:
    row = _find(options)
    repository = options["repository"].removeprefix(f"{row.name}/")
    found = upstream.tags(row, repository)
    command.say({"repository": repository, "tags": found.tags, "is_cut": found.is_cut}, *found.tags)


def _find(options: Options) -> Mirror:
    row = mirrors.find(options["name"])
    if row is None:
        raise Refused(f"There is no mirror {options['name']}: ./boathouse mirror list shows all.")
    return row


def _tell(command: Command, row: Mirror) -> None:
    command.say({"mirror": mirror_facts.of(row)}, mirror_facts.block(row))


_ACTS: dict[str, Callable[[Command, Options], None]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "change": _change,
    "enable": _enable,
    "disable": _disable,
    "check": _check,
    "pin": _pin,
    "unpin": _unpin,
    "tags": _tags,
    "remove": _remove,
}
