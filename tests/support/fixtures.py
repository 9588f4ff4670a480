"""A world, or a small store, for each test that wants one."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registryui.gc import collector
from tests.support.notifications import Sink

from .stores import NoCanary, Small
from .worlds import World, world


@pytest.fixture
def here(
    tmp_path: Path,
    sink: tuple[Sink, str],
    settings: Any,
) -> Iterator[World]:
    """An empty registry that tells us, and an empty index."""
    with world(tmp_path / "registry", *sink, settings) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A store without grace period and quarantine time."""
    settings.STORAGE, settings.STORE_DIR, settings.SOURCE = "filesystem", tmp_path / "store", "auto"
    for name in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
        setattr(settings, name, timedelta(0))
    settings.UNDO_DAYS = 0  # what is untagged past the portal may be deleted at once
    (tmp_path / "store").mkdir()
    made = Small(tmp_path / "store")
    monkeypatch.setattr(collector, "RegistryClient", NoCanary(made))
    monkeypatch.setattr(collector, "SKEW", timedelta(days=1000))  # tests set clocks ahead
    return made
