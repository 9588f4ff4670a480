"""`./boathouse protect …`: which tags nobody can delete, or move.

A protection is written REPOSITORIES:TAGS, both patterns: 'team/*:v* stable'. Ends with 0 if it is
done, 1 with one sentence if it was refused, 2 for words it does not know.
"""

import json
import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from registryui.deletion import protection
from registryui.management.user_facts import columns
from registryui.models import Protection, actor_name
from registryui.refused import Refused

BY = "command line"


class Command(BaseCommand):
    help = (
        "Protects tags from being deleted by anyone or any policy until the protection is removed; "
        "immutable ones also from being changed to another image. WHAT is 'REPOSITORIES:TAGS', "
        "both patterns of whole names, * matches any text, several separated by spaces: "
        "'team/*:v* stable'."
    )
    requires_system_checks = []  # noqa: RUF012 (Django's own form); nothing here needs them

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        listed = acts.add_parser("list", help="list all, with the number of matching tags")
        add = acts.add_parser("add", help="protect tags")
        add.add_argument("what", metavar="WHAT")
        add.add_argument(
            "--immutable",
            action="store_true",
            help="a push can create tags, but not change them to another digest",
        )
        add.add_argument("--note", default="", help="reason, or for whom")
        lift = acts.add_parser("lift", help="remove a protection")
        lift.add_argument("what", metavar="WHAT", help="as entered, or its number")
        for one in (listed, add, lift):
            one.add_argument("--json", action="store_true", help="print the same for programs")

    def run_from_argv(self, argv: list[str]) -> None:
        logging.disable(logging.CRITICAL)  # what the log would say is what is printed here
        super().run_from_argv(["./boathouse", *argv[1:]])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lines, facts = _ACTS[options["act"]](options)
        except Refused as error:
            if options["json"]:
                self.stdout.write(json.dumps({"error": str(error)}))
            self.stderr.write(f"boathouse: {error}")
            sys.exit(1)
        self.stdout.write(json.dumps(facts, indent=2) if options["json"] else lines)


def _list(options: dict[str, Any]) -> tuple[str, Any]:
    facts = [_facts(row) for row in Protection.objects.all()]
    if not facts:
        return "No protected tags.", facts
    names = ("number", "repositories", "tags", "immutable", "tags_now", "by", "note")
    lines = [[_cell(fact[name]) for name in names] for fact in facts]
    head = ["NUMBER", "REPOSITORIES", "TAGS", "IMMUTABLE", "TAGS NOW", "BY", "NOTE"]
    return columns([head, *lines]), facts


def _add(options: dict[str, Any]) -> tuple[str, Any]:
    repositories, _colon, tags = options["what"].partition(":")
    row = protection.add(
        repositories, tags, note=options["note"], by=BY, is_immutable=options["immutable"]
    )
    facts = _facts(row)
    word = "immutable" if row.is_immutable else "protected"
    return f"{row} is {word}: {facts['tags_now']} matching tags.", facts


def _lift(options: dict[str, Any]) -> tuple[str, Any]:
    row = _find(options["what"])
    facts = _facts(row)
    protection.lift(row, by=BY)
    return f"Removed the protection of {row}.", facts


def _find(text: str) -> Protection:
    rows = Protection.objects.all()
    if text.isascii() and text.isdigit() and len(text) < 19:
        found = rows.filter(pk=int(text)).first()
    else:
        repositories, _colon, tags = (part.replace(",", " ") for part in text.partition(":"))
        spelled = {"repositories": " ".join(repositories.split()), "tags": " ".join(tags.split())}
        named = rows.filter(**spelled)
        if len(named) > 1:  # once to protect it, once as immutable
            numbers = " and ".join(str(row.pk) for row in named)
            raise Refused(f"Two protections match {text}: choose one by its number, {numbers}.")
        found = named.first()
    if found is None:
        raise Refused(f"There is no protection {text}: ./boathouse protect list shows all.")
    return found


def _facts(row: Protection) -> dict[str, Any]:
    return {
        "number": row.pk,
        "repositories": row.repositories,
        "tags": row.tags,
        "immutable": row.is_immutable,
        "tags_now": protection.count(row),
        "note": row.note,
        "by": actor_name(row.by),
        "at": row.at.isoformat(timespec="seconds"),
    }


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(one if one.isprintable() else "?" for one in str(value)) or "-"


_ACTS = {"list": _list, "add": _add, "lift": _lift}
