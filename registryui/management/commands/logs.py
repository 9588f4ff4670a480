"""`./boathouse logs`: what the parts print."""

import argparse
import re
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from registryui.management.command import BoathouseCommand, Usage, add_json
from registryui.refused import Refused
from registryui.setup import health, log_lines, parts, units

COUNT = 100  # lines without --since
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Command(BoathouseCommand):
    help = (
        "Shows the last lines of the log of the parts, or of one. Requests of clients are in "
        "log/access.json."
    )

    def add_arguments(self, parser: Any) -> None:
        names = (*parts.names(0), "up")
        parser.add_argument("part", nargs="?", metavar="PART", choices=names, help=", ".join(names))
        parser.add_argument("--follow", "-f", action="store_true", help="show new lines, too")
        parser.add_argument(
            "--since", type=since, metavar="WHEN", help="10m, 2h, 1d or 2026-01-31T03:00"
        )
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        part, begin = options["part"] or "", options["since"]
        if options["follow"] and self.as_json:
            raise Usage("--follow and --json do not fit together.")
        if health.running() is None and units.installed():
            start = f"{begin:%Y-%m-%d %H:%M:%S}" if begin else ""
            line = units.logs_line(part, follow=options["follow"], since=start)
            raise Refused(f"Systemd runs this instance: as root, type {line}")
        lines = log_lines.read(part, since=begin, count=0 if begin else COUNT)
        if not lines and not (settings.LOG_DIR / log_lines.NAME).exists():
            raise Refused(
                "There is no log: ./boathouse up prints it on its terminal. With --background it "
                f"is written to {settings.LOG_DIR / log_lines.NAME}."
            )
        self.say([asdict(one) | {"at": one.at.isoformat()} for one in lines], *map(str, lines))
        if options["follow"]:
            with suppress(KeyboardInterrupt):
                for new in log_lines.follow(part):
                    self.stdout.write(str(new))
                    self.stdout.flush()


def since(text: str) -> datetime:
    """`10m` ago, or a time, in BOATHOUSE_TIME_ZONE if it names no other."""
    try:
        if found := re.fullmatch(r"(\d{1,6})([smhd])", text):
            return timezone.now() - timedelta(**{_UNITS[found[2]]: int(found[1])})
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else timezone.make_aware(at)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"“{text}” is not a time: enter 10m, 2h, 1d or 2026-01-31T03:00"
        ) from error
