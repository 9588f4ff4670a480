"""Garbage collection of a real registry's store, in this process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from registryui.gc import collector
from registryui.index.sync import sync
from registryui.models import Run
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.registries import Registry


def use(settings: Any, store: Path, url: str) -> None:
    settings.STORAGE, settings.SOURCE = "filesystem", "auto"
    settings.STORE_DIR, settings.REGISTRY_URL = store, url
    for name in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
        setattr(settings, name, timedelta(0))
    settings.UNDO_DAYS = 0  # what clients delete here is garbage


def index(registry: Registry) -> None:
    store = open_store(Storage(FILESYSTEM, {}, str(registry.store)))
    run = sync(store, by="test")
    assert run is not None
    assert run.state == Run.State.DONE, run.log


def run_gc(**options: Any) -> dict[str, Any]:
    run = collector.run_gc(by="test", **options)
    assert run is not None
    assert run.state == Run.State.DONE, (run.result, run.log)
    return dict(run.result)


def data_size(store: Path) -> int:
    """Bytes of all blobs, in the store and in quarantine."""
    blobs = [*store.glob("docker/registry/v2/blobs/*/*/*/data")]
    quarantined = [*store.glob("boathouse/quarantine/*/[0-9]*")]
    return sum(one.stat().st_size for one in (*blobs, *quarantined) if one.is_file())
