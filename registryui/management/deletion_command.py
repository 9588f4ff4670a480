"""What the three commands that delete have in common: plan, question, act, report."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui.deletion import execute
from registryui.deletion.execute import Plan, Selection
from registryui.oci.names import Reference, parse_reference
from registryui.refused import Refused

from . import deletion_facts as facts

BY = "command line"
ASKED_FROM = 10  # tags: so many are deleted only after a question


class DeletingCommand(BaseCommand):
    """A command with acts, whose reasons are printed and not logged."""

    requires_system_checks = []  # noqa: RUF012 (Django's own form); nothing here needs them

    def run_from_argv(self, argv: list[str]) -> None:
        logging.disable(logging.CRITICAL)  # what the log would say is what is printed here
        super().run_from_argv(["./boathouse", *argv[1:]])

    def delete(self, selections: Sequence[Selection], *, ask: bool, options: Any) -> None:
        """Plans all of them, asks where that is due, then does them one after the other."""
        try:
            plans = [execute.plan(one) for one in selections]
        except Refused as error:
            raise CommandError(str(error)) from error
        if options["dry_run"]:
            self.say([facts.of_plan(one) for one in plans], _plan_lines(plans), options)
            return
        count = sum(len(one.going) for one in plans)
        if count and (ask or count >= ASKED_FROM):
            self.confirm(_plan_lines(plans), str(count), options)
        done, lines, is_done = [], list[str](), True
        for one in plans:
            outcome = self._execute(one, options)
            left = [{"tag": each.tag, "reason": each.reason} for each in one.left_out]
            name = one.selection.repository
            done.append({"repository": name, **facts.of_outcome(outcome), "left_out": left})
            lines += [f"{each['tag']}: {each['reason']}" for each in left]
            lines += facts.outcome_lines(name, outcome)
            is_done &= not left and all(each.state == "deleted" for each in outcome.results)
        self.say(done, lines, options)
        if not is_done:
            raise SystemExit(1)

    def _execute(self, plan: Plan, options: Any) -> execute.Outcome:
        try:
            return execute.execute(
                plan.selection,
                fingerprint=plan.fingerprint,
                by=BY,
                progress=None if options["json"] else self._progress,
            )
        except Refused as error:
            raise CommandError(str(error)) from error

    def _progress(self, done: int, total: int) -> bool:
        if total > ASKED_FROM and sys.stderr.isatty():
            self.stderr.write(f"\r{done} of {total}", ending="" if done < total else "\n")
        return True

    def say(self, found: Any, lines: Sequence[str], options: Any) -> None:
        """Prints one of the two."""
        self.stdout.write(json.dumps(found, indent=2) if options["json"] else "\n".join(lines))

    def confirm(self, lines: Sequence[str], word: str, options: Any) -> None:
        """Shows what would be done and goes on only if that word is typed. CommandError else."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError("Confirmation required: add --yes, or --dry-run to see the plan.")
        self.stderr.write("\n".join(lines))
        self.stderr.write(f"Enter {word} to confirm: ", ending="")
        if sys.stdin.readline().strip() != word:
            raise CommandError("Nothing was changed.")


def add_options(parser: CommandParser) -> None:
    """--dry-run, --json and --yes."""
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def read_reference(text: str) -> Reference:
    """A reference that was typed. CommandError if it is none."""
    try:
        return parse_reference(text)
    except ValueError as error:
        raise CommandError(f"{text[:300]}: {error}") from error


def _plan_lines(plans: Sequence[Plan]) -> list[str]:
    return [line for one in plans for line in facts.plan_lines(one)]
