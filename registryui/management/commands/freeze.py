"""`./boathouse freeze …`: read-only mode; the proxy refuses pushes and deletes for a while."""

import contextlib
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from registryui import audit, write_freeze
from registryui.refused import Refused

BY = "command line"


class Command(BaseCommand):
    help = "Read-only mode: the proxy answers pushes and deletes with 503; pulls continue."

    requires_system_checks = []  # noqa: RUF012 (Django's own form); nothing here needs them

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        on = acts.add_parser("on", help="freeze writes, and wait until none is in flight")
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
        off = acts.add_parser("off", help="allow writes again")
        status = acts.add_parser("status", help="what is frozen, by whom and until when")
        for act in (on, off, status):
            act.add_argument("--json", action="store_true", help="print the same for programs")

    def run_from_argv(self, argv: list[str]) -> None:
        logging.disable(logging.CRITICAL)  # what the log would say is what is printed here
        super().run_from_argv(["./boathouse", *argv[1:]])

    def handle(self, *args: Any, **options: Any) -> None:
        act = {"on": self._on, "off": self._off, "status": self._status}[options["act"]]
        try:
            act(options)
        except (Refused, OSError) as error:
            raise CommandError(str(error)) from error

    def _on(self, options: dict[str, Any]) -> None:
        what: write_freeze.What = "manifests" if options["manifests"] else "writes"
        until = datetime.now(UTC) + timedelta(minutes=options["minutes"])
        one = write_freeze.on(what, by=BY, until=until)
        _note("hold.on", what, minutes=options["minutes"])
        others = _others()
        is_quiet = write_freeze.wait(what, seconds=options["wait"])
        if options["json"]:
            self.stdout.write(json.dumps({**_facts(one), "quiet": is_quiet, "others": others}))
        else:
            self.stdout.write(
                f"{_what(one)} frozen until {_time(until)}, or ./boathouse freeze off."
            )
            if others:
                self.stdout.write(
                    f"On this host only. Run the same command on: {', '.join(others)}"
                )
        if not is_quiet:
            raise CommandError(
                f"{write_freeze.in_flight(what)} writes are still in flight. "
                "Wait with ./boathouse freeze on, or give up with ./boathouse freeze off."
            )

    def _off(self, options: dict[str, Any]) -> None:
        count = write_freeze.off()
        if count:
            _note("hold.off", "writes")
        left = write_freeze.freezes()
        if options["json"]:
            self.stdout.write(json.dumps({"ended": count, "frozen": [_facts(one) for one in left]}))
            return
        self.stdout.write("Writes are allowed again." if count else "No manual freeze was active.")
        for one in left:
            self.stdout.write(f"{_what(one)} still frozen by {one.by} until its work is done.")

    def _status(self, options: dict[str, Any]) -> None:
        found = write_freeze.freezes()
        if options["json"]:
            facts = [
                {**_facts(one), "in_flight": write_freeze.in_flight(one.what)} for one in found
            ]
            self.stdout.write(json.dumps({"frozen": facts}))
            return
        for one in found:
            self.stdout.write(
                f"{_what(one)} frozen by {one.by} since {_time(one.since)} until "
                f"{_time(one.until)}; "
                f"{write_freeze.in_flight(one.what)} in flight."
            )
        if not found:
            self.stdout.write("No freeze is active.")


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
