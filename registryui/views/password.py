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

from .access import Request, needs


@sensitive_post_parameters()
@needs(Role.VIEWER, methods=("GET", "POST"))
def password(request: Request) -> HttpResponse:
    """The other sessions of this operator end with the change; this one goes on."""
    form = PasswordChangeForm(request.user, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        operators.change_own_password(request.user, form.cleaned_data["new_password1"])
        update_session_auth_hash(request, request.user)
        messages.success(request, _("Your password is changed. Other sessions have ended."))
        return redirect("dashboard")
    if "old_password" in form.errors:
        operators.record_wrong_password(request.user)
    return render(request, "password/page.html", {"form": form}, status=422 if form.errors else 200)
