"""Ports of mirrors, for clients that cannot log in: Docker's `registry-mirrors` takes only the root
of a server, and sends no login. Off unless a mirror has one, and then only for its networks.

    table of mirrors ──► config/mirror-ports.conf, which nginx.conf includes ──► nginx is reloaded
"""

from __future__ import annotations

import logging
import re

from registryui import files
from registryui.models import Mirror

from . import configuration, ports

log = logging.getLogger(__name__)


def follow() -> None:
    """Opens and closes the ports after a change of the table. One that is in use by another program
    or belongs to root stays closed, or nginx would not start; the log says so."""
    place = configuration.mirror_ports_file()
    before = place.read_text() if place.exists() else ""
    opened = set(re.findall(r"listen .*:(\d+) ssl;", before))
    rows = Mirror.objects.filter(is_active=True, open_port__isnull=False).order_by("name")
    text = "\n".join(_server(row, opened) for row in rows)
    if text == before:
        return
    files.write(place, text)
    if complaint := configuration.test(configuration.nginx_file()):
        files.write(place, "")
        log.error("the ports of mirrors are closed, because nginx refuses them: %s", complaint)
    configuration.reload()


def _server(row: Mirror, opened: set[str]) -> str:
    """In nginx's words; "" if it cannot listen."""
    port = row.open_port or 0
    if str(port) not in opened and not all(ports.is_free(one, port) for one in ports.addresses()):
        log.error("mirror %s: port %d stays closed: %s has it", row, port, ports.holder(port))
        return ""
    return configuration.render_mirror_port(row.name, port, row.networks.split())
