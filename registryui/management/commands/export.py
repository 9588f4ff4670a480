"""./boathouse export: chosen tags as one OCI archive, or the portal's settings as JSON.

Ends with 0 if all chosen tags are in the archive, 1 if some were left out or it went wrong, 2 for
words that do not fit together.
"""

import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.core.management.base import CommandError

from registryui import audit, formats
from registryui.exports import archive
from registryui.exports import settings as portal_settings
from registryui.exports.plan import Has, Plan, plan
from registryui.exports.select import select
from registryui.imports.archive import layout_blobs
from registryui.index.query import QueryError
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    Usage,
    add_json,
    from_caller,
    sigterm_as_ctrl_c,
)
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.registry.responding import require_answer

STDOUT = "-"
SETTINGS = "settings"  # instead of a file: `export settings TO.json`
STEP = 0.5  # seconds between two lines of the progress
_SHOWN = 20  # tags that were left out


class Command(BoathouseCommand):
    help = (
        "Writes chosen tags into one OCI archive, which docker load (25 or newer; single images: "
        "any), skopeo, podman and ./boathouse import archive open. `export settings TO.json` "
        "writes registry users with their hashes, policies, protections, mirrors and the audit "
        "log instead."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("to", metavar="TO.tar", help="the file to write; -: standard output")
        parser.add_argument(
            "patterns",
            nargs="*",
            metavar="PATTERN",
            help="repositories or REPOSITORY:TAG, * is any text (default: all)",
        )
        parser.add_argument(
            "--query", default="", metavar="SEARCH", help="only tags that this search finds"
        )
        parser.add_argument(
            "--since",
            action="append",
            default=[],
            type=from_caller,
            metavar="ARCHIVE",
            help="leave out blobs that this archive has; may be given several times",
        )
        parser.add_argument("--dry-run", action="store_true", help="write nothing: only report")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with sigterm_as_ctrl_c():
                if options["to"] == SETTINGS:
                    self._settings(options)
                else:
                    self._archive({**options, "to": from_caller(options["to"])})
        except KeyboardInterrupt:
            raise CommandError("Stopped. Nothing was written.") from None

    def _settings(self, options: Options) -> None:
        is_alone = not (options["query"] or options["since"] or options["dry_run"])
        if len(options["patterns"]) != 1 or not is_alone:
            raise Usage("export settings takes one word more: the file to write.")
        to = from_caller(options["patterns"][0])
        with _opened(to) as file:
            for line in portal_settings.lines():
                file.write(line.encode())
        audit.record("archive.settings", _shown(to), by=BY)
        if to != STDOUT:
            self.say({"file": to}, f"Wrote {to}: it has the hashes of all registry users.")

    def _archive(self, options: Options) -> None:
        to, registry = options["to"], settings.REGISTRY_NAME
        with ExitStack() as stack:
            require_answer()
            client = stack.enter_context(RegistryClient(settings.REGISTRY_URL))
            have = [stack.enter_context(layout_blobs(Path(one))) for one in options["since"]]
            found = self._planned(options, client, have)
            size = archive.size(found, registry=registry)
            if not options["dry_run"]:
                _check_space(to, size)
                file = stack.enter_context(_opened(to))
                say = self._progress(lambda done: f"{formats.size(done)} of {formats.size(size)}")
                done = 0
                for piece in archive.pieces(found, client, registry=registry):
                    file.write(piece)
                    done += len(piece)
                    say(done)
        if not options["dry_run"]:
            asked = {"patterns": " ".join(options["patterns"]), "query": options["query"]}
            details = {"tags": found.tags, "bytes": size, **asked}
            audit.record("archive.export", _shown(to), by=BY, details=details)
        self._tell(found, size, options)

    def _planned(self, options: Options, client: RegistryClient, have: Sequence[Has]) -> Plan:
        try:
            chosen = select(options["patterns"], options["query"])
        except QueryError as error:
            raise Usage(f"{error.reason}: {options['query']}") from error
        say = self._progress(lambda done: f"{done} of {len(chosen)} manifests read")
        found = plan(chosen, client, has=lambda digest: any(has(digest) for has in have), beat=say)
        if not found.entries:
            raise Refused(f"Nothing can be exported: {found.skipped[0].problem}.")
        return found

    def _tell(self, found: Plan, size: int, options: Options) -> None:
        facts = {
            "file": options["to"],
            "dry_run": options["dry_run"],
            "tags": found.tags,
            "blobs": len(found.contents),
            "bytes": size,
            "elsewhere": {"blobs": len(found.elsewhere), "bytes": sum(found.elsewhere.values())},
            "skipped": [
                {"name": f"{one.repository}:{one.tag}", "reason": one.problem}
                for one in found.skipped
            ],
        }
        lines = [
            f"left out: {formats.cell(f'{one.repository}:{one.tag}')}: {one.problem}"
            for one in found.skipped[:_SHOWN]
        ]
        if (more := len(found.skipped) - _SHOWN) > 0:
            lines.append(f"and {more} more")
        wrote = "would be" if options["dry_run"] else "were"
        lines.append(f"{found.tags} tags {wrote} exported, {formats.size(size)}{_rest(found)}")
        if options["to"] == STDOUT:  # it is the archive's
            self.stderr.write("\n".join(lines))
        else:
            self.say(facts, *lines)
        if found.skipped:
            sys.exit(1)

    def _progress(self, words: Callable[[int], str]) -> Callable[[int], None]:
        """Shows how far it is, in place of the line before, if somebody sees it."""
        shown_at = time.monotonic()

        def say(done: int) -> None:
            nonlocal shown_at
            if is_seen and time.monotonic() - shown_at > STEP:
                shown_at = time.monotonic()
                self.stderr.write(f"\r{words(done)}   ", ending="")

        is_seen = not self.as_json and sys.stderr.isatty()
        return say


@contextmanager
def _opened(to: str) -> Iterator[BinaryIO]:
    if to == STDOUT:
        if sys.stdout.isatty():
            raise Usage("Standard output is a terminal: name a file, or redirect it.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(to)
    try:
        if path.is_dir() or not path.parent.is_dir():
            raise Refused(f"{to} is a folder, or below a folder that does not exist: name a file.")
        may_write = os.access(path.parent, os.W_OK | os.X_OK)
    except PermissionError:
        may_write = False
    if not may_write:
        raise Refused(
            f"{path.parent} cannot be written by the user {pwd.getpwuid(os.geteuid()).pw_name}, "
            "as which this runs: ./boathouse export - … > FILE"
        )
    with archive.new_file(path) as file:
        yield file


def _check_space(to: str, size: int) -> None:
    if to == STDOUT:
        return
    try:
        found = os.statvfs(Path(to).parent)
    except OSError:
        return  # `_opened` says what is wrong with it
    if (free := found.f_bavail * found.f_frsize) < size:
        raise Refused(
            f"The archive would have {formats.size(size)}, and {formats.size(free)} are free "
            "there: choose another disk, fewer tags, or --since an earlier archive."
        )


def _shown(to: str) -> str:
    return "standard output" if to == STDOUT else str(Path(to).absolute())


def _rest(found: Plan) -> str:
    if not found.elsewhere:
        return ""
    size = formats.size(sum(found.elsewhere.values()))
    return f"; {len(found.elsewhere)} blobs ({size}) are in the archives before"
