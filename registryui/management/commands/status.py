"""`./boathouse status`: is it running, and does each process respond?"""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from registryui.setup import health
from registryui.setup import up as setup


class Command(BaseCommand):
    help = (
        "Shows the address of Boathouse and whether each process responds; exit status 0 if all do."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the same facts as JSON")

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
            print(json.dumps({"error": sentence}) if options["json"] else sentence)
            sys.exit(3)
        facts = setup.facts_of(instance)
        print(json.dumps(facts) if options["json"] else _lines(facts))
        sys.exit(any(part["health"] != "ok" for part in facts["parts"].values()))


def _lines(facts: dict[str, Any]) -> str:
    lines = [f"Boathouse is running: {facts['url']}", ""]
    lines += [
        f"  {name:<9} {part['health']:<5} process {part['pid'] or '-':<8} {part['note']}".rstrip()
        for name, part in facts["parts"].items()
    ]
    return "\n".join(lines)
