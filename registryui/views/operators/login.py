"""Log in, log out, and the page of somebody who guessed too often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from axes.helpers import get_cool_off
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from registryui import operators
from registryui.models import Operator
from registryui.views.access import public, safe_next

from .password_turn import password_turn, too_many

PAUSE = timedelta(minutes=1)  # between two lines in the audit log about names that nobody has


@never_cache
@sensitive_post_parameters("password")
@public(methods=("GET", "POST"))
def login(request: HttpRequest) -> HttpResponse:
    """The answer is the same for a wrong name and a wrong password, in words and in time."""
    sent = request.POST.get("next", "") or request.GET.get("next", "")
    following = safe_next(request, sent, default=reverse("dashboard"))
    if request.user.is_authenticated:
        return HttpResponseRedirect(following)
    if request.method == "POST":
        with password_turn() as is_ours:
            return _checked(request, following) if is_ours else too_many(request)
    return _page(request, AuthenticationForm(request), following)


def _checked(request: HttpRequest, following: str) -> HttpResponse:
    form = AuthenticationForm(request, _sent(request))
    if form.is_valid():
        auth.login(request, form.get_user())
        operators.record_login(form.get_user())
        keep = "keep" in request.POST
        request.session.set_expiry(settings.SESSION_COOKIE_AGE if keep else 0)
        return HttpResponseRedirect(following)
    if not getattr(request, "axes_locked_out", False):
        typed = form.cleaned_data.get("username", "")
        operators.record_failed_login(typed, is_locked=False, pause=PAUSE)
    return _page(request, form, following)


def _page(request: HttpRequest, form: AuthenticationForm, following: str) -> HttpResponse:
    context = {
        "next": following,
        "username": request.POST.get("username", "")[:150],
        "is_wrong": form.is_bound,
    }
    status = 422 if form.is_bound else 200
    return render(request, "operators/login/page.html", context, status=status)


def _sent(request: HttpRequest) -> dict[str, str]:
    """What the form sent. No operator's name is longer, and axes' column is not much longer."""
    return {**request.POST.dict(), "username": request.POST.get("username", "")[:150]}


@public(methods=("POST",))
def logout(request: HttpRequest) -> HttpResponse:
    if isinstance(request.user, Operator):
        operators.record_logout(request.user)
    auth.logout(request)
    return redirect("login")


def locked_out(
    request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """django-axes asks for this page. It counts by name and address together, known or not."""
    wait = get_cool_off(request)
    typed = str((credentials or {}).get("username") or "")
    operators.record_failed_login(typed, is_locked=True, pause=wait)
    again_at = timezone.now() + wait
    page = render(
        request,
        "operators/login/locked_out.html",
        {"again_at": again_at, "minutes": round(wait.total_seconds() / 60)},
        status=429,
    )
    page["Retry-After"] = str(int(wait.total_seconds()))
    return page
