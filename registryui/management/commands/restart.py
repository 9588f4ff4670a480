"""`./boathouse restart`: new processes for parts that run; what is under way goes on."""

from typing import Any

from registryui.management.command import BoathouseCommand, add_json
from registryui.setup import parts, restarting


class Command(BoathouseCommand):
    help = (
        "Replaces the process of a part, or of all, by a new one. Pulls and pushes in progress "
        "continue. Settings stay as they were at the start: for new ones, ./boathouse down, then "
        "./boathouse up."
    )

    def add_arguments(self, parser: Any) -> None:
        names = parts.names(0)
        parser.add_argument("part", nargs="?", metavar="PART", choices=names, help=", ".join(names))
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        restarted, seconds = restarting.restart(options["part"] or "")
        what = options["part"] or "all parts"
        self.say(
            {"restarted": restarted, "seconds": round(seconds, 2)},
            f"Restarted {what} in {seconds:.1f} s.",
        )
