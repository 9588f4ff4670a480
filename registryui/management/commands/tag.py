"""./boathouse tag: deletes tags, lists recently deleted ones, and restores them."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from registryui.deletion import restore as undo
from registryui.deletion.execute import Selection
from registryui.management import deletion_facts as facts
from registryui.management.deletion_command import (
    BY,
    DeletingCommand,
    add_options,
    read_reference,
)
from registryui.models import TagTombstone
from registryui.refused import Refused


class Command(DeletingCommand):
    help = (
        "Deletes tags; other tags of the same image are kept. Deleted and overwritten tags can be"
        " restored for BOATHOUSE_UNDO_DAYS. The exit status is 1 if anything failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        delete = acts.add_parser("delete", help="delete tags")
        delete.add_argument("references", nargs="+", metavar="REPOSITORY:TAG")
        delete.add_argument(
            "--pattern",
            default="",
            metavar="GLOB",
            help="all matching tags of REPOSITORY, such as 'pr-*' (whole names)",
        )
        add_options(delete)
        deleted = acts.add_parser("deleted", help="list recently deleted tags")
        deleted.add_argument("repository", nargs="?", default="", metavar="REPOSITORY")
        deleted.add_argument("--json", action="store_true", help="print JSON for programs")
        restore = acts.add_parser("restore", help="restore a tag, or all tags of one deletion")
        restore.add_argument("reference", nargs="?", default="", metavar="REPOSITORY:TAG[@DIGEST]")
        restore.add_argument(
            "--act", default="", dest="of_act", metavar="ACT", help="all tags of that deletion"
        )
        restore.add_argument(
            "--replace", action="store_true", help="even if the tag was pushed again"
        )
        add_options(restore)

    def handle(self, *args: Any, **options: Any) -> None:
        {"delete": self._delete, "deleted": self._deleted, "restore": self._restore}[
            options["act"]
        ](options)

    def _delete(self, options: Any) -> None:
        tags: dict[str, list[str]] = {}
        for text in options["references"]:
            found = read_reference(text)
            if found.digest or bool(found.tag) == bool(options["pattern"]):
                wish = "REPOSITORY" if options["pattern"] else "REPOSITORY:TAG"
                raise CommandError(f"{text[:300]}: expected {wish}.")
            tags.setdefault(found.repository, []).append(found.tag)
        selections = [
            Selection(
                repository,
                tags=tuple(dict.fromkeys(name for name in names if name)),
                pattern=options["pattern"],
            )
            for repository, names in tags.items()
        ]
        self.delete(selections, ask=bool(options["pattern"]), options=options)

    def _deleted(self, options: Any) -> None:
        rows = undo.restorable()
        if options["repository"]:
            rows = rows.filter(repository=options["repository"])
        found = list(rows)
        self.say(
            [facts.of_tombstone(row) for row in found], [facts.tombstone_table(found)], options
        )

    def _restore(self, options: Any) -> None:
        rows = self._wanted(options)
        if options["dry_run"]:
            self.say(
                [facts.of_tombstone(row) for row in rows], [facts.tombstone_table(rows)], options
            )
            return
        if options["of_act"]:
            results = undo.restore_act(options["of_act"], by=BY)
            lines = [
                f"{one.tag or one.digest}: {one.state}. {one.reason}".rstrip(". ")
                for one in results
            ]
            self.say([facts.of_result(one) for one in results], lines, options)
            if any(one.state != "restored" for one in results):
                raise SystemExit(1)
            return
        row = rows[0]
        name = facts.reference(row.repository, row.tag, row.digest)
        try:
            self._put_back(row, replace=options["replace"])
        except undo.Taken as error:
            raise CommandError(
                f"{name} now points to {error.digest}; --replace restores {row.digest}."
            ) from error
        except Refused as error:
            raise CommandError(str(error)) from error
        self.say(facts.of_tombstone(row), [f"Restored {name} to {row.digest}."], options)

    def _put_back(self, row: TagTombstone, *, replace: bool) -> None:
        try:
            undo.restore(row, by=BY)
        except undo.Taken as error:
            if not replace:
                raise
            undo.restore(row, by=BY, expected=error.digest)

    def _wanted(self, options: Any) -> list[TagTombstone]:
        """What to restore, the newest first. CommandError if there is nothing."""
        if bool(options["of_act"]) == bool(options["reference"]):
            raise CommandError("Expected a tag, or --act ACT.")
        if options["of_act"]:
            rows = undo.restorable().filter(act=options["of_act"])
        else:
            found = read_reference(options["reference"])
            rows = undo.restorable().filter(repository=found.repository, tag=found.tag)
            if found.digest:
                rows = rows.filter(digest=found.digest)
            elif not found.tag:
                raise CommandError("Expected REPOSITORY:TAG or REPOSITORY@DIGEST.")
        wanted = list(rows)
        if not wanted:
            raise CommandError(
                "Nothing to restore: ./boathouse tag deleted lists recently deleted tags"
            )
        return wanted
