"""What the three commands that delete have in common: plan, question, act, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from registryui.deletion import execute
from registryui.deletion.execute import Plan, Selection
from registryui.oci.names import Reference, parse_reference

from . import deletion_facts as facts
from .command import BY, BoathouseCommand, Options, Usage, add_json, add_yes

ASKED_FROM = 10  # tags: so many are deleted only after a question


class DeletingCommand(BoathouseCommand):
    """A command with acts that delete."""

    def delete(self, selections: Sequence[Selection], *, ask: bool, options: Options) -> None:
        """Plans all of them, asks where that is due, then does them one after the other."""
        plans = [execute.plan(one) for one in selections]
        if options["dry_run"]:
            self.say([facts.of_plan(one) for one in plans], *_plan_lines(plans))
            return
        count = sum(len(one.going) for one in plans)
        if count and (ask or count >= ASKED_FROM):
            self.confirm(_plan_lines(plans), word=str(count), options=options)
        done, lines, is_done = [], list[str](), True
        for one in plans:
            outcome = self._execute(one)
            left = [{"tag": each.tag, "reason": each.reason} for each in one.left_out]
            name = one.selection.repository
            done.append({"repository": name, **facts.of_outcome(outcome), "left_out": left})
            lines += [f"{each['tag']}: {each['reason']}" for each in left]
            lines += facts.outcome_lines(name, outcome)
            is_done &= not left and all(each.state == "deleted" for each in outcome.results)
        self.say(done, *lines)
        if not is_done:
            raise SystemExit(1)

    def _execute(self, plan: Plan) -> execute.Outcome:
        return execute.execute(
            plan.selection,
            fingerprint=plan.fingerprint,
            by=BY,
            progress=None if self.as_json else self._progress,
        )

    def _progress(self, done: int, total: int) -> bool:
        if total > ASKED_FROM and sys.stderr.isatty():
            self.stderr.write(f"\r{done} of {total}", ending="" if done < total else "\n")
        return True


def add_options(parser: Any) -> None:
    """--dry-run, --json and --yes."""
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    add_json(parser)
    add_yes(parser)


def read_reference(text: str) -> Reference:
    """A reference that was typed. Usage if it is none."""
    try:
        return parse_reference(text)
    except ValueError as error:
        raise Usage(f"{text[:300]}: {error}") from error


def _plan_lines(plans: Sequence[Plan]) -> list[str]:
    return [line for one in plans for line in facts.plan_lines(one)]
