"""./boathouse restore: an empty data folder from a backup; or a rehearsal of that."""

from __future__ import annotations

import getpass
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from registryui import files, formats
from registryui.backup import backups, rehearsal, restoring, targets
from registryui.backup.restic import Repository
from registryui.management.command import (
    BoathouseCommand,
    Options,
    Usage,
    add_json,
    from_caller,
    path_from_caller,
)
from registryui.refused import Refused

SHOW_SECONDS = 0.2  # between two lines of the progress


class Command(BoathouseCommand):
    help = (
        "Restores a backup into an empty data folder; then ./boathouse up starts it. With "
        "--rehearse: restores it aside, starts it on free ports, compares every digest, logs in, "
        "and removes it."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "target", type=from_caller, metavar="FROM", help="a folder, or s3://BUCKET/PREFIX"
        )
        parser.add_argument(
            "--snapshot", metavar="ID", default="", help="of backup list (the newest)"
        )
        parser.add_argument(
            "--to", type=path_from_caller, metavar="DATA", help="the data folder (BOATHOUSE_DATA)"
        )
        parser.add_argument(
            "--password-file",
            type=path_from_caller,
            metavar="FILE",
            help="a file with the password",
        )
        parser.add_argument(
            "--rehearse", action="store_true", help="restore aside, compare, remove"
        )
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        with self._repository(options) as repository:
            if options["rehearse"]:
                self._rehearse(repository, options)
            else:
                self._restore(repository, options)

    def _restore(self, repository: Repository, options: Options) -> None:
        data = (options["to"] or Path(settings.DATA)).expanduser().absolute()
        done = restoring.restore(
            repository, data, id=options["snapshot"], progress=self._progress()
        )
        facts = done.facts
        self.say(
            {
                "snapshot": done.snapshot.id,
                "at": facts.made_at,
                "data": str(data),
                "tags": done.tags,
                "blobs": done.blobs,
                "missing": done.missing,
            },
            f"Restored snapshot {done.snapshot.id[:8]} of {facts.made_at[:16]} into {data}: "
            f"{done.tags} tags; {done.blobs} blobs and manifests, each compared with its digest.",
            *(f"{digest} is missing in the snapshot" for digest in done.missing),
            f"Its settings are in {data}/settings.env.",
            f"Start it: BOATHOUSE_DATA={data} ./boathouse up --background, then ./boathouse user "
            "drift.",
        )
        if done.missing and not options["json"]:
            raise CommandError(
                f"{len(done.missing)} blobs are missing: run ./boathouse integrity after up."
            )

    def _rehearse(self, repository: Repository, options: Options) -> None:
        found = rehearsal.rehearse(
            repository,
            id=options["snapshot"],
            place=options["to"],
            say=lambda line: None if options["json"] else self.stderr.write(line),
        )
        self.say(
            {name: getattr(found, name) for name in found.__dataclass_fields__},
            f"Snapshot {found.snapshot} of {found.made_at[:16]}: {found.blobs} blobs and manifests "
            f"and {found.tags} tags have their digests; login with an old secret: "
            f"{'succeeded' if found.logged_in else 'failed'}; {found.seconds:.0f} s. Everything "
            "was removed again.",
            *found.problems,
        )
        if found.problems:
            raise CommandError(
                "This snapshot cannot be restored completely: run ./boathouse backup verify, and "
                "make a new backup."
            )

    @contextmanager
    def _repository(self, options: Options) -> Iterator[Repository]:
        """With the password of --password-file, of this instance, or one that is typed."""
        target = targets.parse(options["target"])
        named = options["password_file"] or backups.default_password_file()
        with tempfile.TemporaryDirectory(prefix="boathouse-restore-") as place:
            if not named.exists():
                if options["password_file"] or not sys.stdin.isatty():
                    raise Usage(
                        f"{named} does not exist: name a file with the password by --password-file."
                    )
                named = Path(place) / "password"
                files.write(named, getpass.getpass("Password of the backups: ") + "\n")
            if not named.read_text().strip():
                raise Refused(f"{named} is empty: it must contain the password of the backups.")
            # Not in the data folder, which must be empty.
            yield Repository(target, named, Path(place) / "cache")

    def _progress(self) -> restoring.Progress:
        is_shown = sys.stderr.isatty() and not self.as_json
        shown_at = 0.0

        def show(stage: str, done: int, total: int) -> None:
            nonlocal shown_at
            if is_shown and time.monotonic() - shown_at > SHOW_SECONDS:
                shown_at = time.monotonic()
                words = f"{formats.size(done)} of {formats.size(total)}"
                shown = words if stage == "blobs" else f"{done} of {total}"
                self.stderr.write(f"\r{stage}: {shown}   ", ending="")

        return show
