"""./boathouse gc: garbage collection, now or for the registry's own garbage collector."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from registryui import audit, clock, formats, runs
from registryui.gc import collector as collector
from registryui.gc import process, registry_gc
from registryui.gc.pending import Pending, pending
from registryui.gc.result import Result
from registryui.management.command import BY, BoathouseCommand, Options, Usage, add_json, add_yes
from registryui.models import Run
from registryui.setup import configuration


class Command(BoathouseCommand):
    help = (
        "Moves unreachable manifests and blobs to quarantine, and purges what has been there long"
        " enough."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing: only count")
        add_json(parser)
        add_yes(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--purge-now",
            action="store_true",
            help="purge all quarantined content, for a full disk; freezes manifest writes",
        )
        what.add_argument(
            "--restore",
            metavar="ID",
            default="",
            help="restore one item from quarantine, or all",
        )
        what.add_argument(
            "--registry-gc",
            action="store_true",
            help="for a store that cannot be read from here: the commands that run the registry's "
            "own garbage collector",
        )
        parser.add_argument(
            "--remove-untagged",
            action="store_true",
            help="with --registry-gc: delete unreachable manifests while writes are frozen",
        )
        what.add_argument(
            "--trust-clock",
            action="store_true",
            help="the clock is right although it jumped: resume what was paused",
        )
        what.add_argument(
            "--status",
            action="store_true",
            help="where space is held, and until when; changes nothing",
        )
        what.add_argument("--stop", action="store_true", help="stop the run that is in progress")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["stop"]:
            self._stop()
        elif options["trust_clock"]:
            self._trust_clock()
        elif options["status"]:
            self._status()
        elif options["remove_untagged"]:
            self._delete_untagged(options)
        elif options["registry_gc"]:
            self._registry_gc()
        elif options["restore"]:
            count = collector.restore(options["restore"], by=BY)
            self.say({"restored": count}, f"Restored {count} items.")
        else:
            self._run(options)

    def _stop(self) -> None:
        run = Run.objects.filter(kind=Run.Kind.GC, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("No garbage collection is running.")
        runs.ask_to_stop(run, by=BY)
        self.say({"stopping": run.pk}, "It stops at the next safe point.")

    def _status(self) -> None:
        found = pending(collector.newest_runs(collector.NEWEST))
        facts = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(found).items()
        }
        times = {
            "undo_days": settings.UNDO_DAYS,
            "grace_seconds": int(settings.GC_GRACE.total_seconds()),
            "quarantine_seconds": int(settings.QUARANTINE_TIME.total_seconds()),
        }
        self.say({**facts, **times}, *_stages(found))

    def _trust_clock(self) -> None:
        had_jumped = clock.trust()
        if had_jumped:
            audit.record("clock.trust", "store", by=BY)
        told = "The clock is trusted." if had_jumped else "The clock did not jump."
        self.say({"trusted": had_jumped}, told)

    def _registry_gc(self) -> None:
        steps = registry_gc.steps(configuration.registry_program())
        lines = [f"{number}. {one.words}\n    {one.command}" for number, one in enumerate(steps, 1)]
        if not registry_gc.is_needed_here():
            lines.insert(0, "This store can be read from here: use ./boathouse gc.")
        self.say({"steps": [{"words": one.words, "command": one.command} for one in steps]}, *lines)

    def _delete_untagged(self, options: Options) -> None:
        if not options["registry_gc"]:
            raise Usage("--remove-untagged needs --registry-gc.")
        found = registry_gc.delete_untagged(by=BY, dry_run=options["dry_run"])
        names = [f"{name}@{digest}" for name, digest in found.manifests]
        would = "would be " if options["dry_run"] else ""
        self.say(
            {"manifests": names, "skipped": [list(one) for one in found.skipped]},
            *names,
            *(f"{name}: skipped: {why}" for name, why in found.skipped),
            f"{len(names)} manifests {would}deleted",
        )

    def _run(self, options: Options) -> None:
        if options["purge_now"] and not options["dry_run"]:
            question = "Purge the quarantine now? What is in it cannot be restored then."
            self.confirm([question], word="yes", options=options)
        process.step_back(purge_now=options["purge_now"])
        run = collector.run_gc(
            by=BY,
            dry_run=options["dry_run"],
            purge_now=options["purge_now"],
            progress=self.progress(_stage),
        )
        if run is None:
            raise CommandError(
                "Garbage collection is already running. Try again when it has finished."
            )
        self.say({"state": run.state, **run.result}, *run.log.splitlines(), *_counted(run))
        if run.state == Run.State.FAILED:
            raise CommandError(Result.of(run).problem or "It failed.")


def _stages(found: Pending) -> Iterator[str]:
    """A line for each stage: bytes that are there, until when, and as of when."""
    days, grace, purge = settings.UNDO_DAYS, settings.GC_GRACE, settings.QUARANTINE_TIME
    until = f", until {_time(found.undo_last)} (./boathouse tag deleted)" if found.undo_last else ""
    yield _line("undo", f"{days} d", found.undo_size, found.undo_measured_at, f"estimate{until}")
    note = "unreachable"
    if found.candidate_size:
        note += f"; {formats.size(found.candidate_size)} more is old enough for the next run"
    yield _line("minimum age", _hours(grace), found.grace_size, found.counted_at, note)
    note = f"first due {_time(found.quarantine_due)}" if found.quarantine_due else "empty"
    yield _line("quarantine", _hours(purge), found.quarantine_size, found.quarantined_at, note)
    yield _line("freed", "", found.freed_size, found.freed_at, "by the last run")


def _line(stage: str, setting: str, size: int, at: datetime | None, note: str) -> str:
    if at is None:
        return f"{stage:<12} {setting:>6} {'-':>10}  not known yet"
    return f"{stage:<12} {setting:>6} {formats.size(size):>10}  {note}; as of {_time(at)}"


def _hours(time: timedelta) -> str:
    return f"{time.total_seconds() / 3600:g} h"


def _time(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M")


def _stage(run: Run) -> str:
    return f"{Result.of(run).stage}: {run.done} of about {run.total} checked"


def _counted(run: Run) -> Iterator[str]:
    found, size = Result.of(run), formats.size
    would = "would be " if found.dry_run else ""
    yield (
        f"{found.blobs} blobs, of which {found.manifest_blobs} manifests, {size(found.bytes)}: "
        f"{found.candidate_blobs} with "
        f"{size(found.candidate_bytes)} are unreachable, and {size(found.grace_bytes)} "
        "are within the grace period"
    )
    if not found.dry_run:
        yield (
            f"quarantined: {found.quarantined_manifests} manifests, "
            f"{found.quarantined} blobs, {size(found.quarantined_bytes)}; "
            f"restored: {found.restored}; "
            f"purged: {found.purged}, {size(found.freed_bytes)} freed"
        )
    yield (
        f"{found.uploads} abandoned uploads ({size(found.upload_bytes)}) and "
        f"{found.empty_repositories} empty repositories {would}removed"
    )
    if found.in_quarantine:
        yield (
            f"{found.in_quarantine} items, {size(found.in_quarantine_bytes)}, in "
            f"quarantine; the first can be purged after {found.due_at[:16]}"
        )
    if run.state == Run.State.STOPPED:
        yield "The next run continues."
