"""./boathouse sync: reads the registry, or its store, now."""

import sys
from typing import Any

from django.core.management.base import CommandError

from registryui.index.progress import Result
from registryui.index.sync import sync
from registryui.index.verify import verify
from registryui.management.command import BY, BoathouseCommand, add_json, add_source
from registryui.models import Run
from registryui.registry.choose import choose, open_source
from registryui.registry.errors import RegistryError
from registryui.registry.responding import require_answer


class Command(BoathouseCommand):
    help = "Reads the registry, or its store, now and updates the index."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--full",
            action="store_true",
            help="read everything again, even if it seems unchanged",
        )
        add_source(parser)
        parser.add_argument(
            "--verify",
            action="store_true",
            help="change nothing: list differences; exit status 1 if there are any",
        )
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if choose(options["source"]).kind == "http":
            require_answer()
        with open_source(options["source"]) as source:
            if options["verify"]:
                self._verify(source)
                return
            show = self.progress(lambda run: f"{run.done} of about {run.total} tags checked")
            run = sync(source, by=BY, full=options["full"], progress=show)
        if run is None:
            raise CommandError("A sync is already in progress. Try again when it has finished.")
        self.say(
            {"state": run.state, **run.result}, *run.log.splitlines(), _counted(Result.of(run))
        )
        if run.state != Run.State.DONE:
            raise CommandError("The registry could not be read completely. Run ./boathouse doctor")

    def _verify(self, source: Any) -> None:
        lines = []
        try:
            for line in verify(source):
                lines.append(line)
                if not self.as_json:
                    self.stdout.write(line)
        except RegistryError as error:
            raise CommandError(f"The registry could not be read completely: {error}") from error
        count = f"{len(lines)} differences" if lines else "The index matches the registry."
        self.say({"differences": lines}, count)
        if lines:
            sys.exit(1)


def _counted(counts: Result) -> str:
    return (
        f"{counts.repositories} repositories, {counts.tags} tags and referrer tags: "
        f"{counts.added} added, {counts.moved} changed, {counts.removed} removed, "
        f"{counts.manifests} manifests fetched, {counts.errors} errors"
    )
