"""The page for what went wrong inside. It needs no table, no session, no static file."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error


def failed(request: HttpRequest) -> HttpResponse:
    """503 if the database is away, which ends by itself; else 500."""
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError):
        return HttpResponse(render_to_string("503.html"), status=503, headers={"Retry-After": "10"})
    return server_error(request)
