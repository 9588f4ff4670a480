"""Ports of mirrors, for clients that cannot log in: Docker's `registry-mirrors` takes only the root
of a server, and sends no login. Off unless a mirror has one, and then only for its networks.

    table of mirrors ──► config/mirror-ports.conf, which nginx.conf includes ──► nginx is reloaded

The worker does that, because `nginx -t` may need its right to use ports below 1024.
"""

from __future__ import annotations

import re

from registryui import files
from registryui.models import Mirror
from registryui.refused import Refused

from . import configuration, ports


def follow() -> None:
    """Opens and closes the ports after a change of the table. One that another program uses, or
    that this user may not, stays closed, or nginx would not start: Refused, after the others."""
    place = configuration.mirror_ports_file()
    before = place.read_text() if place.exists() else ""
    opened = set(re.findall(r"listen .*:(\d+) ssl;", before))
    rows = list(Mirror.objects.filter(is_active=True, open_port__isnull=False).order_by("name"))
    closed = [row for row in rows if str(row.open_port) not in opened and not _may_listen(row)]
    text = "\n".join(_server(row) for row in rows if row not in closed)
    if text != before:
        _put(text)
    if closed:
        told = (f"{row.open_port} of {row} ({ports.holder(row.open_port or 0)})" for row in closed)
        raise Refused(f"these cannot be opened: {', '.join(told)}")


def _may_listen(row: Mirror) -> bool:
    return all(ports.is_free(one, row.open_port or 0) for one in ports.addresses())


def _server(row: Mirror) -> str:
    return configuration.render_mirror_port(row.name, row.open_port or 0, row.networks.split())


def _put(text: str) -> None:
    place = configuration.mirror_ports_file()
    files.write(place, text)
    if complaint := configuration.test(configuration.nginx_file()):
        files.write(place, "")
        raise Refused(f"nginx refuses them: {complaint}")
    configuration.reload()
