"""When a tag expires: what its page says of it, and the form that sets it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import schedules
from registryui.index import expiry as known
from registryui.models import NEVER, Role, Tag
from registryui.models.mirrored import is_mirrored
from registryui.oci.expiry import LABEL, in_text
from registryui.refused import Refused
from registryui.retention import expiry
from registryui.views.access import Request, may_open, require_role
from registryui.views.catalogue.repository import missing
from registryui.views.form import one_of, read, read_or_default, text

WAYS = ("in", "at", "never", "label")


def shown(request: Request, tag: Tag | None) -> dict[str, Any]:
    """What the page of a tag says; nothing of referrer tags, and of what mirrors do not apply."""
    if tag is None or tag.refers_to or tag.manifest is None:
        return {}
    found = known.of(tag)
    may_be_over = found.is_set or found.label
    if may_be_over and is_mirrored(tag.repository.name):  # a query that most pages do not need
        return {}
    return {
        "expiry": found,
        "expiry_label": f"{LABEL}={in_text(found.label)}" if found.label else "",
        "is_label_counted": tag.label_expires_at is not None and not found.is_set and found.at,
        "may_set_expiry": may_open(request.user, "tag_expiry"),
    }


@require_role(Role.MAINTAINER, methods=("GET", "POST"))
def tag_expiry(request: Request, repository: str, tag: str) -> HttpResponse:
    """The form; a POST sets it."""
    row = (
        Tag.objects.select_related("repository", "manifest")
        .defer("manifest__raw", "manifest__config", "manifest__annotations")
        .filter(repository__name=repository, name=tag)
        .first()
    )
    if row is None:
        return missing(request, repository, reference=tag)
    try:
        expiry.check(row)
    except Refused as error:
        messages.error(request, str(error))
        return redirect("tag", repository, tag)
    if request.method != "POST":
        return _page(request, row, _as_it_is(row))
    try:
        at = _wanted(request.POST)
        expiry.set_expiry(repository, tag, at, by=request.user.actor)
    except Refused as error:
        sent = read_or_default(request.POST, way=one_of(WAYS, "in"))
        typed = {"duration": request.POST.get("duration", ""), "at": request.POST.get("at", "")}
        return _page(request, row, {**sent, **typed}, error=str(error))
    name = {"name": f"{repository}:{tag}"}
    if at is None:
        messages.success(request, _("Removed the expiry of %(name)s.") % name)
    elif at == NEVER:
        messages.success(request, _("%(name)s does not expire.") % name)
    else:
        when = {**name, "when": schedules.when(at)}
        messages.success(request, _("%(name)s expires %(when)s.") % when)
    return redirect("tag", repository, tag)


def _wanted(post: QueryDict) -> datetime | None:
    """Raises Refused."""
    sent = read(post, way=text(), duration=text(), at=text())
    match sent["way"]:
        case "in":
            return expiry.after(sent["duration"])
        case "at":
            return expiry.moment(sent["at"])
        case "never":
            return NEVER
        case "label":
            return None
    raise Refused(_("Choose when the tag expires."))


def _as_it_is(row: Tag) -> dict[str, Any]:
    """The fields of the form: what is set, or what is proposed."""
    proposed = {"way": "in", "duration": "2w", "at": _local(timezone.now() + timedelta(weeks=2))}
    if row.expires_at is None:
        return proposed
    if row.expires_at == NEVER:
        return {**proposed, "way": "never"}
    return {**proposed, "way": "at", "at": _local(row.expires_at)}


def _local(at: datetime) -> str:
    """As a browser's field takes it."""
    return timezone.localtime(at).strftime("%Y-%m-%dT%H:%M")


def _page(request: Request, row: Tag, sent: dict[str, Any], *, error: str = "") -> HttpResponse:
    context = {"tag": row, "repository": row.repository, "sent": sent, "error": error}
    context |= shown(request, row)
    context["zone"] = timezone.get_current_timezone_name()
    return render(request, "catalogue/tag/expiry.html", context, status=409 if error else 200)
