"""./boathouse manifest: deletes manifests by their digest."""

from typing import Any

from registryui.deletion import execute
from registryui.deletion.execute import Selection
from registryui.management import deletion_facts as facts
from registryui.management.command import BY, Options, Usage
from registryui.management.deletion_command import DeletingCommand, add_options, read_reference


class Command(DeletingCommand):
    help = (
        "Deletes an unreferenced manifest; it can be restored for a time. With --permanently any"
        " manifest, tagged or not, immediately and irreversibly: for a leaked secret."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        delete = acts.add_parser("delete", help="one manifest")
        delete.add_argument("reference", metavar="REPOSITORY@DIGEST")
        delete.add_argument(
            "--permanently",
            action="store_true",
            help="also deletes its tags and what only it uses; it cannot be pulled or restored",
        )
        add_options(delete)

    def handle(self, *args: Any, **options: Any) -> None:
        found = read_reference(options["reference"])
        if not found.digest or found.tag:
            raise Usage("Expected REPOSITORY@DIGEST.")
        if options["permanently"]:
            self._purge(found.repository, found.digest, options)
        else:
            wanted = Selection(found.repository, manifests=(found.digest,))
            self.delete([wanted], ask=False, options=options)

    def _purge(self, repository: str, digest: str, options: Options) -> None:
        planned = execute.plan_purge(repository, digest)
        lines = facts.purge_lines(planned)
        if options["dry_run"]:
            self.say(facts.of_purge(planned), *lines)
            return
        self.confirm(lines, word=repository, options=options)
        done = execute.purge_manifest(repository, digest, by=BY, fingerprint=planned.fingerprint)
        self.say(facts.of_purge(done), *map(facts.result_line, done.results))
        if any(one.state == "failed" for one in done.results):
            raise SystemExit(1)
