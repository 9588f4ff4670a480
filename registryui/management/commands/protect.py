"""`./boathouse protect …`: which tags nobody can delete, or move.

A protection is written REPOSITORIES:TAGS, both patterns: 'team/*:v* stable'. Ends with 0 if it is
done, 1 with one sentence if it was refused, 2 for words it does not know.
"""

from typing import Any

from registryui import formats
from registryui.deletion import protection
from registryui.management.command import BY, BoathouseCommand, Options, add_act
from registryui.models import Protection, actor_name
from registryui.refused import Refused


class Command(BoathouseCommand):
    help = (
        "Protects tags from being deleted by anyone or any policy until the protection is removed; "
        "immutable ones also from being changed to another image. WHAT is 'REPOSITORIES:TAGS', "
        "both patterns of complete names, * matches any text, several separated by spaces: "
        "'team/*:v* stable'."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        add_act(acts, "list", "list all, with the number of matching tags")
        add = add_act(acts, "add", "protect tags")
        add.add_argument("what", metavar="WHAT")
        add.add_argument(
            "--immutable",
            action="store_true",
            help="pushes may create matching tags, not move them; also for existing protections",
        )
        add.add_argument("--note", default="", help="reason, or for whom")
        lift = add_act(acts, "lift", "remove a protection")
        lift.add_argument("what", metavar="WHAT", help="as entered, or its number")

    def handle(self, *args: Any, **options: Any) -> None:
        lines, facts = _ACTS[options["act"]](options)
        self.say(facts, lines)


def _list(options: Options) -> tuple[str, Any]:
    facts = [_facts(row) for row in Protection.objects.all()]
    if not facts:
        return "No protected tags.", facts
    names = ("number", "repositories", "tags", "immutable", "tags_now", "by", "note")
    lines = [[formats.cell(fact[name]) for name in names] for fact in facts]
    head = ["NUMBER", "REPOSITORIES", "TAGS", "IMMUTABLE", "TAGS NOW", "BY", "NOTE"]
    return formats.columns([head, *lines]), facts


def _add(options: Options) -> tuple[str, Any]:
    repositories, _colon, tags = options["what"].partition(":")
    row = protection.add(
        repositories, tags, note=options["note"], by=BY, is_immutable=options["immutable"]
    )
    facts = _facts(row)
    word = "immutable" if row.is_immutable else "protected"
    return f"{row} is {word}: {facts['tags_now']} matching tags.", facts


def _lift(options: Options) -> tuple[str, Any]:
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
        found = rows.filter(**spelled).first()
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


_ACTS = {"list": _list, "add": _add, "lift": _lift}
