"""`./boathouse freeze …`: read-only mode; the proxy refuses pushes and deletes for a while."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from registryui import audit, write_freeze
from registryui.management.command import BY, BoathouseCommand, Options, add_act
from registryui.models import portal_actor


class Command(BoathouseCommand):
    help = "Read-only mode: the proxy answers pushes and deletes with 503; pulls continue."

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        on = add_act(acts, "on", "freeze writes, and wait until none is in flight")
        on.add_argument("--manifests", action="store_true", help="only manifests and tags")
        on.add_argument(
            "--minutes", type=int, default=120, help="end automatically after this time (120)"
        )
        on.add_argument(
            "--wait",
            type=int,
            default=300,
            metavar="SECONDS",
            help="how long to wait for writes in flight (300)",
        )
        add_act(acts, "off", "allow writes again")
        add_act(acts, "status", "what is frozen, by whom and until when")

    def handle(self, *args: Any, **options: Any) -> None:
        {"on": self._on, "off": self._off, "status": self._status}[options["act"]](options)

    def _on(self, options: Options) -> None:
        what: write_freeze.What = "manifests" if options["manifests"] else "writes"
        until = datetime.now(UTC) + timedelta(minutes=options["minutes"])
        one = write_freeze.on(what, by=BY, until=until)
        _note("hold.on", what, minutes=options["minutes"])
        others = _others()
        is_quiet = write_freeze.wait(what, seconds=options["wait"])
        lines = [f"{_what(one)} frozen until {_time(until)}, or ./boathouse freeze off."]
        if others:
            lines.append(f"On this host only. Run the same command on: {', '.join(others)}")
        self.say({**_facts(one), "quiet": is_quiet, "others": others}, *lines)
        if not is_quiet:
            raise CommandError(
                f"{write_freeze.in_flight(what)} writes are still in flight. "
                "Wait with ./boathouse freeze on, or give up with ./boathouse freeze off."
            )

    def _off(self, options: Options) -> None:
        count = write_freeze.off()
        if count:
            _note("hold.off", "writes")
        left = write_freeze.freezes()
        self.say(
            {"ended": count, "frozen": [_facts(one) for one in left]},
            "Writes are allowed again." if count else "No manual freeze was active.",
            *(
                f"{_what(one)} still frozen by {portal_actor(one.by)} until its work is done."
                for one in left
            ),
        )

    def _status(self, options: Options) -> None:
        found = [(one, write_freeze.in_flight(one.what)) for one in write_freeze.freezes()]
        lines = [
            f"{_what(one)} frozen by {portal_actor(one.by)} since {_time(one.since)} until "
            f"{_time(one.until)}; {count} in flight."
            for one, count in found
        ]
        facts = [{**_facts(one), "in_flight": count} for one, count in found]
        self.say({"frozen": facts}, *(lines or ["No freeze is active."]))


def _what(one: write_freeze.Freeze) -> str:
    return "Pushes and deletes are" if one.what == "writes" else "Manifest writes are"


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _facts(one: write_freeze.Freeze) -> dict[str, str]:
    times = {"since": one.since.isoformat(), "until": one.until.isoformat()}
    return {"what": one.what, "by": one.by, **times}


def _others() -> list[str]:
    try:
        return write_freeze.other_hosts()
    except DatabaseError:
        return []


def _note(act: str, target: str, **details: Any) -> None:
    """Works without the database, too: then nothing is recorded."""
    with contextlib.suppress(DatabaseError):
        audit.record(act, target, by=BY, details=details)
