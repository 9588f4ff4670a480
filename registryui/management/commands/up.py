"""`./boathouse up`: everything is set up, started and watched."""

import json
import os
import sys
from contextlib import suppress
from typing import Any

from django.db import DatabaseError

from registryui import space
from registryui.management.command import BoathouseCommand, Options
from registryui.refused import Refused
from registryui.setup import report
from registryui.setup import up as setup


class Command(BoathouseCommand):
    logs = True
    help = (
        "Sets up what is missing, starts registry, nginx, web and worker, and prints their address "
        "and how to push. Stays in the foreground until Ctrl-C."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--background", action="store_true", help="return when all is healthy; logs are in log/"
        )
        parser.add_argument(
            "--json", action="store_true", help="print the facts as one line of JSON on stdout"
        )
        parser.add_argument("--tell", type=int, default=-1, help="used by --background itself")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            code = self._up(options)
        except Refused as refusal:
            self._fail(str(refusal), options)
            code = 1
        except (OSError, DatabaseError) as error:
            if not (words := space.advice(error)):
                raise
            self._fail(words, options)
            code = 1
        except KeyboardInterrupt:
            self._fail(
                "Stopped before all processes ran; the next up continues from here.", options
            )
            code = 130
        sys.exit(code)

    def _up(self, options: Options) -> int:
        if options["background"]:
            facts, was_up = setup.up_in_background()
            self._ready(facts, was_up, options)
            return 0
        if options["tell"] >= 0:
            os.set_inheritable(options["tell"], False)  # not into the parts
        return setup.up(
            say=_say,
            lines=sys.stderr if options["json"] else sys.stdout,
            ready=lambda facts, was_up: self._ready(facts, was_up, options),
        )

    def _ready(self, facts: dict[str, Any], was_up: bool, options: Options) -> None:
        if options["tell"] >= 0:
            setup.tell(options["tell"], {"facts": facts, "was_up": was_up})
            print("All parts are healthy.", flush=True)  # the log gets no secret
        elif options["json"]:
            print(json.dumps(facts), flush=True)
        else:
            title = (
                "Boathouse was already up; nothing was changed." if was_up else "Boathouse is up."
            )
            print(report.block(facts, title=title), flush=True)

    def _fail(self, sentence: str, options: Options) -> None:
        if options["tell"] >= 0:
            setup.tell(options["tell"], {"error": sentence})
        if options["json"]:
            print(json.dumps({"error": sentence}), flush=True)
        else:
            _say(f"boathouse: {sentence}")


def _say(sentence: str) -> None:
    with suppress(OSError):  # the log may be on a full disk
        print(sentence, file=sys.stderr, flush=True)
