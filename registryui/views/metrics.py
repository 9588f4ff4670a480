"""Metrics for Prometheus, with its token or from its address. Off: 404."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client.metrics_core import Metric

from registryui.metrics import CONTENT_TYPE, families, own_registry, text

from .access import client_address, public


@public()
def metrics(request: HttpRequest) -> HttpResponse:
    return _answer(request, families.all_of_them, is_on=settings.METRICS)


@public()
def metrics_of_registry(request: HttpRequest) -> HttpResponse:
    is_on = settings.METRICS and settings.METRICS_REGISTRY_PORT != 0
    return _answer(request, own_registry.metrics, is_on=is_on)


def _answer(
    request: HttpRequest, read: Callable[[], Iterable[Metric]], *, is_on: bool
) -> HttpResponse:
    if not is_on:
        raise Http404
    if not (_has_token(request) or _is_allowed(client_address(request))):
        return HttpResponse(
            "Send the token of secrets/metrics-token as Authorization: Bearer TOKEN, or scrape "
            "from an address in BOATHOUSE_METRICS_NETWORKS.\n",
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": 'Bearer realm="Boathouse metrics"'},
        )
    return HttpResponse(
        text(read()), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"}
    )


def _has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    right = settings.METRICS_TOKEN.encode()
    return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), right)


def _is_allowed(address: str) -> bool:
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(one in ipaddress.ip_network(network) for network in settings.METRICS_NETWORKS)
