"""Delete permanently: a digest that must no longer be pulled, such as one with a secret."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from registryui.deletion import execute
from registryui.deletion.execute import Purge
from registryui.models import Repository, Role
from registryui.oci.digest import short
from registryui.refused import Refused
from registryui.views.access import Request, require_role
from registryui.views.catalogue.repository import last_part, missing
from registryui.views.form import Words, read_or_default

from .plan import failed_words

SHOWN = 50  # names of a kind


@require_role(Role.ADMIN, methods=("GET", "POST"))
def purge_manifest(request: Request, repository: str, digest: str) -> HttpResponse:
    """The page with what else it hits; a POST with the repository's name typed does it."""
    try:
        plan = execute.plan_purge(repository, digest)
        if request.method != "POST":
            return _page(request, plan)
        return _act(request, plan)
    except Refused as error:
        if not Repository.objects.filter(name=repository, manifests__digest=digest).exists():
            return missing(request, repository, reference=digest)
        messages.error(request, str(error))
        return redirect("manifest", repository, digest)


def _act(request: Request, plan: Purge) -> HttpResponse:
    if request.POST.get("fingerprint", "") != plan.fingerprint:
        error = _("The content has changed since this page was loaded. Nothing was deleted.")
        return _page(request, plan, error=error)
    if read_or_default(request.POST, name=Words())["name"] != plan.repository:
        error = _("The name does not match the name of the repository. Nothing was deleted.")
        return _page(request, plan, error=error)
    try:
        done = execute.purge_manifest(
            plan.repository, plan.digest, by=request.user.actor, fingerprint=plan.fingerprint
        )
    except execute.Changed as error:
        if isinstance(error.plan, Purge):
            return _page(request, error.plan, error=str(error))
        raise
    failed = [one for one in done.results if one.state != "deleted"]
    if len(failed) < len(done.results):
        messages.success(
            request,
            _("Permanently deleted %(digest)s from %(repository)s.")
            % {"digest": short(plan.digest), "repository": plan.repository},
        )
    if words := failed_words(plan.repository, failed):
        messages.warning(request, words)
    return redirect("repository", plan.repository)


def _page(request: Request, plan: Purge, *, error: str = "") -> HttpResponse:
    row = Repository.objects.get(name=plan.repository)
    context: dict[str, Any] = {
        "plan": plan,
        "repository": row,
        "last_part": last_part(row),
        "error": error,
        "shown": SHOWN,
        "protected": [one for one in plan.left_out if one.reason == "protected"],
    }
    return render(request, "deletion/purge.html", context, status=409 if error else 200)
