"""./boathouse integrity: is every tag complete?"""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from registryui import formats, runs
from registryui.integrity import check
from registryui.management.command import BY, BoathouseCommand, add_json, add_source
from registryui.models import Run
from registryui.registry.choose import choose
from registryui.registry.responding import require_answer


class Command(BoathouseCommand):
    help = "Checks whether every tag is complete; the exit status is 1 if one is not."

    def add_arguments(self, parser: Any) -> None:
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
        add_source(parser)
        parser.add_argument(
            "--stop", action="store_true", help="stop the check that is in progress"
        )
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["stop"]:
            self._stop()
            return
        if choose(options["source"]).kind == "http":
            require_answer()
        run = check.check(
            by=BY,
            deep=options["deep"],
            limit=max(options["limit"], 0) * 1_000_000,
            source=options["source"],
            progress=self.progress(_checked),
        )
        if run is None:
            raise CommandError("A check is already in progress. Try again when it has finished.")
        self.say({"state": run.state, **run.result}, *run.log.splitlines(), *_counted(run))
        if run.state == Run.State.FAILED:
            raise CommandError(
                check.Result.of(run).problem
                or "Not everything could be checked: ./boathouse doctor"
            )
        if check.Result.of(run).broken:
            sys.exit(1)

    def _stop(self) -> None:
        run = Run.objects.filter(kind=Run.Kind.INTEGRITY, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("No check is in progress.")
        runs.ask_to_stop(run, by=BY)
        self.say({"stopping": run.pk}, "It stops at the next safe point.")


def _checked(run: Run) -> str:
    return f"{run.done} of about {run.total} tags checked{_read(check.Result.of(run))}"


def _read(found: check.Result) -> str:
    return f", {formats.size(found.read_bytes)} read" * found.deep


def _counted(run: Run) -> Iterator[str]:
    found = check.Result.of(run)
    others = f" and {found.referrer_tags} referrer tags" * bool(found.referrer_tags)
    yield (
        f"{found.repositories} repositories, {found.tags} tags{others}{_read(found)} in "
        f"{found.seconds:.1f} s: {found.broken or 'none'} incomplete, "
        f"{found.marked} marked, {found.unmarked} unmarked"
    )
