"""./boathouse sync: reads the registry, or its store, now."""

import sys
from typing import Any

from django.core.management.base import CommandError

from registryui.index.progress import Result
from registryui.index.sync import sync
from registryui.index.verify import verify
from registryui.management.command import BY, BoathouseCommand, add_json
from registryui.models import Run
from registryui.registry.choose import open_source
from registryui.registry.errors import RegistryError


class Command(BoathouseCommand):
    logs = True
    help = "Reads the registry, or its store, now and makes the index equal to it."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--full",
            action="store_true",
            help="read all again, also what seems not to have changed",
        )
        parser.add_argument(
            "--source",
            choices=("http", "store"),
            default="",
            help="ask the registry, or read its store; else as BOATHOUSE_SOURCE says",
        )
        parser.add_argument(
            "--verify",
            action="store_true",
            help="change nothing: list what differs, and end with 1 if anything does",
        )
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        with open_source(options["source"]) as source:
            if options["verify"]:
                self._verify(source)
                return
            show = self.progress(lambda run: f"{run.done} of about {run.total} tags looked at")
            run = sync(source, by=BY, full=options["full"], progress=show)
        if run is None:
            raise CommandError("A sync is under way already. Try again when it has ended.")
        self.say(
            {"state": run.state, **run.result}, *run.log.splitlines(), _counted(Result.of(run))
        )
        if run.state != Run.State.DONE:
            raise CommandError("The registry could not be read to its end. Ask: ./boathouse doctor")

    def _verify(self, source: Any) -> None:
        lines = []
        try:
            for line in verify(source):
                lines.append(line)
                if not self.as_json:
                    self.stdout.write(line)
        except RegistryError as error:
            raise CommandError(f"The registry could not be read to its end: {error}") from error
        count = f"{len(lines)} differences" if lines else "The index is as the registry has it."
        self.say({"differences": lines}, count)
        if lines:
            sys.exit(1)


def _counted(counts: Result) -> str:
    return (
        f"{counts.repositories} repositories, {counts.tags} tags: "
        f"{counts.added} added, {counts.moved} moved, {counts.removed} removed, "
        f"{counts.manifests} manifests fetched, {counts.errors} errors"
    )
