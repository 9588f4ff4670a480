"""Ports of mirrors, for clients that cannot log in: Docker's `registry-mirrors` takes only the root
of a server, and sends no login. Off unless a mirror has one, and then only for its networks.

    table of mirrors ──► config/mirror-ports.conf, which nginx.conf includes ──► nginx is reloaded
"""

from __future__ import annotations

import logging

from registryui import files
from registryui.models import Mirror

from . import configuration

log = logging.getLogger(__name__)


def write() -> bool:
    """Makes the file say what the table says; whether that changed it. OSError."""
    rows = Mirror.objects.filter(is_active=True, open_port__isnull=False).order_by("name")
    text = "\n".join(
        configuration.render_mirror_port(row.name, row.open_port, row.networks.split())
        for row in rows
        if row.open_port
    )
    place = configuration.mirror_ports_file()
    if place.exists() and place.read_text() == text:
        return False
    files.write(place, text)
    return True


def follow() -> None:
    """Opens and closes the ports after a change of the table. If nginx refuses them, because one is
    in use or belongs to root, all stay closed and the log says why."""
    if not write():
        return
    if complaint := configuration.test(configuration.nginx_file()):
        files.write(configuration.mirror_ports_file(), "")
        log.error("the ports of mirrors are closed, because nginx refuses them: %s", complaint)
    configuration.reload()
