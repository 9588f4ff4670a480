"""./boathouse sync: reads the registry now."""

import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui.index.sync import sync
from registryui.models import Run
from registryui.registry.client import RegistryClient


class Command(BaseCommand):
    help = "Reads the registry now and makes the index equal to it."
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full", action="store_true", help="fetch tags again even if their digest is known"
        )
        parser.add_argument("--json", action="store_true", help="print the result for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        show = None if options["json"] or not sys.stderr.isatty() else self._show
        with RegistryClient(settings.REGISTRY_URL) as source:
            run = sync(source, by="command line", full=options["full"], progress=show)
        if run is None:
            raise CommandError("A sync is under way already. Try again when it has ended.")
        if options["json"]:
            self.stdout.write(json.dumps({"state": run.state, **run.result}))
        else:
            self._tell(run)
        if run.state != Run.State.DONE:
            raise CommandError("The registry could not be read to its end. Ask: ./boathouse doctor")

    def _show(self, run: Run) -> None:
        self.stderr.write(f"\r{run.done} of {run.total} tags looked at", ending="")

    def _tell(self, run: Run) -> None:
        counts = run.result
        for line in run.log.splitlines():
            self.stdout.write(line)
        self.stdout.write(
            f"{counts['repositories']} repositories, {counts['tags']} tags: "
            f"{counts['added']} added, {counts['moved']} moved, {counts['removed']} removed, "
            f"{counts['manifests']} manifests fetched, {counts['errors']} errors"
        )
