"""Who may open what: every view wears `needs` or `anyone`, and nothing else tests a role.

The navigation reads the same marks (`may_open`), so a page never offers a link that would end
in "not allowed".
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast
from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    QueryDict,
)
from django.shortcuts import render
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve, reverse
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from registryui import audit
from registryui.models import AuditEvent, Operator, Role

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

log = logging.getLogger(__name__)

# Of a page's address: what only opened a form or a question there, and what an open page had seen.
_PASSING = ("new", "edit", "remove", "run", "ask", "restore_digest", "seen")


class Request(HttpRequest):
    """What a view behind `needs` gets: somebody is logged in, and htmx may be asking."""

    user: Operator
    htmx: HtmxDetails


P = ParamSpec("P")
View = Callable[Concatenate[Request, P], HttpResponseBase]
Wrapped = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def require_role(
    role: Role, *, methods: Sequence[str] = ("GET",)
) -> Callable[[View[P]], Wrapped[P]]:
    """Let an operator with `role` (or a higher one) in. GET includes HEAD.

    Others: login page with the way back; 401 for a fragment; 403 with words; 405.
    """

    def decorate(view: View[P]) -> Wrapped[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            operator = request.user
            if not isinstance(operator, Operator) or not operator.is_active:
                response: HttpResponseBase = _to_login(request)
            elif not operator.has_role(role):
                response = _refuse(request, role)
            elif not _is_allowed(request, methods):
                response = HttpResponseNotAllowed(_with_head(methods))
            else:
                response = view(request, *args, **kwargs)  # type: ignore[arg-type]
            return _private(response)

        guarded.role = role  # type: ignore[attr-defined]
        guarded.is_page = "GET" in methods  # type: ignore[attr-defined]
        return cast("Wrapped[P]", guarded)

    return decorate


def public(*, methods: Sequence[str] = ("GET",)) -> Callable[[Wrapped[P]], Wrapped[P]]:
    """Let everybody in: for pages that show nothing of the registry's content."""

    def decorate(view: Wrapped[P]) -> Wrapped[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not _is_allowed(request, methods):
                return HttpResponseNotAllowed(_with_head(methods))
            return view(request, *args, **kwargs)

        guarded.role = None  # type: ignore[attr-defined]
        guarded.is_page = "GET" in methods  # type: ignore[attr-defined]
        return cast("Wrapped[P]", guarded)

    return decorate


def may_open(user: Operator | AnonymousUser, name: str) -> bool:
    """True if `user` may open the page of that URL name; False if there is no such page."""
    roles = _roles()
    if name not in roles:
        return False
    role = roles[name]
    return role is None or (isinstance(user, Operator) and user.has_role(role))


def client_address(request: HttpRequest) -> str:
    """The address of the person's machine. nginx, and only nginx on loopback, may tell us another
    than the one that connected."""
    peer = str(request.META.get("REMOTE_ADDR", ""))
    told = request.META.get("HTTP_X_REAL_IP", "").strip()
    if told and (not peer or _is_loopback(peer)):
        try:
            return str(ipaddress.ip_address(told))
        except ValueError:
            return peer
    return peer


def tell_address(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: what is recorded while a request is answered has the address it came from."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        with audit.asked_from(client_address(request)):
            return get_response(request)

    return answer


def safe_next(request: HttpRequest, url: str, *, default: str) -> str:
    """`url` as a path on this site, else `default`: nobody is sent to a stranger's page."""
    hosts = {request.get_host()}
    if not url or not url_has_allowed_host_and_scheme(url, hosts, request.is_secure()):
        return default
    parts = urlsplit(url)
    path = parts.path if parts.path.startswith("/") else ""
    # A path may begin with one slash only: with two, a browser reads a host.
    path = "/" + path.lstrip("/\\") if path else default
    return f"{path}?{parts.query}" if parts.query else path


def sent_from(request: HttpRequest, *, reads_form: bool = True) -> str:
    """The page that a form was on, with its filter, as a path on this site: what its field `back`
    says, else the Referer. "" if neither is a page that can be opened."""
    field = request.POST.get("back", "") if reads_form else ""
    for url in (field, request.headers.get("Referer", "")):
        place = safe_next(request, url, default="")
        if place and _is_page(place):
            return place
    return ""


def back_to(
    request: HttpRequest, name: str, *values: object, without: Sequence[str] = (), **otherwise: str
) -> HttpResponseRedirect:
    """To that page after an act. If the form was on it, with its filter, order and place in the
    list, but for `without`, what the act used up; without any, with the query `otherwise`."""
    place = reverse(name, args=values)
    path, _mark, text = sent_from(request).partition("?")
    query = QueryDict((text if path == place else "") or urlencode(otherwise), mutable=True)
    for field in (*_PASSING, *without):
        query.pop(field, None)
    return HttpResponseRedirect(f"{place}?{query.urlencode()}" if query else place)


def _is_page(place: str) -> bool:
    try:
        view = resolve(place.partition("?")[0]).func
    except Resolver404:
        return False
    return bool(getattr(view, "is_page", False))


def _to_login(request: HttpRequest) -> HttpResponse:
    """The login page; a fragment gets the order to load its page again, which then comes here. Of
    a form that was sent nothing is done: after the login its page is there again."""
    if getattr(request, "htmx", False):
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})
    if request.method in ("GET", "HEAD"):
        return redirect_to_login(request.get_full_path())
    messages.warning(request, _("Your session had ended, so nothing was done. Repeat the action."))
    # An upload is not read for it: nobody knows who sends it.
    is_small = request.content_type == "application/x-www-form-urlencoded"
    return redirect_to_login(sent_from(request, reads_form=is_small) or "/")


def _refuse(request: HttpRequest, role: Role) -> HttpResponse:
    """The page of words, a line of the log, and if a form was sent a row of the audit log: somebody
    wanted to change something."""
    log.info("refused: %s %s to %s", request.method, request.path, request.user)
    if request.method not in ("GET", "HEAD", "OPTIONS") and isinstance(request.user, Operator):
        audit.record(
            "page.refuse",
            request.path,
            by=request.user.actor,
            result=AuditEvent.Result.REFUSED,
            details={"needed": role.value, "role": request.user.role},
        )
    return render(request, "403.html", {"needed": role.label}, status=403)


def _is_allowed(request: HttpRequest, methods: Sequence[str]) -> bool:
    return request.method in _with_head(methods)


def _with_head(methods: Sequence[str]) -> list[str]:
    return [*methods, "HEAD"] if "GET" in methods else list(methods)


def _private(response: HttpResponseBase) -> HttpResponseBase:
    """Keep it out of every cache: one address is a page or a fragment, and a logout is an end."""
    if not response.has_header("Cache-Control"):
        add_never_cache_headers(response)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=1)
def _roles() -> dict[str, Role | None]:
    """URL name -> role that its view needs; None: everybody's."""
    found: dict[str, Role | None] = {}

    def walk(patterns: Sequence[Any]) -> None:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns)
            elif isinstance(pattern, URLPattern) and pattern.name:
                found[pattern.name] = getattr(pattern.callback, "role", None)

    walk(get_resolver().url_patterns)
    return found
