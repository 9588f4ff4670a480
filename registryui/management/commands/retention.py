"""`./boathouse retention …`: policies that delete tags, their dry runs and their runs.

Ends with 0 if it is done, 1 with one sentence if it was refused or went wrong, 2 for words it does
not know. `run` needs the registry; nothing else does.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet
from django.utils import timezone

from registryui import formats, schedules
from registryui.management.command import BY, BoathouseCommand, Options, add_act, add_yes
from registryui.models import UNKNOWN, RetentionFate, RetentionPolicy, Run
from registryui.refused import Refused
from registryui.retention import policies, runs
from registryui.retention import words as retention_words

FIRST = 20  # tags that are listed before it asks
_KEEPS = {
    "keep_newest": ("N", "keep the newest N by push time, in each repository"),
    "keep_pushed_days": ("DAYS", "keep tags pushed within this many days"),
    "keep_pulled_days": ("DAYS", "keep tags pulled within this many days"),
}


class Command(BoathouseCommand):
    help = (
        "Retention policies: which tags to delete, and which of them to keep. A pattern matches "
        "the complete name, * matches any text, several are separated by spaces."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        _act(acts, "list", "list all policies, and when they run next")
        for name, words in {
            "add": "add a policy, as a draft",
            "change": "change the given fields",
        }.items():
            one = _act(acts, name, words, is_named=True)
            _add_fields(one, is_new=name == "add")
        for name, words in {
            "enable": "enable a draft: it runs on its schedule",
            "disable": "make it a draft: it does not run and keeps nothing",
            "remove": "remove it; tags that it deleted stay deleted",
            "dry-run": "list every tag with the reason why it is kept or deleted; changes nothing",
            "run": "delete now; each tag can be restored for a time",
        }.items():
            one = _act(acts, name, words, is_named=True)
            if name in ("remove", "run"):
                add_yes(one)
            if name == "dry-run":
                one.add_argument("--all", action="store_true", help="also list tags that are kept")

    def handle(self, *args: Any, **options: Any) -> None:
        _ACTS[options["act"]](self, options)


def _act(acts: Any, name: str, words: str, *, is_named: bool = False) -> Any:
    one = add_act(acts, name, words)
    if is_named:
        one.add_argument("name", metavar="NAME")
    return one


def _add_fields(one: Any, *, is_new: bool) -> None:
    one.add_argument("--repositories", metavar="PATTERNS", required=is_new, help="team/* or *")
    one.add_argument("--tags", metavar="PATTERNS", help="delete only these: 'pr-* build-*'")
    for field, (unit, words) in _KEEPS.items():
        one.add_argument(f"--{field.replace('_', '-')}", type=int, metavar=unit, help=words)
    one.add_argument("--keep-tags", metavar="PATTERNS", help="always keep these")
    one.add_argument(
        "--schedule", metavar="CRON", help="'0 4 * * SUN' is Sundays at 04:00; '' manual only"
    )
    if not is_new:
        one.add_argument("--rename", metavar="NAME", help="new name")


# -- policies ------------------------------------------------------------------------------------
def _list(command: Command, options: Options) -> None:
    found = list(RetentionPolicy.objects.all())
    lines = [line for row in found for line in _block(row)]
    command.say(
        [_facts(row) for row in found], *lines or ["No retention policies: nothing is deleted."]
    )


def _add(command: Command, options: Options) -> None:
    row = policies.add(_given(options, policies.Wanted(options["name"], "")), by=BY)
    _tell(command, row)


def _change(command: Command, options: Options) -> None:
    row = _find(options)
    facts = policies.facts(row)
    before = policies.Wanted(**{one.name: facts[one.name] for one in fields(policies.Wanted)})
    wanted = replace(_given(options, before), name=options["rename"] or row.name)
    _tell(command, policies.change(row, wanted, by=BY))


def _given(options: Options, before: policies.Wanted) -> policies.Wanted:
    """`before` with what the command line says otherwise."""
    given = {name: options[name] for name in asdict(before) if name != "name"}
    return replace(before, **{name: one for name, one in given.items() if one is not None})


def _enable(command: Command, options: Options) -> None:
    _tell(command, policies.set_active(_find(options), is_active=True, by=BY))


def _disable(command: Command, options: Options) -> None:
    _tell(command, policies.set_active(_find(options), is_active=False, by=BY))


def _remove(command: Command, options: Options) -> None:
    row = _find(options)
    command.confirm([f"Remove the policy {row.name}?"], word="yes", options=options)
    policies.remove(row, by=BY)
    command.say({"removed": row.name}, f"Removed {row.name}.")


def _find(options: Options) -> RetentionPolicy:
    row = RetentionPolicy.objects.filter(name=options["name"]).first()
    if row is None:
        raise Refused(
            f"There is no policy {options['name']}: ./boathouse retention list shows all."
        )
    return row


def _tell(command: Command, row: RetentionPolicy) -> None:
    command.say({"policy": _facts(row)}, *_block(row))


def _block(row: RetentionPolicy) -> list[str]:
    facts = policies.facts(row)
    lines = [
        f"{row.name}  ({'active' if row.is_active else 'draft, does not run'})",
        f"    {retention_words.sentence(facts)}",
        f"    runs: {retention_words.when(facts)}",
    ]
    if row.next_at is not None:
        lines[-1] += f"; next: {schedules.when(row.next_at)}"
    return lines


def _facts(row: RetentionPolicy) -> dict[str, Any]:
    next_at = row.next_at.isoformat() if row.next_at else ""
    return {**policies.facts(row), "next_at": next_at, "made_by": row.made_by}


# -- runs ----------------------------------------------------------------------------------------
def _dry_run(command: Command, options: Options) -> None:
    _carry_out(command, options, is_dry=True)


def _run(command: Command, options: Options) -> None:
    row = _find(options)
    if not options["yes"] and not command.as_json and sys.stdin.isatty():
        runs.check(row)
        _show_first(command, row)
    question = f"Run {row.name} now? {retention_words.sentence(policies.facts(row))}"
    command.confirm([question], word="yes", options=options)
    _carry_out(command, options, is_dry=False)


def _show_first(command: Command, row: RetentionPolicy) -> None:
    """What the run would delete now: its first tags, and how many."""
    started = timezone.now()
    run = runs.begin(row, by=BY, is_dry=True)
    runs.carry_out(run, command.progress(_checked))
    goes = run.fates.filter(kind=RetentionFate.Kind.GOES).order_by("id")
    _write_fates(command, run, goes[:FIRST])
    if (rest := runs.Result.of(run).goes - FIRST) > 0:
        command.stdout.write(f"and {rest:,} more: ./boathouse retention dry-run lists all")
    _write_counts(command, run, (timezone.now() - started).total_seconds())
    if run.state != Run.State.DONE:
        raise CommandError(run.log or run.state)


def _carry_out(command: Command, options: Options, *, is_dry: bool) -> None:
    row = _find(options)
    started = timezone.now()
    run = runs.begin(row, by=BY, is_dry=is_dry)
    runs.carry_out(run, command.progress(_checked))
    seconds = (timezone.now() - started).total_seconds()
    if command.as_json:
        _write_json(command, run, seconds)
    else:
        _write_lines(command, run, seconds, is_all=not is_dry or options["all"])
    if run.state != Run.State.DONE:
        raise CommandError(run.log or run.state)


def _checked(run: Run) -> str:
    return f"{run.done:,} of {run.total:,} tags"


def _write_lines(command: Command, run: Run, seconds: float, *, is_all: bool) -> None:
    found = run.fates.order_by(*runs.REPORT_ORDER)
    if not is_all:
        found = found.exclude(kind=RetentionFate.Kind.STAYS)
    _write_fates(command, run, found)
    _write_counts(command, run, seconds)


def _write_fates(command: Command, run: Run, found: QuerySet[RetentionFate]) -> None:
    is_dry, policy = run.kind == Run.Kind.DRY_RUN, runs.Result.of(run).policy
    for fate in found.iterator(chunk_size=2000):
        verdict = retention_words.verdict(fate, is_dry=is_dry)
        because = retention_words.because(fate, policy, run.started_at)
        command.stdout.write(f"{verdict:<16} {fate.repository}:{fate.tag}  {because}")


def _write_counts(command: Command, run: Run, seconds: float) -> None:
    is_dry, counts = run.kind == Run.Kind.DRY_RUN, runs.Result.of(run)
    freed = f"{formats.size(counts.freed)} reclaimable by garbage collection"
    if is_dry:
        said = f"{counts.goes:,} of {counts.tags:,} tags would be deleted, {freed}; "
        said += f"{counts.saved:,} kept by an exception"
    else:
        said = f"{counts.goes:,} tags deleted, {freed}; {counts.failed:,} not deleted"
    command.stdout.write(f"{said} ({seconds:.1f} s)")


def _write_json(command: Command, run: Run, seconds: float) -> None:
    """One document, written as it is read: a report may have a million tags."""
    head = {
        "run": run.pk,
        "state": run.state,
        "log": run.log,
        "seconds": round(seconds, 3),
        **run.result,
    }
    command.stdout.write(json.dumps(head, indent=2)[:-2] + ',\n  "tags": [', ending="")
    before, policy = "\n", runs.Result.of(run).policy
    for fate in run.fates.order_by(*runs.REPORT_ORDER).iterator(chunk_size=2000):
        command.stdout.write(f"{before}    {json.dumps(_of(fate, run, policy))}", ending="")
        before = ",\n"
    command.stdout.write("\n  ]\n}")
    command.has_said = True


def _of(fate: RetentionFate, run: Run, policy: dict[str, Any]) -> dict[str, Any]:
    times = {"pushed_at": fate.tagged_at, "pulled_at": fate.pulled_at}
    return {
        "kind": fate.kind,
        "repository": fate.repository,
        "tag": fate.tag,
        "digest": fate.digest,
        "size": fate.size,
        **{name: at.isoformat() if at > UNKNOWN else "" for name, at in times.items()},
        "reason": fate.reason,
        "because": retention_words.because(fate, policy, run.started_at),
        "image_stays_with": fate.beside,
    }


_ACTS: dict[str, Callable[[Command, Options], None]] = {
    "list": _list,
    "add": _add,
    "change": _change,
    "enable": _enable,
    "disable": _disable,
    "remove": _remove,
    "dry-run": _dry_run,
    "run": _run,
}
