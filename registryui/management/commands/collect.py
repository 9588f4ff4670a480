"""./boathouse collect: frees what nothing needs any more."""

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
    help = "Hides what no tag needs any more, and deletes what was hidden long enough ago."
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing: only count")
        parser.add_argument("--json", action="store_true", help="print the result for programs")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--purge-now",
            action="store_true",
            help="delete all that is hidden, for a full disk: pushes are held meanwhile",
        )
        what.add_argument(
            "--put-back",
            metavar="ID",
            default="",
            help="bring one hidden thing back into the store, or all",
        )
        what.add_argument(
            "--stock",
            action="store_true",
            help="for a store that cannot be reached from here: the commands for the registry's "
            "own collector",
        )
        parser.add_argument(
            "--remove-untagged",
            action="store_true",
            help="with --stock: take away manifests that nothing needs, while writes are held",
        )
        what.add_argument(
            "--trust-clock",
            action="store_true",
            help="the clock is right, though it jumped: what was paused for that goes on",
        )
        what.add_argument("--stop", action="store_true", help="ask the run under way to end")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["stop"]:
                self._stop()
            elif options["trust_clock"]:
                self._trust_clock(options)
            elif options["delete_untagged"]:
                self._remove_untagged(options)
            elif options["stock"]:
                self._stock(options)
            elif options["put_back"]:
                count = collecting.put_back(options["put_back"], by=BY)
                self.stdout.write(
                    json.dumps({"put_back": count}) if options["json"] else f"{count} put back."
                )
            else:
                self._collect(options)
        except (Refused, SetupRefused, RegistryError) as error:
            raise CommandError(str(error)) from error

    def _stop(self) -> None:
        run = Run.objects.filter(kind=Run.Kind.COLLECT, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("Nothing is being collected.")
        runs.ask_to_stop(run, by=BY)
        self.stdout.write("It ends at its next safe place.")

    def _trust_clock(self, options: dict[str, Any]) -> None:
        had_jumped = clock.trust()
        if had_jumped:
            audit.record("clock.trust", "store", by=BY)
        told = "The clock is trusted as it is." if had_jumped else "The clock had not jumped."
        self.stdout.write(json.dumps({"trusted": had_jumped}) if options["json"] else told)

    def _stock(self, options: dict[str, Any]) -> None:
        steps = registry_gc.steps(configuration.registry_program())
        if options["json"]:
            told = [{"words": one.words, "command": one.command} for one in steps]
            self.stdout.write(json.dumps({"steps": told}))
            return
        if not registry_gc.is_needed_here():
            self.stdout.write("This store can be reached from here: ./boathouse collect is better.")
        for number, one in enumerate(steps, 1):
            self.stdout.write(f"{number}. {one.words}\n    {one.command}")

    def _remove_untagged(self, options: dict[str, Any]) -> None:
        if not options["stock"]:
            raise CommandError("--remove-untagged goes with --stock.")
        found = registry_gc.delete_untagged(by=BY, dry_run=options["dry_run"])
        names = [f"{name}@{digest}" for name, digest in found.manifests]
        if options["json"]:
            told = {"manifests": names, "skipped": [list(one) for one in found.skipped]}
            self.stdout.write(json.dumps(told))
            return
        for line in names:
            self.stdout.write(line)
        for name, why in found.skipped:
            self.stdout.write(f"{name}: nothing of it went: {why}")
        would = "would be " if options["dry_run"] else ""
        self.stdout.write(f"{len(names)} manifests {would}taken away")

    def _collect(self, options: dict[str, Any]) -> None:
        process.step_back(purge_now=options["purge_now"])
        show = None if options["json"] or not sys.stderr.isatty() else self._show
        run = collecting.collect(
            by=BY, dry_run=options["dry_run"], purge_now=options["purge_now"], progress=show
        )
        if run is None:
            raise CommandError("A run is under way already. Try again when it has ended.")
        if options["json"]:
            self.stdout.write(json.dumps({"state": run.state, **run.result}))
        else:
            self._tell(run)
        if run.state == Run.State.FAILED:
            raise CommandError(run.result["problem"] or "It failed.")

    def _show(self, run: Run) -> None:
        stage = run.result.get("stage", "")
        self.stderr.write(f"\r{stage}: {run.done} of about {run.total} looked at   ", ending="")

    def _tell(self, run: Run) -> None:
        found = run.result
        for line in run.log.splitlines():
            self.stdout.write(line)
        would = "would be " if found["dry_run"] else ""
        size = humanize.naturalsize
        self.stdout.write(
            f"{found['blobs']} blobs, {size(found['bytes'])}: {found['candidate_blobs']} with "
            f"{size(found['candidate_bytes'])} are not needed, and {size(found['young_bytes'])} "
            "are too young to go"
        )
        if not found["dry_run"]:
            self.stdout.write(
                f"hidden: {found['hidden_manifests']} manifests, {found['hidden']} blobs, "
                f"{size(found['hidden_bytes'])}; put back: {found['returned']}; "
                f"deleted: {found['purged']}, {size(found['freed_bytes'])} freed"
            )
        self.stdout.write(
            f"{found['uploads']} leftovers of uploads ({size(found['upload_bytes'])}) and "
            f"{found['empty_repositories']} empty repositories {would}taken out"
        )
        if found["waiting"]:
            self.stdout.write(
                f"{found['waiting']} things, {size(found['waiting_bytes'])}, wait in the "
                f"quarantine; the first may be deleted after {found['due_at'][:16]}"
            )
        if run.state == Run.State.STOPPED:
            self.stdout.write(f"Stopped by {run.stop_asked_by}. The next run goes on.")
