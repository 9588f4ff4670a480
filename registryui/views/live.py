"""Pages that refresh by themselves: a fragment asks every two seconds with the token of what it
shows, and gets 204 (nothing to swap) while nothing has changed.
"""

from __future__ import annotations

import re

from django.db import connection
from django.http import HttpResponse
from django.utils import timezone

from .access import Request
from .first_hour import FirstSteps


def index_token(repositories: int, steps: FirstSteps | None) -> str:
    """What "something in the index changed" is told by; one query, besides the number of
    repositories, which tells of one that went, and the first steps.

    The minute is in it, so that "4 min ago" goes on while nobody pushes.
    """
    with connection.cursor() as cursor:  # each open page asks this every two seconds
        cursor.execute("SELECT MAX(changed_at) FROM registryui_repository")
        (at,) = cursor.fetchone()
    token = f"{digits(at)}-{repositories}-{minute()}"
    return f"{token}-{steps.token}" if steps else token


def digits(at: object) -> str:
    """Of a time as the database gives it; "" of None. It needs no escaping in an address."""
    return re.sub(r"\D", "", str(at)) if at else ""


def minute() -> int:
    """The minute we live in, as part of a token."""
    return int(timezone.now().timestamp()) // 60


def wants_fragment(request: Request) -> bool:
    """True if htmx will put the answer into a page that is there already. With #main as its
    target it takes that out of the whole page: how an empty list becomes a full one."""
    htmx = request.htmx
    return bool(htmx) and htmx.target != "main" and not htmx.history_restore_request


def not_changed(request: Request, token: str) -> HttpResponse | None:
    """204 for a fragment that shows what `token` stands for; None: render it."""
    if request.htmx and request.GET.get("seen") == token:
        return HttpResponse(status=204)
    return None
