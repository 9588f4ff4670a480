"""`./boathouse manage hosts`: the hosts over one database, and forgetting a removed one."""

from typing import Any

from registryui import hosts
from registryui.accounts import publish
from registryui.management.command import BoathouseCommand, add_json
from registryui.models import here


class Command(BoathouseCommand):
    help = "Lists the hosts that share one PostgreSQL, or forgets a host that no longer exists."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--forget", metavar="NAME", help="forget the host of that name")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forget"]:
            hosts.forget(options["forget"])
        facts = [
            {
                "name": one.name,
                "here": one.id == here(),
                "seen_seconds_ago": round(one.ago.total_seconds()),
                "late": publish.count_late(one.id),
            }
            for one in hosts.all_hosts()
        ]
        one_host = ["One host: the database is a file in the data folder."]
        self.say(facts, *(map(_line, facts) if facts else one_host))


def _line(fact: dict[str, Any]) -> str:
    late = f", {fact['late']} registry users not published yet" if fact["late"] else ""
    ours = " (this one)" if fact["here"] else ""
    return f"{fact['name']}{ours}: seen {fact['seen_seconds_ago']} s ago{late}"
