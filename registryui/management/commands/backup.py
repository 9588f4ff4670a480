"""./boathouse backup: make one; list, verify and prune those in a place."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from registryui import formats
from registryui.backup import backups
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    Usage,
    add_json,
    add_yes,
    from_caller,
    path_from_caller,
)
from registryui.models import Run

ACTS = ("list", "verify", "prune")
ADVICE = (
    "Keep this password elsewhere, too: without it nobody can read the backups. It is not shown "
    "again, and is in"
)


class Command(BoathouseCommand):
    help = (
        "Makes an encrypted, incremental backup of images, database, users, keys and certificates "
        "in TO: a folder, or s3://BUCKET/PREFIX. list, verify and prune before TO: what is there."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "words",
            nargs="*",
            metavar="TO",
            help="where to (BOATHOUSE_BACKUP_TO); or an act, and TO",
        )
        parser.add_argument(
            "--password-file",
            type=path_from_caller,
            metavar="FILE",
            help="a file with the password",
        )
        parser.add_argument(
            "--quick", action="store_true", help="verify: only the structure, not all data"
        )
        parser.add_argument("--keep", type=int, default=0, metavar="N", help="prune: the newest N")
        parser.add_argument(
            "--keep-days", type=int, default=0, metavar="D", help="prune: those of the last D days"
        )
        add_yes(parser)
        parser.add_argument("--by", default=BY, help=argparse.SUPPRESS)
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        words = list(options["words"])
        act = words.pop(0) if words and words[0] in ACTS else ""
        if len(words) > 1:
            raise Usage("Give one place: ./boathouse backup TO.")
        target = from_caller(words[0]) if words else settings.BACKUP_TO
        if not target:
            raise Usage("Where to? ./boathouse backup TO, or set BOATHOUSE_BACKUP_TO.")
        if act == "list":
            self._list(target, options)
        elif act == "verify":
            self._verify(target, options)
        elif act == "prune":
            self._prune(target, options)
        else:
            self._run(target, options)

    def _run(self, target: str, options: Options) -> None:
        run = backups.back_up(
            target,
            by=options["by"],
            password_file=options["password_file"],
            progress=self.progress(_stage),
        )
        if run is None:
            raise CommandError("Another backup is in progress: try again when it has finished.")
        found = backups.Result.of(run)
        password = run.result.get("password", "")
        if password:
            place = backups.default_password_file()
            self.stderr.write(f"Password of these backups: {password}\n{ADVICE} {place}.")
        self.say({"state": run.state, **run.result}, *run.log.splitlines(), *_counted(run))
        if run.state != Run.State.DONE:
            raise CommandError(found.problem or "It was stopped; the next backup continues.")

    def _list(self, target: str, options: Options) -> None:
        found = backups.snapshots(backups.opened(target, options["password_file"]))
        facts = [
            {
                "id": one.id,
                "at": one.made_at.isoformat(),
                "tags": one.number("tags"),
                "bytes": one.number("bytes"),
            }
            for one in found
        ]
        lines = [
            f"{one.id[:8]}  {one.made_at:%Y-%m-%d %H:%M} UTC  {one.number('tags')} tags  "
            f"{formats.size(one.number('bytes'))}"
            for one in found
        ]
        self.say({"snapshots": facts}, *(lines or ["There are no complete snapshots."]))

    def _verify(self, target: str, options: Options) -> None:
        repository = backups.opened(target, options["password_file"])
        found = backups.verify(repository, is_quick=options["quick"])
        facts = {
            "snapshots": found.snapshots,
            "damaged": list(found.damaged),
            "problems": list(found.problems),
        }
        if not (found.damaged or found.problems):
            what = "The structure" if options["quick"] else "All data"
            self.say(facts, f"{what} of {found.snapshots} snapshots is intact.")
            return
        names = ", ".join(found.damaged) or "none"
        self.say(facts, *found.problems, f"Snapshots that cannot be restored completely: {names}")
        raise CommandError(
            f"The backups in {target} are damaged: make a new one in another place, and check the "
            "disk."
        )

    def _prune(self, target: str, options: Options) -> None:
        if options["keep"] < 1 and options["keep_days"] < 1:
            raise Usage("What is to be kept? --keep N, or --keep-days D.")
        question = f"Remove the other backups in {target}? This cannot be undone."
        self.confirm([question], word="yes", options=options)
        repository = backups.opened(target, options["password_file"])
        found = backups.prune(repository, keep=options["keep"], keep_days=options["keep_days"])
        self.say(
            {
                "kept": [one.id for one in found.kept],
                "removed": [one.id for one in found.removed],
            },
            f"{len(found.removed)} snapshots removed, {len(found.kept)} kept.",
        )


def _stage(run: Run) -> str:
    found = backups.Result.of(run)
    read = f", {formats.size(found.read_bytes)} of new blobs read" * bool(found.read_bytes)
    return f"{found.stage}: {found.tags} tags, {formats.size(found.bytes)}{read}"


def _counted(run: Run) -> Iterator[str]:
    found = backups.Result.of(run)
    if run.state == Run.State.DONE:
        yield (
            f"Snapshot {found.snapshot} in {found.target}: {found.tags} tags, "
            f"{found.blobs} blobs and manifests, {formats.size(found.bytes)}; "
            f"{found.new_blobs} new with {formats.size(found.read_bytes)}, "
            f"{formats.size(found.added_bytes)} added, {found.seconds:.1f} s"
        )
