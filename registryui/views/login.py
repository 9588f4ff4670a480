"""Log in, log out, and the page of somebody who guessed too often."""

from __future__ import annotations

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

from .access import anyone, safe_next


@never_cache
@sensitive_post_parameters("password")
@anyone(methods=("GET", "POST"))
def login(request: HttpRequest) -> HttpResponse:
    """The answer is the same for a wrong name and a wrong password, in words and in time."""
    sent = request.POST.get("next", "") or request.GET.get("next", "")
    following = safe_next(request, sent, default=reverse("dashboard"))
    if request.user.is_authenticated:
        return HttpResponseRedirect(following)
    form = AuthenticationForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        auth.login(request, form.get_user())
        keep = "keep" in request.POST
        request.session.set_expiry(settings.SESSION_COOKIE_AGE if keep else 0)
        return HttpResponseRedirect(following)
    context = {
        "next": following,
        "username": request.POST.get("username", "")[:150],
        "is_wrong": form.is_bound,
    }
    return render(request, "login/page.html", context, status=422 if form.is_bound else 200)


@anyone(methods=("POST",))
def logout(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return redirect("login")


def locked_out(
    request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """django-axes asks for this page. It counts by name and address together, known or not."""
    wait = get_cool_off(request)
    again_at = timezone.now() + wait
    page = render(
        request,
        "login/locked_out.html",
        {"again_at": again_at, "minutes": round(wait.total_seconds() / 60)},
        status=429,
    )
    page["Retry-After"] = str(int(wait.total_seconds()))
    return page
