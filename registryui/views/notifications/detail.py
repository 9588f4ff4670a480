"""One receiver: what it is sent, its messages and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Max
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from registryui.models import Delivery, Receiver, Role
from registryui.models.paging import page
from registryui.notify import deliveries, receivers, sending
from registryui.refused import Refused
from registryui.views.access import Request, back_to, require_role
from registryui.views.form import Number, one_of, read, read_or_default, text
from registryui.views.live import digits, minute, not_changed, wants_fragment

from . import forms
from .words import shown, wants

SIZE = 20  # deliveries of a page
# A new signing secret waits here for the page after the redirect, which takes it out: it is
# encrypted in the session's row for that moment.
_HANDED = "receiver_handed"


@sensitive_variables("secret")
def hand_over(request: Request, row: Receiver, secret: str) -> None:
    """Has the page of the receiver show the secret once."""
    if secret:
        request.session[_HANDED] = {"pk": row.pk, "secret": secret}


@require_role(Role.ADMIN)
def receiver(request: Request, pk: int) -> HttpResponse:
    """The page; `edit` opens the form, `remove` asks. As a fragment: its messages alone, 204 while
    they are as ?seen= says."""
    row = get_object_or_404(Receiver, pk=pk)
    if (unchanged := not_changed(request, _token(row))) is not None:
        return unchanged
    if wants_fragment(request):
        return render(request, "notifications/_deliveries.html", _deliveries(request, row))
    form = forms.filled(row) if "edit" in request.GET else None
    return _page(request, row, form=form, behind="remove" in request.GET)


@sensitive_post_parameters("address")
@require_role(Role.ADMIN, methods=("POST",))
def receiver_change(request: Request, pk: int) -> HttpResponse:
    """Does to the receiver what the pressed button names."""
    row = get_object_or_404(Receiver, pk=pk)
    try:
        return _act(request, row)
    except Refused as error:
        if request.POST.get("act") == "change":  # what was typed must not be lost
            return _page(request, row, form=request.POST.dict(), error=str(error), status=422)
        messages.error(request, str(error))
        return back_to(request, "receiver", pk)


# -- acts ----------------------------------------------------------------------------------------
def _act(request: Request, row: Receiver) -> HttpResponse:
    """Raises Refused, also for an act that is none."""
    post, by, name = request.POST, request.user.actor, {"name": row.name}
    match post.get("act"):
        case "test":
            _test(request, row)
        case "resend":
            wanted = read(post, delivery=Number())["delivery"]
            deliveries.send_again(get_object_or_404(Delivery, pk=wanted, receiver=row))
            words = _("The message is sent to %(name)s again in a moment.")
            messages.success(request, words % name)
        case "change":
            receivers.change(row, forms.wanted(post, row.kind), by=by)
            messages.success(request, _("Changed the receiver %(name)s.") % name)
        case "on":
            receivers.set_active(row, is_active=True, by=by)
            messages.success(request, _("Enabled the receiver %(name)s.") % name)
        case "off":
            receivers.set_active(row, is_active=False, by=by)
            messages.success(request, _("Disabled the receiver %(name)s.") % name)
        case "secret":
            hand_over(request, row, receivers.renew_secret(row, by=by))
        case "remove":
            receivers.remove(row, by=by)
            messages.success(request, _("Removed the receiver %(name)s.") % name)
            return redirect("notifications")
        case _:
            raise Refused(_("This action is not supported."))
    return back_to(request, "receiver", row.pk)


def _test(request: Request, row: Receiver) -> None:
    sent = shown(sending.send_test(row, by=request.user.actor))
    if sent.error:
        words = _("The test message to %(name)s did not arrive: %(reason)s.")
        messages.error(request, words % {"name": row.name, "reason": sent.error})
    else:
        words = _("The test message to %(name)s arrived (%(answer)s).")
        messages.success(request, words % {"name": row.name, "answer": sent.attempts[0][1]})


# -- the page ------------------------------------------------------------------------------------
@sensitive_variables("handed")
def _page(
    request: Request,
    row: Receiver,
    *,
    form: Mapping[str, Any] | None,
    error: str = "",
    behind: bool = False,
    status: int = 200,
) -> HttpResponse:
    handed = request.session.pop(_HANDED, None) or {}
    context = {
        **_deliveries(request, row),
        "wants": wants(row),
        "secret": handed.get("secret", "") if handed.get("pk") == row.pk else "",
        "form": form,
        "error": error,
        "behind": behind,
        "has_mail": bool(settings.SMTP_HOST),
        "languages": settings.LANGUAGES,
    }
    return render(request, "notifications/receiver.html", context, status=status)


def _deliveries(request: Request, row: Receiver) -> dict[str, Any]:
    """Three queries."""
    asked = read_or_default(request.GET, state=one_of(("", *Delivery.State.values)), after=text())
    rows = row.deliveries.all()
    if asked["state"]:
        rows = rows.filter(state=asked["state"])
    found = page(rows, ("-made_at", "-id"), after=asked["after"], size=SIZE)
    return {
        "row": row,
        "token": _token(row),
        "page": found,
        "deliveries": [shown(one) for one in found.rows],
        "state": asked["state"],
        "counts": deliveries.counts(row),
    }


def _token(row: Receiver) -> str:
    """Another one once anything was queued or tried. One query."""
    newest = row.deliveries.aggregate(id=Max("id"), at=Max("next_at"))
    return f"{newest['id']}-{digits(newest['at'])}-{digits(row.changed_at)}-{minute()}"
