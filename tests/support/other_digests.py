"""Checks of a store by every program that reads it."""

from __future__ import annotations

import subprocess
from typing import Any

from registryui.index import events
from registryui.index.sync import sync
from registryui.integrity import check as integrity
from registryui.models import Run
from registryui.registry.choose import open_source
from tests.support.events import event, receive
from tests.support.parts import REGISTRY
from tests.support.registries import Registry
from tests.support.waiting import LONGEST

NAME = "team/app"


def index(way: str, *tags: tuple[str, str]) -> None:
    """Reads the registry; "event" does as if it had told of these tags and their digests."""
    with open_source("http" if way == "event" else way) as source:
        if way == "event":
            receive(*(event("push", NAME, digest, tag) for tag, digest in tags))
            events.apply_pending(source)
            return
        run = sync(source, by="test")
        assert run is not None
        assert run.state == Run.State.DONE, run.log


def check(source: str = "store", **options: Any) -> list[Any]:
    run = integrity.check(by="test", source=source, **options)
    assert run is not None
    assert run.state == Run.State.DONE, (run.result, run.log)
    return list(run.result["problems"])


def run_registry_gc(served: Registry) -> None:
    configuration = str(served.store.parent / "registry.yml")
    subprocess.run(
        [REGISTRY, "garbage-collect", configuration],
        check=True,
        capture_output=True,
        timeout=LONGEST,
    )
