"""One import: how far it is, and its report, which can be filtered."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from registryui import runs
from registryui.imports.run import Result
from registryui.models import ImportedTag, Role, Run
from registryui.models.paging import page
from registryui.views.access import Request, back_to, require_role
from registryui.views.form import one_of, read_or_default
from registryui.views.live import not_changed, wants_fragment
from registryui.views.runs import ShownRun

_STATES = ImportedTag.State


@dataclass(frozen=True, slots=True)
class Shown(ShownRun):
    """An import as pages show it."""

    @property
    def counts(self) -> Result:
        """What it has done."""
        return Result.of(self.run)

    @property
    def share(self) -> float:
        """0–100: how far it is."""
        return self.share_up_to(0.99)

    @property
    def can_be_repeated(self) -> bool:
        """Whether the form can be filled in as it was asked for."""
        return not self.is_running and self.counts.kind == "registry"


@dataclass(frozen=True, slots=True)
class Line:
    """A tag in the report."""

    row: ImportedTag
    word: str
    css: str
    icon: str

    @property
    def source(self) -> str:
        """Its name at the source; a repository alone if no tag of it could be read."""
        return ":".join(filter(None, (self.row.repository, self.row.tag)))

    @property
    def name(self) -> str:
        """Its name here."""
        row = self.row
        return ":".join(filter(None, (row.target, row.target_tag))) or self.source


@require_role(Role.ADMIN)
def import_run(request: Request, pk: int) -> HttpResponse:
    """The page, or its fragment."""
    run = _run_or_404(pk)
    shown = Shown(run)
    counts = shown.counts
    token = f"{run.state}-{run.done}-{counts.bytes}-{counts.found}-{run.stop_asked_by}"
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    filters = _filters(counts)
    state = read_or_default(request.GET, show=one_of(key for key, _word, _count in filters))["show"]
    rows = run.imported.filter(state=state) if state else run.imported.all()
    found = page(rows, ["id"], after=request.GET.get("after", ""))
    context = {
        "shown": shown,
        "run": run,
        "counts": counts,
        "token": token,
        "filters": filters,
        "show": state,
        "page": found,
        "lines": [_line(row, is_dry=counts.dry_run) for row in found.rows],
    }
    template = "imports/_run.html" if wants_fragment(request) else "imports/run.html"
    return render(request, template, context)


@require_role(Role.ADMIN, methods=("POST",))
def import_stop(request: Request, pk: int) -> HttpResponse:
    """Asks the import to end; what is here by then is not sent again."""
    runs.ask_to_stop(_run_or_404(pk), by=request.user.actor)
    return back_to(request, "import_run", pk)


def _run_or_404(pk: int) -> Run:
    run = Run.objects.filter(pk=pk, kind=Run.Kind.IMPORT).first()
    if run is None:
        raise Http404
    return run


def _filters(counts: Result) -> list[tuple[str, str, int]]:
    """Key, words and number of tags."""
    taken = _("To be imported") if counts.dry_run else _("Imported")
    done = counts.taken + counts.there + counts.skipped + counts.failed
    return [
        ("", _("All"), done),
        (_STATES.TAKEN, taken, counts.taken),
        (_STATES.THERE, _("Already there"), counts.there),
        (_STATES.SKIPPED, _("Skipped"), counts.skipped),
        (_STATES.FAILED, _("Failed"), counts.failed),
    ]


def _line(row: ImportedTag, *, is_dry: bool) -> Line:
    taken = _("To be imported") if is_dry else _("Imported")
    words = {
        _STATES.TAKEN: (taken, "ok", "circle-check"),
        _STATES.THERE: (_("Already there"), "", "check"),
        _STATES.SKIPPED: (_("Skipped"), "warn", "circle-minus"),
        _STATES.FAILED: (_("Failed"), "bad", "circle-alert"),
    }
    return Line(row, *words[_STATES(row.state)])
