"""`./boathouse status`: is it running, and does each process respond?"""

import sys
from typing import Any

from django.conf import settings

from registryui.management.command import BoathouseCommand, add_json
from registryui.setup import health, units
from registryui.setup import up as setup


class Command(BoathouseCommand):
    help = (
        "Shows the address of Boathouse and whether each process responds; exit status 0 if all "
        "do, 1 if one does not, 3 if Boathouse is not running."
    )

    def add_arguments(self, parser: Any) -> None:
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        instance = health.running()
        if instance is None and units.installed() and not health.is_claimed():
            instance = health.this_instance({"registry": settings.REGISTRY_PORT})
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
        down = [name for name, part in facts["parts"].items() if part["health"] != "ok"]
        facts["state"] = "degraded" if down else "ok"
        self.say(facts, *_lines(facts, down))
        sys.exit(bool(down))


def _lines(facts: dict[str, Any], down: list[str]) -> list[str]:
    state = f"degraded, {', '.join(down)} down" if down else "running"
    lines = [f"Boathouse is {state}: {facts['url']}", ""]
    lines += [
        f"  {name:<9} {part['health']:<5} process {part['pid'] or '-':<8} {part['note']}".rstrip()
        for name, part in facts["parts"].items()
    ]
    parts = [name for name in down if name != "database"]
    if parts and units.installed():
        lines += ["", *(f"As root: {units.restart_line(name)}" for name in parts)]
    elif parts:
        lines += ["", *(f"Try ./boathouse restart {name}" for name in parts)]
    return lines
