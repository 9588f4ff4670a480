"""The page for what went wrong inside. It needs no table, no session, no static file."""

import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error

from registryui import database_errors


def failed(request: HttpRequest) -> HttpResponse:
    """503 if the database is away, which ends by itself; else 500. Django logs it, and with it what
    portal/logs.py adds: the request's id."""
    kind = database_errors.kind(sys.exc_info()[1])
    if kind == "away":
        return HttpResponse(render_to_string("503.html"), status=503, headers={"Retry-After": "10"})
    if kind:
        return HttpResponse(render_to_string("500-database.html"), status=500)
    return server_error(request)
