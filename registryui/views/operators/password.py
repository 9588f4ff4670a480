"""Change one's own password."""

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from registryui import operators
from registryui.models import Role
from registryui.views.access import Request, require_role

from .password_turn import password_turn, too_many


@sensitive_post_parameters()
@require_role(Role.VIEWER, methods=("GET", "POST"))
def password(request: Request) -> HttpResponse:
    """The other sessions of this operator end with the change; this one goes on."""
    if request.method == "POST":
        with password_turn() as is_ours:
            return _changed(request) if is_ours else too_many(request)
    form = PasswordChangeForm(request.user)
    return render(request, "operators/password/page.html", {"form": form})


def _changed(request: Request) -> HttpResponse:
    form = PasswordChangeForm(request.user, request.POST)
    if form.is_valid():
        operators.change_own_password(request.user, form.cleaned_data["new_password1"])
        update_session_auth_hash(request, request.user)
        messages.success(request, _("Changed your password and ended all other sessions."))
        return redirect("dashboard")
    if "old_password" in form.errors:
        operators.record_wrong_password(request.user)
    return render(request, "operators/password/page.html", {"form": form}, status=422)
