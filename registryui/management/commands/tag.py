"""./boathouse tag: adds and deletes tags, sets when they expire, lists recently deleted ones, and
restores them."""

from typing import Any

from django.core.management.base import CommandError

from registryui import schedules
from registryui.deletion import restore
from registryui.deletion.execute import Selection
from registryui.deletion.protection import protections
from registryui.imports.promote import add_tag
from registryui.index import expiry as known
from registryui.management import deletion_facts as facts
from registryui.management.command import BY, Options, Usage, add_json
from registryui.management.deletion_command import DeletingCommand, add_options, read_reference
from registryui.models import NEVER, TagTombstone
from registryui.retention import expiry


class Command(DeletingCommand):
    help = (
        "Adds and deletes tags, and sets when they expire; other tags of the same image are kept."
        " Deleted and overwritten tags can be restored for BOATHOUSE_UNDO_DAYS. The exit status is"
        " 1 if anything failed."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        add = acts.add_parser("add", help="tag an image again, here or in another repository")
        add.add_argument("reference", metavar="REPOSITORY:TAG or REPOSITORY@DIGEST")
        add.add_argument(
            "names", nargs="+", metavar="NEW", help="a tag, or REPOSITORY:TAG to promote it there"
        )
        add.add_argument(
            "--replace", action="store_true", help="even if the tag is on another image"
        )
        add_json(add)
        delete = acts.add_parser("delete", help="delete tags")
        delete.add_argument("references", nargs="+", metavar="REPOSITORY:TAG")
        delete.add_argument(
            "--pattern",
            default="",
            metavar="GLOB",
            help="all matching tags of REPOSITORY, such as 'pr-*' (complete names)",
        )
        add_options(delete)
        expire = acts.add_parser("expire", help="set when a tag expires and is deleted")
        expire.add_argument("reference", metavar="REPOSITORY:TAG")
        when = expire.add_mutually_exclusive_group(required=True)
        when.add_argument("--in", dest="after", metavar="TIME", help="12h, 3d, 2w from now")
        when.add_argument("--at", metavar="TIME", help="2026-12-31T18:00, or a day, to its end")
        when.add_argument(
            "--never", action="store_true", help="also if the label quay.expires-after says so"
        )
        when.add_argument(
            "--remove", action="store_true", help="what was set; then the label counts"
        )
        add_json(expire)
        deleted = acts.add_parser("deleted", help="list recently deleted tags")
        deleted.add_argument("repository", nargs="?", default="", metavar="REPOSITORY")
        add_json(deleted)
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
        acts = {
            "add": self._add,
            "delete": self._delete,
            "expire": self._expire,
            "deleted": self._deleted,
            "restore": self._restore,
        }
        acts[options["act"]](options)

    def _add(self, options: Options) -> None:
        found = read_reference(options["reference"])
        if not (found.tag or found.digest):
            raise Usage("Expected REPOSITORY:TAG or REPOSITORY@DIGEST.")
        names = [
            read_reference(one if ":" in one else f"{found.repository}:{one}")
            for one in options["names"]
        ]
        if not all(one.tag and not one.digest for one in names):
            raise Usage("Expected new tags: TAG or REPOSITORY:TAG.")
        added = []
        for one in names:
            name = f"{one.repository}:{one.tag}"
            try:
                digest = add_tag(
                    *(found.repository, found.digest or found.tag, one.repository, one.tag),
                    by=BY,
                    replace=options["replace"],
                )
            except restore.Taken as error:
                raise CommandError(
                    f"{name} exists and points to {error.digest}; --replace moves it."
                ) from error
            added.append({"repository": one.repository, "tag": one.tag, "digest": digest})
        lines = [f"Tagged {one['repository']}:{one['tag']}  {one['digest']}" for one in added]
        self.say(added, *lines)

    def _delete(self, options: Options) -> None:
        tags: dict[str, list[str]] = {}
        for text in options["references"]:
            found = read_reference(text)
            if found.digest or bool(found.tag) == bool(options["pattern"]):
                wish = "REPOSITORY" if options["pattern"] else "REPOSITORY:TAG"
                raise Usage(f"{text[:300]}: expected {wish}.")
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

    def _expire(self, options: Options) -> None:
        found = read_reference(options["reference"])
        if not found.tag or found.digest:
            raise Usage("Expected REPOSITORY:TAG.")
        at = NEVER if options["never"] else None
        if options["after"]:
            at = expiry.after(options["after"])
        elif options["at"]:
            at = expiry.moment(options["at"])
        now = known.of(expiry.set_expiry(found.repository, found.tag, at, by=BY))
        name = f"{found.repository}:{found.tag}"
        source = ("set" if now.is_set else "label") if now.at else ""
        told = {"expires_at": now.at.isoformat(timespec="seconds") if now.at else "", "by": source}
        words = f"expires {schedules.when(now.at)}" if now.at else "does not expire"
        if rule := protections().of(found.repository, found.tag):
            told["protection"] = str(rule)
            words += f"; it is kept while it is protected: {rule}"
        self.say({"repository": found.repository, "tag": found.tag, **told}, f"{name} {words}")

    def _deleted(self, options: Options) -> None:
        rows = restore.restorable()
        if options["repository"]:
            rows = rows.filter(repository=options["repository"])
        self._list(list(rows))

    def _list(self, rows: list[TagTombstone]) -> None:
        self.say([facts.of_tombstone(row) for row in rows], facts.tombstone_table(rows))

    def _restore(self, options: Options) -> None:
        rows = self._wanted(options)
        if options["dry_run"]:
            self._list(rows)
            return
        if options["of_act"]:
            results = restore.restore_act(options["of_act"], by=BY)
            self.say([facts.of_result(one) for one in results], *map(facts.result_line, results))
            if any(one.state != "restored" for one in results):
                raise SystemExit(1)
            return
        row = rows[0]
        name = facts.reference(row.repository, row.tag, row.digest)
        try:
            self._restore_tag(row, replace=options["replace"])
        except restore.Taken as error:
            raise CommandError(
                f"{name} now points to {error.digest}; --replace restores {row.digest}."
            ) from error
        self.say(facts.of_tombstone(row), f"Restored {name} to {row.digest}.")

    def _restore_tag(self, row: TagTombstone, *, replace: bool) -> None:
        try:
            restore.restore(row, by=BY)
        except restore.Taken as error:
            if not replace:
                raise
            restore.restore(row, by=BY, expected=error.digest)

    def _wanted(self, options: Options) -> list[TagTombstone]:
        "What to restore, the newest first. CommandError if there is nothing."
        if bool(options["of_act"]) == bool(options["reference"]):
            raise Usage("Expected a tag, or --act ACT.")
        if options["of_act"]:
            rows = restore.restorable().filter(act=options["of_act"])
        else:
            found = read_reference(options["reference"])
            rows = restore.restorable().filter(repository=found.repository, tag=found.tag)
            if found.digest:
                rows = rows.filter(digest=found.digest)
            elif not found.tag:
                raise Usage("Expected REPOSITORY:TAG or REPOSITORY@DIGEST.")
        wanted = list(rows)
        if not wanted:
            raise CommandError(
                "Nothing to restore: ./boathouse tag deleted lists recently deleted tags"
            )
        return wanted
