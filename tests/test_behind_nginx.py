"""Who is believed at gunicorn: nginx of this instance, by its secret, and nobody else."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from pytest_django.fixtures import Settings

from portal.behind_nginx import behind_nginx

TOKEN = "of-this-instance"
CLAIMED = {
    "HTTP_X_BOATHOUSE_USER": "boss",
    "HTTP_X_REAL_IP": "203.0.113.7",
    "HTTP_X_FORWARDED_FOR": "203.0.113.7",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "registry.example.net",
    "HTTP_FORWARDED": "for=203.0.113.7",
    "HTTP_X_REQUEST_ID": "0123",
}


@pytest.fixture(autouse=True)
def token(settings: Settings) -> None:
    settings.PROXY_TOKEN = TOKEN


def ask(path: str, *, said: str | None) -> tuple[str, dict[str, Any]]:
    """The status, and what the portal was told; nothing if it was not asked."""
    told: dict[str, Any] = {}
    statuses: list[str] = []

    def portal(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        told.update(environ)
        start_response("200 OK", [])
        return [b""]

    environ: dict[str, Any] = {"PATH_INFO": path, "wsgi.input": io.BytesIO(), **CLAIMED}
    setup_testing_defaults(environ)
    environ["wsgi.url_scheme"] = "https"  # as gunicorn sets it for X-Forwarded-Proto
    environ["HTTP_COOKIE"] = "a=b"
    if said is not None:
        environ["HTTP_X_BOATHOUSE_PROXY"] = said
    list(behind_nginx(portal)(environ, lambda status, _headers: statuses.append(status)))
    return statuses[0], told


def test_nginx_is_believed_and_its_secret_goes_no_further() -> None:
    status, told = ask("/v1/search", said=TOKEN)
    assert status == "200 OK"
    assert CLAIMED.items() <= told.items()
    assert told["wsgi.url_scheme"] == "https"
    assert TOKEN not in told.values()


@pytest.mark.parametrize("said", [None, "", "x", TOKEN + "x", f"{TOKEN},{TOKEN}", "\xff", "é"])
def test_who_has_no_proof_is_nobody(said: str | None, subtests: Any) -> None:
    for path in ("/", "/v1/search", "/v2/_catalog", "/login", "/static/portal.css", "//healthz"):
        with subtests.test(path):
            assert ask(path, said=said) == ("403 Forbidden", {})
    for path in ("/healthz", "/hooks/registry"):
        with subtests.test(path):
            status, told = ask(path, said=said)
            assert status == "200 OK"
            assert not CLAIMED.keys() & told.keys()
            assert "HTTP_X_BOATHOUSE_PROXY" not in told
            assert told["wsgi.url_scheme"] == "http"
            assert told["HTTP_COOKIE"] == "a=b"
