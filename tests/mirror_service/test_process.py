"""The process itself: its memory, and what it leaves when it is killed or ended."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from registryui.mirror_service.configuration import read
from registryui.unix_http import Connection
from tests.support.fake_source import digest_of
from tests.support.folders import open_folder
from tests.support.instance import wait_for
from tests.support.parts import ROOT, running_registry
from tests.support.waiting import LONGEST, until

from .conftest import KEY, World
from .fake_upstream import FakeUpstream

LAYER = b"layer" * 100_000
PATH = f"/v2/hub/team/app/blobs/{digest_of(LAYER)}"
MOST_MEMORY = 30_000_000  # bytes, without a pull


@pytest.fixture
def world(upstream: FakeUpstream) -> Iterator[World]:
    """Without a service: tests start it."""
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("mirror"))
        made = World(folder, upstream)
        for name in ("hold", "mirrors/hub"):
            (folder / name).mkdir(parents=True)
        (folder / "key").write_text(KEY)
        told = {"name": "hub", "url": upstream.url, "fresh_seconds": 600}
        (folder / "mirrors/hub/upstream.json").write_text(json.dumps(told))
        (folder / "mirrors/hub/active").touch()
        stack.enter_context(running_registry(folder, place=folder / "registry"))
        yield made


@contextmanager
def running(world: World) -> Iterator[psutil.Process]:
    """The service as `up` starts it."""
    place = world.folder / "mirror.json"
    place.write_text(json.dumps(dataclasses.asdict(world.configuration)))
    assert read(place) == world.configuration
    command = [sys.executable, "-m", "registryui.mirror_service", str(place)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for(Path(world.configuration.socket))
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait(LONGEST)


def test_an_idle_one_is_small(world: World) -> None:
    with running(world) as process:
        assert world.ask("/healthz").body == b"ok"
        assert process.memory_full_info().pss < MOST_MEMORY


def test_one_that_is_killed_leaves_nothing_half(world: World) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    world.upstream.holds_blobs.set()
    with running(world) as process:
        assert world.ask("/v2/hub/team/app/manifests/1").status == 200
        connection = Connection(world.configuration.socket, timeout=LONGEST)
        connection.request("GET", PATH)
        response = connection.getresponse()
        assert response.read(1000) == LAYER[:1000]
        process.kill()
        process.wait(LONGEST)
        with suppress(OSError):
            response.close()
        connection.close()
    assert world.spooled()
    assert world.registry.ask("HEAD", PATH).status == 404
    world.upstream.released.set()
    with running(world):
        until(lambda: not world.spooled(), "the spool is empty")
        assert world.ask(PATH).body == LAYER
        world.wait_for_blob("hub/team/app", digest_of(LAYER))


def test_one_that_is_ended_writes_its_counters_and_removes_its_spool(world: World) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    with running(world) as process:
        assert world.ask("/v2/hub/team/app/manifests/1").status == 200
        process.send_signal(signal.SIGTERM)
        process.wait(LONGEST)
    state = json.loads((world.folder / "mirrors/hub/state.json").read_bytes())
    assert (state["misses"], state["upstream_requests"]) == (1, 1)
    assert list(Path(world.configuration.spool).iterdir()) == []
    with running(world):  # the socket of one that was ended is no obstacle
        assert world.ask("/v2/hub/team/app/manifests/1").status == 200
