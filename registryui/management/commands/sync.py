"""./boathouse sync: reads the registry, or its store, now."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui.index.sync import sync
from registryui.index.verify import verify
from registryui.models import Run
from registryui.registry.choose import open_source
from registryui.registry.errors import RegistryError


class Command(BaseCommand):
    help = "Reads the registry, or its store, now and updates the index."
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full",
            action="store_true",
            help="read everything again, even if it seems unchanged",
        )
        parser.add_argument(
            "--source",
            choices=("http", "store"),
            default="",
            help="ask the registry, or read its store (default: BOATHOUSE_SOURCE)",
        )
        parser.add_argument(
            "--verify",
            action="store_true",
            help="change nothing: list differences; exit status 1 if there are any",
        )
        parser.add_argument("--json", action="store_true", help="print the result for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            source = open_source(options["source"])
        except RegistryError as error:
            raise CommandError(str(error)) from error
        with source:
            if options["verify"]:
                self._verify(source, as_json=options["json"])
                return
            show = None if options["json"] or not sys.stderr.isatty() else self._show
            run = sync(source, by="command line", full=options["full"], progress=show)
        if run is None:
            raise CommandError("A sync is already in progress. Try again when it has finished.")
        if options["json"]:
            self.stdout.write(json.dumps({"state": run.state, **run.result}))
        else:
            self._tell(run)
        if run.state != Run.State.DONE:
            raise CommandError("The registry could not be read completely. Run ./boathouse doctor")

    def _verify(self, source: Any, *, as_json: bool) -> None:
        count = 0
        lines = []
        try:
            for line in verify(source):
                count += 1
                if as_json:
                    lines.append(line)
                else:
                    self.stdout.write(line)
        except RegistryError as error:
            raise CommandError(f"The registry could not be read completely: {error}") from error
        if as_json:
            self.stdout.write(json.dumps({"differences": lines}))
        else:
            self.stdout.write(
                f"{count} differences" if count else "The index matches the registry."
            )
        if count:
            sys.exit(1)

    def _show(self, run: Run) -> None:
        self.stderr.write(f"\r{run.done} of about {run.total} tags checked", ending="")

    def _tell(self, run: Run) -> None:
        counts = run.result
        for line in run.log.splitlines():
            self.stdout.write(line)
        self.stdout.write(
            f"{counts['repositories']} repositories, {counts['tags']} tags: "
            f"{counts['added']} added, {counts['moved']} changed, {counts['removed']} removed, "
            f"{counts['manifests']} manifests fetched, {counts['errors']} errors"
        )
