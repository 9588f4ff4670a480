"""A registry user was created or got a new secret: shows it once, with the setup commands."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui.accounts import publish
from registryui.accounts.users import Done, rights_of
from registryui.models import RegistryUser, Role
from registryui.views.access import Request, require_role

from . import setup_commands
from .words import ends_word, hash_words, may_words, proof_words

# What was just done waits here for the page after the redirect, which takes it out: the secret is
# encrypted in the session's row for that moment, and in no address, cookie, message or log.
_DONE = "registry_user_done"


@dataclass(frozen=True, slots=True)
class Handed:
    """What the page says for this once."""

    secret: str
    is_new: bool  # the user; else only the secret
    proof: publish.Proof
    warning: str


@sensitive_variables("done")
def hand_over(request: Request, done: Done, *, is_new: bool) -> HttpResponse:
    """Sends the browser to the page below, with what it shows in the session."""
    proof = done.proof
    request.session[_DONE] = {
        "pk": done.user.pk,
        "secret": done.secret,
        "is_new": is_new,
        "proof": [proof.is_proved, proof.seconds, proof.reason],
        "warning": done.warning,
    }
    return redirect("user_setup", pk=done.user.pk)


@require_role(Role.MAINTAINER)
@sensitive_variables("handed")
def user_setup(request: Request, pk: int) -> HttpResponse:
    """Looked at again, it has nothing to say: the page of the user takes over."""
    row = get_object_or_404(
        RegistryUser.objects.visible_to(request.user).prefetch_related("rights"), pk=pk
    )
    handed = _taken(request, pk)
    if handed is None:
        return redirect("user", pk=pk)
    may = rights_of(row)
    name = {"name": row.name}
    context = {
        "row": row,
        "handed": handed,
        "title": (
            _("Created %(name)s") % name if handed.is_new else _("New secret for %(name)s") % name
        ),
        "proof": proof_words(handed.proof),
        "ends_word": ends_word(row),
        "may_words": may_words(may, most=None),
        "hash_words": hash_words(row),
        "clients": setup_commands.clients(row, may),
    }
    return render(request, "users/setup.html", context)


@sensitive_variables("found")
def _taken(request: Request, pk: int) -> Handed | None:
    """What waits in the session for that user's page, out of the session."""
    found = request.session.get(_DONE)
    if request.method != "GET" or not found or found.get("pk") != pk:
        return None
    del request.session[_DONE]
    proof = publish.Proof(*found["proof"])
    return Handed(found["secret"], found["is_new"], proof, found["warning"])
