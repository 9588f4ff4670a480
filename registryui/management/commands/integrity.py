"""./boathouse integrity: is every tag whole?"""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from registryui import formats, runs
from registryui.integrity import check
from registryui.management.command import BY, BoathouseCommand, add_json
from registryui.models import Run


class Command(BoathouseCommand):
    logs = True
    help = "Looks whether every tag can be pulled in full; ends with 1 if one cannot."

    def add_arguments(self, parser: Any) -> None:
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
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["stop"]:
            self._stop()
            return
        run = check.check(
            by=BY,
            deep=options["deep"],
            limit=max(options["limit"], 0) * 1_000_000,
            source=options["source"],
            progress=self.progress(_checked),
        )
        if run is None:
            raise CommandError("A run is under way already. Try again when it has ended.")
        self.say({"state": run.state, **run.result}, *run.log.splitlines(), *_counted(run))
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
        self.say({"stopping": run.pk}, "It ends at its next safe place.")


def _checked(run: Run) -> str:
    return f"{run.done} of about {run.total} tags looked at{_read(check.Result.of(run))}"


def _read(found: check.Result) -> str:
    return f", {formats.size(found.read_bytes)} read" * found.deep


def _counted(run: Run) -> Iterator[str]:
    found = check.Result.of(run)
    yield (
        f"{found.repositories} repositories, {found.tags} tags{_read(check.Result.of(run))} in "
        f"{found.seconds:.1f} s: {found.broken or 'none'} broken, "
        f"{found.marked} marked, {found.unmarked} unmarked"
    )
