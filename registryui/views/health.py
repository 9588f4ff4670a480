"""Is the web process alive? For `up` and for watchers: tells nothing else."""

from django.http import HttpRequest, HttpResponse

from .access import public


@public()
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")
