"""Theme and language, so that the login page can have them too, and whether the first steps are
shown: cookies."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from registryui.views.access import public, safe_next
from registryui.views.context import STEPS_COOKIE, THEME_COOKIE, THEMES
from registryui.views.form import one_of, read_or_default

YEAR = 365 * 24 * 3600  # seconds


@public(methods=("POST",))
def preferences(request: HttpRequest) -> HttpResponse:
    """Set what was sent, and go `to` that page or back to where the person was; unknown values
    change nothing."""
    home = reverse("dashboard")
    came_from = request.headers.get("Referer", "") or request.POST.get("next", "")
    to = request.POST.get("to", "") or came_from
    response = HttpResponseRedirect(safe_next(request, to, default=home))
    fields = {
        "language": one_of(dict(settings.LANGUAGES)),
        "theme": one_of((*THEMES, "auto")),
        "steps": one_of(("on", "off")),
    }
    language, theme, steps = read_or_default(request.POST, **fields).values()
    if language:
        _keep(response, settings.LANGUAGE_COOKIE_NAME, language)
    if theme == "auto":
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    elif theme:
        _keep(response, THEME_COOKIE, theme)
    if steps == "on":
        response.delete_cookie(STEPS_COOKIE, samesite="Lax")
    elif steps:
        _keep(response, STEPS_COOKIE, steps)
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
