"""All imports, the one that is in progress, and the form that begins one of another registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from registryui import formats, tasks
from registryui.imports import asked
from registryui.imports.registry import access
from registryui.imports.run import Result
from registryui.imports.source import Options
from registryui.models import Role, Run
from registryui.models.paging import page
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.form import Number, Size, read, read_or_default, text
from registryui.views.live import minute, not_changed, wants_fragment
from registryui.views.plain_text import line

from .run import Shown

SIZE = 20  # imports of a page
_FIELDS = ("url", "user", "namespace", "patterns", "ca")


@require_role(Role.ADMIN)
def imports(request: Request) -> HttpResponse:
    """The list; `new` opens the form, `again` fills it in as that import was asked for."""
    newest = _runs().first()
    token = f"{newest.pk}-{newest.state}-{newest.done}-{minute()}" if newest else ""
    if (unchanged := not_changed(request, token)) is not None:
        return unchanged
    form: Mapping[str, Any] | None = None
    again = read_or_default(request.GET, again=Number())["again"]
    if again and (before := _runs().filter(pk=again).first()) and Shown(before).can_be_repeated:
        form = _filled(before)
    elif newest is None or "new" in request.GET:
        form = {}
    return _page(request, form=form, token=token)


@sensitive_post_parameters("password")
@require_role(Role.ADMIN, methods=("POST",))
def import_begin(request: Request) -> HttpResponse:
    """Begins an import of another registry, or a dry run of it."""
    try:
        run = _begun(request)
    except Refused as error:  # what was typed must not be lost
        return _page(request, form=request.POST.dict(), error=str(error), status=422)
    return redirect("import_run", run.pk)


@sensitive_variables()
def _begun(request: Request) -> Run:
    typed = read(
        request.POST,
        **{name: text() for name in (*_FIELDS, "act", "replace", "may_be_plain")},
        password=text(strip=False),
        rate=Size(required=False),
    )
    where = access(
        typed["url"],
        user=typed["user"],
        password=typed["password"],
        ca=typed["ca"],
        may_be_plain=typed["may_be_plain"] == "1",
    )
    options = Options(
        patterns=tuple(typed["patterns"].split()),
        namespace=typed["namespace"].strip("/"),
        rate=typed["rate"] or 0,
        replace=typed["replace"] == "1",
        dry_run=typed["act"] == "dry_run",
    )
    run, secrets = asked.begin(where, options, by=request.user.actor)
    tasks.import_registry(run.pk, secrets, request.LANGUAGE_CODE)
    if not options.dry_run:
        words = _("The import from %(source)s has begun. You can leave this page.")
        messages.success(request, words % {"source": line(Result.of(run).source, 200)})
    return run


def _page(
    request: Request,
    *,
    form: Mapping[str, Any] | None,
    error: str = "",
    status: int = 200,
    token: str = "",
) -> HttpResponse:
    found = page(_runs(), ("-started_at", "-id"), after=request.GET.get("after", ""), size=SIZE)
    context = {
        "page": found,
        "rows": [Shown(run) for run in found.rows],
        "is_running": any(run.state == Run.State.RUNNING for run in found.rows),
        "form": form,
        "error": error,
        "token": token,
    }
    template = "imports/_list.html" if wants_fragment(request) else "imports/page.html"
    return render(request, template, context, status=status)


def _filled(run: Run) -> Mapping[str, Any]:
    """The form's fields as that import had them, without its password."""
    told = Result.of(run).about
    rate = told.get("rate")
    return {
        **{name: str(told.get(name, "")) for name in ("url", "user", "namespace")},
        "patterns": " ".join(map(str, told.get("patterns") or ())),
        "rate": formats.size(rate) if isinstance(rate, int) and rate else "",
        "replace": "1" if told.get("replace") else "",
    }


def _runs() -> QuerySet[Run]:
    return Run.objects.filter(kind=Run.Kind.IMPORT).order_by("-started_at", "-id")
