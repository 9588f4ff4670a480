"""./boathouse integrity: is every tag whole?"""

import json
import sys
from typing import Any

import humanize
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui import runs
from registryui.integrity import check
from registryui.models import Run

BY = "command line"


class Command(BaseCommand):
    help = "Looks whether every tag can be pulled in full; ends with 1 if one cannot."
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--deep", action="store_true", help="also read every blob and compute its digest"
        )
        parser.add_argument(
            "--limit",
            type=int,
            default=50,
            metavar="MB",
            help="megabytes a second that --deep reads (50); 0: as fast as it goes",
        )
        parser.add_argument(
            "--source",
            choices=("http", "store"),
            default="",
            help="ask the registry, or read its store; else as BOATHOUSE_SOURCE says",
        )
        parser.add_argument("--stop", action="store_true", help="ask the run under way to end")
        parser.add_argument("--json", action="store_true", help="print the result for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["stop"]:
            self._stop()
            return
        run = check.check(
            by=BY,
            deep=options["deep"],
            limit=max(options["limit"], 0) * 1_000_000,
            source=options["source"],
            progress=None if options["json"] or not sys.stderr.isatty() else self._show,
        )
        if run is None:
            raise CommandError("A run is under way already. Try again when it has ended.")
        if options["json"]:
            self.stdout.write(json.dumps({"state": run.state, **run.result}))
        else:
            self._tell(run)
        if run.state == Run.State.FAILED:
            raise CommandError(
                check.Result.of(run).problem
                or "Not everything could be looked at: ./boathouse doctor"
            )
        if check.Result.of(run).broken:
            sys.exit(1)

    def _stop(self) -> None:
        run = Run.objects.filter(kind=Run.Kind.INTEGRITY, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("Nothing is being looked at.")
        runs.ask_to_stop(run, by=BY)
        self.stdout.write("It ends at its next safe place.")

    def _show(self, run: Run) -> None:
        self.stderr.write(
            f"\r{run.done} of about {run.total} tags looked at{_read(check.Result.of(run))}   ",
            ending="",
        )

    def _tell(self, run: Run) -> None:
        found = check.Result.of(run)
        for line in run.log.splitlines():
            self.stdout.write(line)
        self.stdout.write(
            f"{found.repositories} repositories, {found.tags} tags{_read(found)} in "
            f"{found.seconds:.1f} s: {found.broken or 'none'} broken, "
            f"{found.marked} marked, {found.unmarked} unmarked"
        )


def _read(found: check.Result) -> str:
    return f", {humanize.naturalsize(found.read_bytes)} read" * found.deep
