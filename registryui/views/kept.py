"""Pages that are rendered once and answered again as long as nothing was written.

An entry is found by all that the page depends on: its address, who asks, language, theme, the
minute (ages are rounded), the parts that are down and the state of the database. Tokens against
forged requests are put into the answer, never kept.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib.messages import get_messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.csrf import get_token
from django.utils.translation import get_language

from registryui import outage
from registryui.database_state import one_moment, state

from .access import P, Request, View
from .context import STEPS_COOKIE, THEME_COOKIE
from .live import minute

MOST_BYTES = 8_000_000  # in each process
ENTRY = 1000  # bytes that an entry takes besides its page: what it is found by, headers
_TOKEN = re.compile(rb'(?<=name="csrfmiddlewaretoken" value=")\w+')
_ASKED_BY_HTMX = ("HX-Request", "HX-Target", "HX-History-Restore-Request")


@dataclass(frozen=True, slots=True)
class _Page:
    status: int  # 204: a page that asks for changes is told that there are none
    parts: tuple[bytes, ...]  # the tokens go between them
    headers: dict[str, str]

    @property
    def length(self) -> int:
        return ENTRY + sum(map(len, self.parts))


class _Pages:
    """The pages of this process, those asked for last; at most MOST_BYTES."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[tuple[object, ...], _Page] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[object, ...]) -> _Page | None:
        with self._lock:
            if (page := self._pages.get(key)) is not None:
                self._pages.move_to_end(key)
            return page

    def put(self, key: tuple[object, ...], page: _Page) -> None:
        with self._lock:
            if key in self._pages:
                return
            self._pages[key] = page
            self._bytes += page.length
            while self._bytes > MOST_BYTES:
                self._bytes -= self._pages.popitem(last=False)[1].length


_pages = _Pages()


def in_one_moment(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: session, operator and page ask once whether anything was written."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        with one_moment():
            return get_response(request)

    return answer


def keep(also: Callable[[], object] = lambda: None) -> Callable[[View[P]], View[P]]:
    """Below require_role. The view changes nothing, and depends on the database and on what `also`
    tells (the state of a file) alone. A page with a message for its reader is never kept."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def answer(request: Request, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if request.method != "GET" or len(get_messages(request)):
                return view(request, *args, **kwargs)
            key = (*_asked(request), also(), state())
            if (page := _pages.get(key)) is not None:
                return _again(request, page)
            response = view(request, *args, **kwargs)
            status = response.status_code
            if isinstance(response, HttpResponse) and status in (200, 204):
                parts = tuple(_TOKEN.split(response.content))
                _pages.put(key, _Page(status, parts, dict(response.headers)))
            return response

        return answer  # type: ignore[return-value]  # a name of the first parameter that is none

    return decorate


def _asked(request: Request) -> tuple[Any, ...]:
    user = request.user
    return (
        request.get_full_path(),
        *(request.headers.get(name) for name in _ASKED_BY_HTMX),
        *(user.pk, user.username, user.role),
        get_language(),
        request.COOKIES.get(THEME_COOKIE),
        bool(request.COOKIES.get(STEPS_COOKIE)),
        minute(),
        outage.token(),
    )


def _again(request: Request, page: _Page) -> HttpResponse:
    content = page.parts[0]
    if len(page.parts) > 1:
        content = get_token(request).encode().join(page.parts)
    return HttpResponse(content, status=page.status, headers=page.headers)
