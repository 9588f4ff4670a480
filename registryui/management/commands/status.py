"""`./boathouse status`: is it running, and does each process respond?"""

import sys
from typing import Any

from django.conf import settings

from registryui.management.command import BoathouseCommand, add_json
from registryui.setup import health
from registryui.setup import up as setup


class Command(BoathouseCommand):
    help = (
        "Shows the address of Boathouse and whether each process responds; exit status 0 if all do."
    )

    def add_arguments(self, parser: Any) -> None:
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        instance = health.running()
        if instance is None:
            if health.is_starting():
                sentence = "Boathouse is starting."
            elif health.is_claimed():
                sentence = (
                    "Boathouse does not become ready: run ./boathouse down, then ./boathouse up."
                )
            else:
                sentence = f"Boathouse is not running ({settings.DATA})."
            self.say({"error": sentence}, sentence)
            sys.exit(3)
        facts = setup.facts_of(instance)
        self.say(facts, *_lines(facts))
        sys.exit(any(part["health"] != "ok" for part in facts["parts"].values()))


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"Boathouse is running: {facts['url']}", ""]
    lines += [
        f"  {name:<9} {part['health']:<5} process {part['pid'] or '-':<8} {part['note']}".rstrip()
        for name, part in facts["parts"].items()
    ]
    return lines
