"""The portal believes its own nginx alone, which says a secret of the instance with each request.

Who else reaches gunicorn, such as another program of this machine, is answered only where no user
matters, and whatever such a request says of its user, address or scheme is taken out of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PROOF = "HTTP_X_BOATHOUSE_PROXY"  # deploy/*-location.template say it as X-Boathouse-Proxy
# Asked by `up`, and by the registry, whose notifications have a token of their own.
PUBLIC = ("/healthz", "/hooks/registry")
_REFUSAL = b"Only nginx of this instance may ask here.\n"


def behind_nginx(application: WSGIApplication) -> WSGIApplication:
    """`application`, which then finds no header that a stranger wrote in nginx's name, and never
    the secret itself."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        said = str(environ.pop(PROOF, ""))
        if hmac.compare_digest(said.encode(), settings.PROXY_TOKEN.encode()):
            return application(environ, start_response)
        for name in [name for name in environ if _is_nginxs(name)]:
            del environ[name]
        environ["wsgi.url_scheme"] = "http"  # gunicorn believes X-Forwarded-Proto from loopback
        if environ.get("PATH_INFO") in PUBLIC:
            return application(environ, start_response)
        start_response(
            "403 Forbidden",
            [("Content-Type", "text/plain"), ("Content-Length", str(len(_REFUSAL)))],
        )
        return [_REFUSAL]

    return answer


def _is_nginxs(name: str) -> bool:
    """Whether nginx alone may say that header: who a client is, from where and how it came."""
    return name.startswith(("HTTP_X_BOATHOUSE_", "HTTP_X_FORWARDED_")) or name in (
        "HTTP_FORWARDED",
        "HTTP_X_REAL_IP",
        "HTTP_X_REQUEST_ID",
    )
