"""./boathouse repository: describes a repository, or deletes it as a whole."""

import sys
from pathlib import Path
from typing import Any

from registryui import descriptions, formats
from registryui.deletion.execute import Selection
from registryui.management.command import BY, Options, Usage, add_act, from_caller
from registryui.management.deletion_command import DeletingCommand, add_options, read_reference
from registryui.models import Repository, actor_name
from registryui.refused import Refused

DESCRIBE = "show or write the description and the README, which pages show"


class Command(DeletingCommand):
    help = (
        "Describes a repository; or deletes all its tags except protected ones. Each can be "
        "restored for a time; garbage collection then removes the empty repository."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        delete = acts.add_parser("delete", help="delete all tags of a repository")
        delete.add_argument("name", metavar="NAME")
        add_options(delete)
        describe = add_act(acts, "describe", DESCRIBE)
        describe.add_argument("name", metavar="NAME")
        describe.add_argument("--text", help="the description: one line, at most 500 characters")
        describe.add_argument(
            "--readme", metavar="FILE", help="the README, in Markdown; - reads it"
        )
        describe.add_argument("--clear", action="store_true", help="remove both")

    def handle(self, *args: Any, **options: Any) -> None:
        name = read_reference(options["name"]).repository
        if options["act"] == "describe":
            self._describe(name, options)
        else:
            self.delete([Selection(name, is_all=True)], ask=True, options=options)

    def _describe(self, name: str, options: Options) -> None:
        text, readme = options["text"], options["readme"]
        if options["clear"]:
            if text is not None or readme is not None:
                raise Usage("--clear removes both: it goes with neither --text nor --readme.")
            descriptions.describe(name, by=BY, text="", readme="")
            self.say(_facts(name), f"Removed the description and the README of {name}.")
        elif text is not None or readme is not None:
            read = None if readme is None else _read(readme)
            descriptions.describe(name, by=BY, text=text, readme=read)
            self.say(_facts(name), f"Saved the description of {name}.")
        else:
            facts = _facts(name)
            self.say(facts, *_lines(facts))


def _read(file: str) -> str:
    """The README in that file, "-" for the input. Refused: it is no text."""
    limit = descriptions.README_LIMIT * 4 + 4  # bytes, of UTF-8
    if file == "-":
        content = sys.stdin.buffer.read(limit)
    else:
        with Path(from_caller(file)).open("rb") as opened:
            content = opened.read(limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is not text in UTF-8: save it as UTF-8 first.") from error


def _facts(name: str) -> dict[str, Any]:
    row = Repository.objects.filter(name=name).first()
    if row is None:
        raise Refused(f"There is no repository {name}: ./boathouse list shows all.")
    written, said = descriptions.of(name), descriptions.from_image(row)
    return {
        "repository": name,
        "description": written.text,
        "readme": written.readme,
        "changed_at": written.changed_at.isoformat(timespec="seconds") if written.pk else None,
        "changed_by": actor_name(written.changed_by),
        "from_image": {
            "tag": said.tag,
            "description": said.text,
            **{
                key: link.address if link else ""
                for key, link in (("documentation", said.documentation), ("source", said.source))
            },
        },
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    said = facts["from_image"]
    size = len(facts["readme"])
    lines = [
        ["Description", formats.cell(facts["description"])],
        ["README", f"{size} characters, which --json prints" if size else "-"],
    ]
    if facts["changed_at"]:
        lines.append(["Changed", f"{facts['changed_at']} by {formats.cell(facts['changed_by'])}"])
    for key in ("description", "documentation", "source"):
        if said[key]:
            lines.append([f"{key.capitalize()}, from {said['tag']}", formats.cell(said[key])])
    return [formats.columns(lines)]
