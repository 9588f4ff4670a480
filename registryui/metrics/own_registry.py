"""The registry's own metrics, of each of its processes, which a label tells apart."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

from django.conf import settings
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from registryui import sockets

SECONDS = 2.0  # for one process
MOST_BYTES = 4 * 2**20  # it has some 20 kB


def metrics() -> list[Metric]:
    """All of them; none of a process that does not answer."""
    merged: dict[str, Metric] = {}
    for name in sockets.registries(settings.REGISTRY_PORT):
        for family in _of_process(name):
            mine = merged.setdefault(family.name, family)
            if mine is not family:
                mine.samples += family.samples
    return list(merged.values())


def _of_process(name: str) -> Iterator[Metric]:
    try:
        families = list(text_string_to_metric_families(_read(sockets.registry_metrics(name))))
    except (OSError, ValueError, http.client.HTTPException):
        return
    for family in families:
        family.samples = [
            one._replace(labels={**one.labels, "process": name}) for one in family.samples
        ]
        yield family


def _read(address: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=SECONDS)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.read(MOST_BYTES).decode() if response.status == 200 else ""
    finally:
        connection.close()
