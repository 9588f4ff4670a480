"""./boathouse integrity: is every tag complete?"""

import json
import sys
from typing import Any

import humanize
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui.index import runs
from registryui.integrity import check
from registryui.models import Run

BY = "command line"


class Command(BaseCommand):
    help = "Checks whether every tag is complete; the exit status is 1 if one is not."
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
            help="megabytes per second that --deep reads (50); 0: unlimited",
        )
        parser.add_argument(
            "--source",
            choices=("http", "store"),
            default="",
            help="ask the registry, or read its store (default: BOATHOUSE_SOURCE)",
        )
        parser.add_argument(
            "--stop", action="store_true", help="stop the check that is in progress"
        )
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
            raise CommandError("A check is already in progress. Try again when it has finished.")
        if options["json"]:
            self.stdout.write(json.dumps({"state": run.state, **run.result}))
        else:
            self._tell(run)
        if run.state == Run.State.FAILED:
            raise CommandError(
                run.result["problem"] or "Not everything could be checked: ./boathouse doctor"
            )
        if run.result["broken"]:
            sys.exit(1)

    def _stop(self) -> None:
        run = Run.objects.filter(kind=Run.Kind.INTEGRITY, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("No check is in progress.")
        runs.ask_to_stop(run, by=BY)
        self.stdout.write("It stops at the next safe point.")

    def _show(self, run: Run) -> None:
        read = f", {humanize.naturalsize(run.result['read_bytes'])} read" * run.result["deep"]
        self.stderr.write(f"\r{run.done} of about {run.total} tags checked{read}   ", ending="")

    def _tell(self, run: Run) -> None:
        found = run.result
        for line in run.log.splitlines():
            self.stdout.write(line)
        deep = f", {humanize.naturalsize(found['read_bytes'])} read" * found["deep"]
        self.stdout.write(
            f"{found['repositories']} repositories, {found['tags']} tags{deep} in "
            f"{found['seconds']:.1f} s: {found['broken'] or 'none'} incomplete, "
            f"{found['marked']} marked, {found['unmarked']} unmarked"
        )
        if run.state == Run.State.STOPPED:
            self.stdout.write(f"Stopped by {run.stop_asked_by}.")
