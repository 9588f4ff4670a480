"""Who did what: the audit log and what clients pushed, newest first, filtered; exported, and
checked, by administrators."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit, tasks
from registryui.audit import export, folding, pushes
from registryui.audit.check import newest_check
from registryui.denials import rows as denials
from registryui.models import AuditEvent, Denial, RegistryEvent, Role
from registryui.models.paging import Listing, Walk, walk_together
from registryui.views.access import Request, back_to, require_role
from registryui.views.form import Words, day, one_of, read_or_default
from registryui.views.live import wants_fragment

from . import words
from .actors import Actor

FAR = 50_000  # rows that one page walks over for a part of a target: no index knows parts
FIRST_DAY = date(1970, 1, 1)  # a year that is only half typed is before it
FORMS = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the form asks for."""

    actor: str = ""
    act: str = ""
    target: str = ""
    result: str = ""
    since: date | None = None  # in the portal's time zone; both days belong to it
    until: date | None = None

    @property
    def query(self) -> dict[str, str]:
        """Those that ask for something."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: str(value) for name, value in found.items() if value}

    @property
    def rows(self) -> QuerySet[AuditEvent]:
        """All of the log, in any order."""
        return AuditEvent.objects.asked(**self._asked)

    @property
    def pushed(self) -> QuerySet[RegistryEvent]:
        """All pushes of clients, in any order."""
        return pushes.asked(**self._asked)

    @property
    def _asked(self) -> dict[str, Any]:
        days = {"since": _midnight(self.since), "until": _midnight(self.until, days=1)}
        names = ("actor", "act", "target", "result")
        return {name: getattr(self, name) for name in names} | days

    def found(self, after: str) -> Walk[Any]:
        """A page of them, the newest first, walked to over what an index finds."""
        lists = [] if pushes.only(self.act) or denials.only(self.act) else [self._log()]
        if pushes.fit(act=self.act, result=self.result):
            names = ("actor", "since", "until")
            every = pushes.walked(**{name: self._asked[name] for name in names})
            lists.append(Listing(self.pushed, every, ["-at", "-id"]))
        if denials.fit(act=self.act, result=self.result):
            asked = {name: value for name, value in self._asked.items() if name != "result"}
            lists.append(Listing(denials.asked(**asked), Denial.objects.all(), ["-at", "-id"]))
        return walk_together(lists, after=after, most=FAR)

    def _log(self) -> Listing:
        act = self.act if "." in self.act else ""
        every = AuditEvent.objects.asked(actor=self.actor, act=act)
        every = every.between(_midnight(self.since), _midnight(self.until, days=1))
        rows = every.asked(act=self.act, target=self.target, result=self.result)
        return Listing(rows, every, ["-id"])


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the page; `row` is in no table if a client pushed."""

    row: AuditEvent
    icon: str
    words: str
    by: str
    target: Actor
    result: tuple[str, str, Any]  # badge, icon, word
    reason: Any  # of a refused request, in words
    code: str  # of an act that has no words
    details: list[tuple[str, str]]


@require_role(Role.VIEWER)
def activity(request: Request) -> HttpResponse:
    """The page, or its list for htmx."""
    asked = _filters(request.GET)
    found = asked.found(request.GET.get("after", ""))
    rows = [_as_row(one) for one in found.rows]
    if asked.act not in words.BEGINNINGS:
        rows = folding.folded(rows)
    targets = words.targets(request, rows)
    context = {
        "page": found,
        "rows": [_line(row, targets[row.pk]) for row in rows],
        "filters": asked,
        "is_filtered": bool(asked.query),
        "may_be_exported": not denials.only(asked.act),
        "far": FAR if found.is_stopped else 0,
        "checked": _checked(),
    }
    if wants_fragment(request):
        return render(request, "activity/_fragment.html", context)
    context |= {"acts": words.ACTS, "results": words.RESULTS}
    return render(request, "activity/page.html", context)


@require_role(Role.ADMIN, methods=("POST",))
def activity_export(request: Request) -> StreamingHttpResponse:
    """All rows that the filters let through, the oldest first, while they are read. A form, because
    an export is logged, too."""
    asked = _filters(request.POST)
    form = read_or_default(request.POST, form=one_of(FORMS, "jsonl"))["form"]
    details = {"form": form, **asked.query}
    last = audit.record("audit.export", "", by=request.user.actor, details=details)
    rows = asked.rows.filter(id__lte=last.pk).order_by("id")
    pushed = asked.pushed.filter(at__lte=last.at).order_by("at", "id")
    name = f"activity-{timezone.localtime():%Y-%m-%d-%H%M%S}.{form}"
    return StreamingHttpResponse(
        (line.encode() for line in export.lines(rows, pushed, form=form)),
        content_type=FORMS[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_role(Role.ADMIN, methods=("POST",))
def activity_verify(request: Request) -> HttpResponse:
    """Asks the worker to walk over the whole log; what it finds is a row of the log."""
    tasks.verify_log(by=request.user.actor, address=audit.address.get())
    messages.info(request, _("The check of the log is in progress. This page shows the result."))
    return back_to(request, "activity")


def _as_row(one: AuditEvent | RegistryEvent | Denial) -> AuditEvent:
    if isinstance(one, RegistryEvent):
        return pushes.as_row(one)
    return denials.as_row(one) if isinstance(one, Denial) else one


def _line(row: AuditEvent, target: Actor) -> Line:
    icon, name = words.act_words(row.act)
    is_denial = denials.only(row.act)
    return Line(
        row,
        icon,
        name,
        words.actor(row.actor, act=row.act),
        target,
        words.RESULTS[row.result],
        Denial.Reason(row.details["reason"]).label if is_denial else "",
        "" if words.is_known(row.act) else row.act,
        words.details(row),
    )


def _checked() -> dict[str, Any] | None:
    """When the log was last checked, and what was wrong; None: not yet."""
    found = newest_check()
    if found is None:
        return None
    flaws = [words.flaw_words(what, row) for what, row in found.flaws]
    return {"at": found.at, "rows": found.rows, "count": found.count, "flaws": flaws}


def _filters(sent: QueryDict) -> Filters:
    asked = read_or_default(
        sent,
        **{name: Words() for name in ("actor", "act", "target")},
        **{name: day(first=FIRST_DAY) for name in ("since", "until")},
        result=one_of(AuditEvent.Result.values),
    )
    return Filters(**asked)


def _midnight(of: date | None, *, days: int = 0) -> datetime | None:
    if of is None:
        return None
    return timezone.make_aware(datetime.combine(of + timedelta(days=days), time()))
