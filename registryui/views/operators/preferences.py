"""Theme and language: two cookies, so that the login page can have them too."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from registryui.views.access import public, safe_next
from registryui.views.context import THEME_COOKIE, THEMES

YEAR = 365 * 24 * 3600  # seconds


@public(methods=("POST",))
def preferences(request: HttpRequest) -> HttpResponse:
    """Set what was sent, and go back to where the person was; unknown values change nothing."""
    home = reverse("dashboard")
    came_from = request.headers.get("Referer", "") or request.POST.get("next", "")
    response = HttpResponseRedirect(safe_next(request, came_from, default=home))
    language = request.POST.get("language", "")
    if language in dict(settings.LANGUAGES):
        _keep(response, settings.LANGUAGE_COOKIE_NAME, language)
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        _keep(response, THEME_COOKIE, theme)
    elif theme == "auto":
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    return response


def _keep(response: HttpResponse, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=YEAR,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
