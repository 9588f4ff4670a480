"""The portal trusts only its own nginx, which sends a secret of the instance with each request.

Other requests to gunicorn, such as from another program on this machine, are only answered at
addresses without users, and their headers for user, address and scheme are removed.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PROOF = "HTTP_X_BOATHOUSE_PROXY"  # deploy/*-location.template send it as X-Boathouse-Proxy
# Used by `up`, and by the registry, whose notifications have their own token.
PUBLIC = ("/healthz", "/hooks/registry")
_REFUSAL = b"Only nginx of this instance may ask here.\n"


def behind_nginx(application: WSGIApplication) -> WSGIApplication:
    """`application`, without headers that only nginx may set if the request is not from nginx, and
    always without the secret."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        said = str(environ.pop(PROOF, ""))
        if hmac.compare_digest(said.encode(), settings.PROXY_TOKEN.encode()):
            return application(environ, start_response)
        for name in [name for name in environ if _is_nginxs(name)]:
            del environ[name]
        environ["wsgi.url_scheme"] = "http"  # gunicorn trusts X-Forwarded-Proto from loopback
        if environ.get("PATH_INFO") in PUBLIC:
            return application(environ, start_response)
        start_response(
            "403 Forbidden",
            [("Content-Type", "text/plain"), ("Content-Length", str(len(_REFUSAL)))],
        )
        return [_REFUSAL]

    return answer


def _is_nginxs(name: str) -> bool:
    """Whether only nginx may set that header: the client's user, address or scheme."""
    return name.startswith(("HTTP_X_BOATHOUSE_", "HTTP_X_FORWARDED_")) or name in (
        "HTTP_FORWARDED",
        "HTTP_X_REAL_IP",
        "HTTP_X_REQUEST_ID",
    )
