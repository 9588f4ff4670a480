"""`./boathouse restart`: asks the `up` that runs to replace parts, and waits until they respond."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from registryui.refused import Refused

from . import health, parts, units

SECONDS = 60.0  # until all must respond
TURN = 0.05


def restart(part: str = "") -> tuple[list[str], float]:
    """Replaces that part, or all; their names, and the seconds until they responded. Refused if
    they do not."""
    instance = running(units.restart_line(part))
    ours = parts.names(instance.registry_port)
    if part and part not in ours:
        raise Refused(f"{part} is not a process of its own with BOATHOUSE_REGISTRY_PORT.")
    asked = [part] if part else list(ours)
    folder = parts.restart_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    began = time.monotonic()
    for name in asked:
        (folder / f"{name}.failed").unlink(missing_ok=True)
        (folder / name).touch()
    try:
        _wait_until_replaced(asked, began)
    finally:
        for name in asked:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
    while ill := _not_responding(instance, asked):
        if time.monotonic() > began + SECONDS:
            raise Refused(f"Restarted, but not responding: {ill}. ./boathouse logs shows why.")
        time.sleep(TURN)
    return asked, time.monotonic() - began


def running(unit_line: str) -> health.Running:
    """The instance that `up` runs here. Refused: there is none, with the line for systemd's units
    if those run it."""
    instance = health.running()
    if instance is not None:
        return instance
    if units.installed():
        raise Refused(f"Systemd runs this instance: as root, type {unit_line}")
    if health.is_starting():
        raise Refused("Boathouse is starting: try again when it is up.")
    raise Refused("Boathouse is not running: start it with ./boathouse up.")


def _wait_until_replaced(asked: Sequence[str], began: float) -> None:
    folder = parts.restart_folder()
    while left := [name for name in asked if (folder / name).exists()]:
        if not health.is_claimed():
            raise Refused("Boathouse was stopped meanwhile: start it with ./boathouse up.")
        if time.monotonic() > began + SECONDS:
            raise Refused(
                f"Not restarted within {SECONDS:.0f} seconds: {', '.join(left)}. If this up was "
                "started by an older version, run ./boathouse down, then ./boathouse up."
            )
        time.sleep(TURN)
    if failed := [name for name in asked if (folder / f"{name}.failed").exists()]:
        raise Refused(
            f"Not restarted: {', '.join(failed)}. The new process ended, the old one continues; "
            f"./boathouse logs {failed[0]} shows why."
        )


def _not_responding(instance: health.Running, asked: Sequence[str]) -> str:
    seen = health.examine(instance)
    return "; ".join(f"{name} {seen[name].note}" for name in asked if seen[name].health != "ok")
