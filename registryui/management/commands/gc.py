"""./boathouse gc: garbage collection, now or for the registry's own collector."""

import json
import sys
from typing import Any

import humanize
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui import audit, clock
from registryui.gc import collector as collecting
from registryui.gc import process, registry_gc
from registryui.index import runs
from registryui.models import Run
from registryui.refused import Refused
from registryui.registry.errors import RegistryError
from registryui.setup import configuration
from registryui.setup.data import Refused as SetupRefused

BY = "command line"


class Command(BaseCommand):
    help = (
        "Moves unreachable manifests and blobs to quarantine, and purges what has been there long"
        " enough."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing: only count")
        parser.add_argument("--json", action="store_true", help="print the result for programs")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--purge-now",
            action="store_true",
            help="purge the whole quarantine, for a full disk; freezes manifest writes meanwhile",
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
        what.add_argument("--stop", action="store_true", help="stop the run that is in progress")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["stop"]:
                self._stop()
            elif options["trust_clock"]:
                self._trust_clock(options)
            elif options["remove_untagged"]:
                self._delete_untagged(options)
            elif options["registry_gc"]:
                self._registry_gc(options)
            elif options["restore"]:
                count = collecting.restore(options["restore"], by=BY)
                self.stdout.write(
                    json.dumps({"restored": count})
                    if options["json"]
                    else f"Restored {count} items."
                )
            else:
                self._run(options)
        except (Refused, SetupRefused, RegistryError) as error:
            raise CommandError(str(error)) from error

    def _stop(self) -> None:
        run = Run.objects.filter(kind=Run.Kind.GC, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("No garbage collection is running.")
        runs.ask_to_stop(run, by=BY)
        self.stdout.write("It stops at the next safe point.")

    def _trust_clock(self, options: dict[str, Any]) -> None:
        had_jumped = clock.trust()
        if had_jumped:
            audit.record("clock.trust", "store", by=BY)
        told = "The clock is trusted." if had_jumped else "The clock did not jump."
        self.stdout.write(json.dumps({"trusted": had_jumped}) if options["json"] else told)

    def _registry_gc(self, options: dict[str, Any]) -> None:
        steps = registry_gc.steps(configuration.registry_program())
        if options["json"]:
            told = [{"words": one.words, "command": one.command} for one in steps]
            self.stdout.write(json.dumps({"steps": told}))
            return
        if not registry_gc.is_needed_here():
            self.stdout.write("This store can be read from here: use ./boathouse gc.")
        for number, one in enumerate(steps, 1):
            self.stdout.write(f"{number}. {one.words}\n    {one.command}")

    def _delete_untagged(self, options: dict[str, Any]) -> None:
        if not options["registry_gc"]:
            raise CommandError("--remove-untagged needs --registry-gc.")
        found = registry_gc.delete_untagged(by=BY, dry_run=options["dry_run"])
        names = [f"{name}@{digest}" for name, digest in found.manifests]
        if options["json"]:
            told = {"manifests": names, "skipped": [list(one) for one in found.skipped]}
            self.stdout.write(json.dumps(told))
            return
        for line in names:
            self.stdout.write(line)
        for name, why in found.skipped:
            self.stdout.write(f"{name}: skipped: {why}")
        would = "would be " if options["dry_run"] else ""
        self.stdout.write(f"{len(names)} manifests {would}deleted")

    def _run(self, options: dict[str, Any]) -> None:
        process.step_back(purge_now=options["purge_now"])
        show = None if options["json"] or not sys.stderr.isatty() else self._show
        run = collecting.run_gc(
            by=BY, dry_run=options["dry_run"], purge_now=options["purge_now"], progress=show
        )
        if run is None:
            raise CommandError(
                "Garbage collection is already running. Try again when it has finished."
            )
        if options["json"]:
            self.stdout.write(json.dumps({"state": run.state, **run.result}))
        else:
            self._tell(run)
        if run.state == Run.State.FAILED:
            raise CommandError(run.result["problem"] or "It failed.")

    def _show(self, run: Run) -> None:
        stage = run.result.get("stage", "")
        self.stderr.write(f"\r{stage}: {run.done} of about {run.total} checked   ", ending="")

    def _tell(self, run: Run) -> None:
        found = run.result
        for line in run.log.splitlines():
            self.stdout.write(line)
        would = "would be " if found["dry_run"] else ""
        size = humanize.naturalsize
        self.stdout.write(
            f"{found['blobs']} blobs, {size(found['bytes'])}: {found['candidate_blobs']} with "
            f"{size(found['candidate_bytes'])} are unreachable, and {size(found['grace_bytes'])} "
            "are within the grace period"
        )
        if not found["dry_run"]:
            self.stdout.write(
                f"quarantined: {found['quarantined_manifests']} manifests, "
                f"{found['quarantined']} blobs, {size(found['quarantined_bytes'])}; "
                f"restored: {found['restored']}; "
                f"purged: {found['purged']}, {size(found['freed_bytes'])} freed"
            )
        self.stdout.write(
            f"{found['uploads']} abandoned uploads ({size(found['upload_bytes'])}) and "
            f"{found['empty_repositories']} empty repositories {would}removed"
        )
        if found["in_quarantine"]:
            self.stdout.write(
                f"{found['in_quarantine']} items, {size(found['in_quarantine_bytes'])}, in "
                f"quarantine; the first can be purged after {found['due_at'][:16]}"
            )
        if run.state == Run.State.STOPPED:
            self.stdout.write(f"Stopped by {run.stop_asked_by}. The next run continues.")
