"""`./boathouse activity`: who did what, for people and for programs; is the log intact?

Ends with 0; with --verify 1 if the log fails verification; 2 for words it does not know.
"""

import argparse
import heapq
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet
from django.utils import timezone

from registryui import formats
from registryui.audit import chain, export, folding, pushes
from registryui.audit.check import check
from registryui.management.command import BY, BoathouseCommand
from registryui.models import AuditEvent, RegistryEvent, actor_name, portal_actor

LIMIT = 50
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Command(BoathouseCommand):
    help = (
        "The audit log and the pushes of clients, newest first. WHEN is an age (12h, 7d), a date "
        "(2026-11-24) or a time. "
        "--json prints JSON Lines, --csv a table for programs: all rows, oldest first."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--actor", default="", help="operator name, 'command line' …")
        parser.add_argument(
            "--act",
            default="",
            help="tag.delete; tag: all actions on tags; client: by registry users",
        )
        parser.add_argument("--target", default="", help="any part of the target")
        parser.add_argument("--result", default="", choices=AuditEvent.Result.values)
        parser.add_argument("--since", type=_moment, metavar="WHEN")
        parser.add_argument("--until", type=_moment, metavar="WHEN", help="exclusive")
        parser.add_argument("--limit", type=_limit, default=LIMIT, metavar="N", help=f"{LIMIT}")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="JSON Lines")
        form.add_argument("--csv", action="store_true")
        parser.add_argument(
            "--verify", action="store_true", help="verify the hash chain of all rows"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verify"]:
            self._verify()
            return
        names = ("actor", "act", "target", "result", "since", "until")
        asked = {name: options[name] for name in names}
        rows, pushed = AuditEvent.objects.asked(**asked), pushes.asked(**asked)
        if options["json"] or options["csv"]:
            form = "csv" if options["csv"] else "jsonl"
            every = export.lines(rows.order_by("id"), pushed.order_by("at", "id"), form=form)
            for line in every:
                self.stdout.write(line, ending="")
        else:
            self._print(rows, pushed, options["limit"])

    def _print(
        self, rows: QuerySet[AuditEvent], pushed: QuerySet[RegistryEvent], limit: int
    ) -> None:
        log = rows.order_by("-id")[: limit + 1]
        beside = map(pushes.as_row, pushed.order_by("-at", "-id")[: limit + 1])
        found = list(heapq.merge(log, beside, key=lambda row: row.at, reverse=True))
        if not found:
            self.stdout.write("No matching rows.")
            return
        shown = folding.folded(found[:limit])
        self.stdout.write(
            formats.columns(
                [["WHEN", "WHO", "FROM", "ACT", "TARGET", "RESULT"], *map(_cells, shown)]
            )
        )
        if len(found) > limit:
            self.stderr.write("There are more: --limit N prints N of them.")

    def _verify(self) -> None:
        found = check(by=BY)
        flaws = [{"row": one.id, "what": one.what} for one in found.flaws]
        facts = {"rows": found.rows, "newest": found.newest, "count": found.count}
        lines = [_SENTENCES[one.what](one.id) for one in found.flaws]
        if found.is_complete:
            lines.append(f"The log is intact: {found.rows} rows.")
        self.say({"complete": found.is_complete, **facts, "flaws": flaws}, *lines)
        if not found.is_complete:
            raise CommandError(
                f"the log fails verification ({found.count} flaws in {found.rows}"
                " rows); docs/operate.md explains possible causes."
            )


_SENTENCES: dict[str, Callable[[int], str]] = {
    chain.What.CHANGED: "Row {} was changed.".format,
    chain.What.BROKEN: "Rows before row {} were removed, inserted or moved.".format,
    chain.What.BEGINNING: "Rows before row {} were removed.".format,
    chain.What.END: "Row {} was once the newest row, and is now missing or different.".format,
    chain.What.PRUNED: "Row {} prunes rows that are still within the retention time.".format,
    chain.What.UNGUARDED: "The database no longer rejects changes to the log.".format,
}


def _who(row: AuditEvent) -> str:
    """A registry user may have the schedule's name."""
    is_client = row.act.startswith("client.")
    return actor_name(row.actor) if is_client else portal_actor(row.actor)


def _cells(row: AuditEvent) -> list[str]:
    at = timezone.localtime(row.at).strftime("%Y-%m-%d %H:%M:%S")
    cells = [at, _who(row), row.address, row.act, row.target, row.result]
    return [formats.cell(one, most=100) for one in cells]


def _moment(text: str) -> datetime:
    """`12h`, `7d` ago; a day, from its beginning; a time."""
    if found := re.fullmatch(r"(\d{1,5})([mhd])", text):
        return timezone.now() - int(found[1]) * _UNITS[found[2]]
    try:
        when = datetime.fromisoformat(text)
        return when if timezone.is_aware(when) else timezone.make_aware(when)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"“{text}” is not a time: enter 12h, 7d, 2026-11-24 or 2026-11-24T08:00."
        ) from error


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise ValueError(text)
    return number
