"""`./boathouse manage hosts`: the hosts over one database, and forgetting a removed one."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from registryui import hosts
from registryui.accounts import publish
from registryui.models import here
from registryui.refused import Refused


class Command(BaseCommand):
    help = "Lists the hosts that share one PostgreSQL, or forgets a host that no longer exists."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--forget", metavar="NAME", help="forget the host of that name")
        parser.add_argument("--json", action="store_true", help="print JSON for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forget"]:
            try:
                hosts.forget(options["forget"])
            except Refused as refusal:
                print(f"boathouse: {refusal}", file=sys.stderr)
                sys.exit(1)
        facts = [
            {
                "name": one.name,
                "here": one.id == here(),
                "seen_seconds_ago": round(one.ago.total_seconds()),
                "late": publish.count_late(one.id),
            }
            for one in hosts.all_hosts()
        ]
        if options["json"]:
            self.stdout.write(json.dumps(facts, indent=2))
        elif not facts:
            self.stdout.write("One host: the database is a file in the data folder.")
        for fact in [] if options["json"] else facts:
            late = f", {fact['late']} registry users not published yet" if fact["late"] else ""
            ours = " (this one)" if fact["here"] else ""
            self.stdout.write(f"{fact['name']}{ours}: seen {fact['seen_seconds_ago']} s ago{late}")
