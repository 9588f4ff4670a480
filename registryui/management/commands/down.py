"""`./boathouse down`: ends what `up` started."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from registryui.setup import up as setup
from registryui.setup.data import Refused


class Command(BaseCommand):
    help = "Ends all parts of this data folder; nothing is lost."
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            was_up = setup.down()
        except Refused as refusal:
            print(f"boathouse: {refusal}", file=sys.stderr)
            sys.exit(1)
        print("Stopped Boathouse." if was_up else "Boathouse was not running.")
