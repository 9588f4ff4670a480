"""Where the registry sends its notifications. Only loopback reaches it: nginx answers 404."""

import hmac
import logging

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from registryui import tasks
from registryui.index import events

log = logging.getLogger(__name__)


@csrf_exempt  # no browser, no cookie: the token says who it is
@require_POST
def registry(request: HttpRequest) -> HttpResponse:
    """Stores the events and asks the worker to apply them.

    The registry sends an event again until it is taken, so what we can never use is answered with
    202 too: it would block all later ones.
    """
    expected = f"Bearer {settings.HOOK_TOKEN}"
    said = request.headers.get("Authorization", "")
    if not hmac.compare_digest(said.encode(), expected.encode()):
        return HttpResponse(status=401)
    try:
        stored = events.receive(request.body)
    except (ValueError, RequestDataTooBig) as error:
        log.warning("a notification cannot be read: %s", str(error)[:200])
        return HttpResponse(status=202)
    if stored:
        tasks.apply_events()
    return HttpResponse(status=202)
