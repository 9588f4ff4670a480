"""`./boathouse import …`: images of another registry, an archive or a v1 store, and users.

Ends with 0 if all is imported or here already, 1 if something failed, 2 for words it does not know.
"""

from typing import Any

from django.core.management.base import CommandError

from registryui import runs
from registryui.imports import run as importing
from registryui.management import import_facts, import_htpasswd, import_ways
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    add_act,
    sigterm_as_ctrl_c,
)
from registryui.models import Run
from registryui.refused import Refused


class Command(BoathouseCommand):
    help = (
        "Imports images or registry users. An import that was stopped continues when it is run "
        "again: what is here is not sent twice."
    )

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        for name, way in import_ways.WAYS.items():
            one = add_act(acts, name, way.help)
            way.add_arguments(one)
            import_ways.add_common(one)
        import_htpasswd.add_to(acts)
        add_act(acts, "list", "list imports")
        add_act(acts, "show", "show an import with its report").add_argument(
            "id", type=int, metavar="ID"
        )
        add_act(acts, "stop", "stop the import that is in progress")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["act"] in import_ways.WAYS:
            self._import(import_ways.WAYS[options["act"]], options)
        elif options["act"] == "htpasswd":
            self.say(*import_htpasswd.take(options))
        else:
            {"list": self._list, "show": self._show, "stop": self._stop}[options["act"]](options)

    def _import(self, way: import_ways.Way, words: Options) -> None:
        options = import_ways.options_of(words)
        try:
            with sigterm_as_ctrl_c(), way.open(words, options) as source:
                run = importing.begin(
                    *(words["act"], source.name, options), by=BY, about=way.about(words)
                )
                progress = self.progress(import_facts.progress)
                importing.carry_out(run, source, options, progress=progress)
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run it again to continue.") from None
        self._tell(run, most=import_facts.PRINTED)
        if run.state == Run.State.STOPPED:
            raise CommandError("Stopped. Run it again to continue.")
        if run.state == Run.State.FAILED:
            problem = importing.Result.of(run).problem
            raise CommandError(problem or "Some tags failed: run it again to try these.")

    def _tell(self, run: Run, *, most: int | None = None) -> None:
        rows = run.imported.order_by("id")
        facts = {**import_facts.of(run), "tags": []}
        if self.as_json:
            facts["tags"] = [import_facts.of_tag(row) for row in rows.iterator(chunk_size=2000)]
            self.say(facts)
            return
        for line in import_facts.tag_lines(rows[:most]):
            self.stdout.write(line)
        if most and (count := rows.count()) > most:
            self.stdout.write(f"… {count - most} more: ./boathouse import show {run.pk}")
        self.stdout.write(import_facts.summary(run))

    def _list(self, _options: Options) -> None:
        found = list(Run.objects.filter(kind=Run.Kind.IMPORT).order_by("-started_at", "-id"))
        if not found and not self.as_json:
            self.say([], "Nothing has been imported yet: ./boathouse import --help")
        else:
            self.say([import_facts.of(run) for run in found], import_facts.table(found))

    def _show(self, options: Options) -> None:
        run = Run.objects.filter(kind=Run.Kind.IMPORT, pk=options["id"]).first()
        if run is None:
            raise Refused(f"There is no import {options['id']}: ./boathouse import list shows all.")
        self._tell(run)

    def _stop(self, _options: Options) -> None:
        run = Run.objects.filter(kind=Run.Kind.IMPORT, state=Run.State.RUNNING).first()
        if run is None:
            raise CommandError("No import is in progress.")
        runs.ask_to_stop(run, by=BY)
        self.say({"stopping": run.pk}, "It stops at the next safe point; run it again to continue.")
