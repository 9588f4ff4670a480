"""`./boathouse down`: ends what `up` started."""

from typing import Any

from registryui.management.command import BoathouseCommand
from registryui.refused import Refused
from registryui.setup import health, units
from registryui.setup import up as setup


class Command(BoathouseCommand):
    help = "Stops all processes of this data folder; nothing is lost."

    def handle(self, *args: Any, **options: Any) -> None:
        if not health.is_claimed() and units.installed():
            line = f"systemctl stop {units.TARGET}"
            raise Refused(f"Systemd runs this instance: as root, type {line}")
        was_up = setup.down()
        self.stdout.write("Stopped Boathouse." if was_up else "Boathouse was not running.")
