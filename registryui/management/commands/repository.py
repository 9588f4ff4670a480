"""./boathouse repository: deletes a repository as a whole."""

from typing import Any

from registryui.deletion.execute import Selection
from registryui.management.deletion_command import DeletingCommand, add_options, read_reference


class Command(DeletingCommand):
    help = (
        "Deletes all tags of a repository except protected ones. Each can be restored for a time;"
        " garbage collection then removes the empty repository."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        delete = acts.add_parser("delete", help="delete all tags of a repository")
        delete.add_argument("name", metavar="NAME")
        add_options(delete)

    def handle(self, *args: Any, **options: Any) -> None:
        name = read_reference(options["name"]).repository
        self.delete([Selection(name, is_all=True)], ask=True, options=options)
