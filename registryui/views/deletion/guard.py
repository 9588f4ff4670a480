"""Deletes and pushes of clients where protections may forbid them: nginx asks here in the
registry's place (deploy/nginx.conf.template, `/_guarded`), deletion/guard.py decides."""

from __future__ import annotations

from base64 import b64encode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from registryui.deletion import guard
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.views.access import public
from registryui.views.search.docker import verified

_KNOWN = (("PUT", "manifests"), ("DELETE", "manifests"), ("DELETE", "blobs"))
# What the registry hears of a client: for its answers, its log and its notifications.
_HEADERS = (
    *("User-Agent", "Accept", "Content-Type"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "X-Request-ID"),
)


@csrf_exempt  # no browser, no cookie
@public(methods=("PUT", "DELETE"))  # not an operator's page: nginx has checked the user
def guarded(request: HttpRequest, repository: str, kind: str, reference: str) -> HttpResponse:
    name = verified(request)
    if not name:
        return HttpResponse(status=401)
    if (request.method, kind) not in _KNOWN:
        return HttpResponse(status=405)
    headers = {one: request.headers[one] for one in _HEADERS if one in request.headers}
    headers["Host"] = settings.REGISTRY_NAME
    # The registry knows the user by its login, and checks none; the secret stayed at nginx.
    headers["Authorization"] = "Basic " + b64encode(f"{name}:".encode()).decode()
    asked = guard.Asked(
        request.method or "",
        kind,
        repository,
        reference,
        headers,
        request.read(MANIFEST_LIMIT + 1) if request.method == "PUT" else b"",
        until=_until(request),
    )
    told = guard.answer(asked)
    response = HttpResponse(told.body, status=told.status)
    del response["Content-Type"]
    for header, value in told.headers:
        response[header] = value
    return response


def _until(request: HttpRequest) -> float:
    """When nginx gives up, and says that nothing was done: a portal that was frozen meanwhile must
    not do it afterwards."""
    began = request.headers.get("X-Boathouse-Began", "")
    try:
        return float(began) + guard.PATIENCE
    except ValueError:
        return float("inf")
