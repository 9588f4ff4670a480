"""Whether mirrors can fetch. What was pulled before is served in any case."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from registryui.mirrors import state
from registryui.setup import health

from .findings import Finding


def check_mirrors() -> Finding | None:
    """None without an enabled mirror. From the files of this host."""
    names = sorted(one.parent.name for one in Path(settings.MIRRORS_DIR).glob("*/active"))
    if not names:
        return None
    if trouble := health.mirror_trouble():
        return Finding("mirrors", "bad", "mirrors-down", {"trouble": trouble})
    away = {name: told for name in names if (told := state.read(name)).is_away}
    if away:
        first, told = next(iter(away.items()))
        params = {"count": len(away), "names": list(away)[:5], "name": first, "error": told.error}
        return Finding("mirrors", "warn", "mirrors-away", params)
    return Finding("mirrors", "ok", "mirrors-ok", {"count": len(names)})
