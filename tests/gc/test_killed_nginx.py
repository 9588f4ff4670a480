"""nginx is killed at each change that a garbage collection makes to the disk, and started again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings as now

from registryui import write_freeze
from registryui.gc import collector
from registryui.index.sync import sync
from registryui.models import Run
from registryui.registry.choose import open_store
from registryui.registry.quarantine import LocalQuarantine
from registryui.registry.storages import of_settings
from registryui.setup import parts
from tests.selection import Extent
from tests.support.instance import Instance, wait_for
from tests.support.proxy_client import ask, digest, made, manifest
from tests.support.pushing import untag
from tests.support.registries import Registry
from tests.support.waiting import LONGEST

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]
TYPE = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
LAYER, CONFIG = b"a layer", b'{"os":"linux","architecture":"amd64"}'


@pytest.fixture
def instance(settings: Any, standing: Instance) -> Instance:
    for name in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
        setattr(settings, name, timedelta(0))
    settings.UNDO_DAYS = 0  # what clients delete here is to be collected
    standing.renew()
    return standing


@pytest.fixture
def who(instance: Instance) -> tuple[str, str]:
    """Somebody who may pull and push, and has pushed team/app:1."""
    user = made("ci", ("pull", "*"), ("push", "*"))
    for blob in (LAYER, CONFIG):
        place = ask("POST", "/v2/team/app/blobs/uploads/", user).headers["location"]
        headers = {"Content-Type": "application/octet-stream"}
        done = ask("PUT", f"{place}&digest={digest(blob)}", user, body=blob, headers=headers)
        assert done.status == 201
    assert push("1", user) == 201
    return user


def push(tag: str, user: tuple[str, str]) -> int:
    done = ask("PUT", f"/v2/team/app/manifests/{tag}", user, body=manifest(), headers=TYPE)
    return done.status


def is_complete(user: tuple[str, str]) -> bool:
    """Whether the kept image is pulled through nginx."""
    paths = ["manifests/1", *(f"blobs/{digest(blob)}" for blob in (LAYER, CONFIG))]
    return all(ask("GET", f"/v2/team/app/{path}", user).status == 200 for path in paths)


def kill_and_start(instance: Instance) -> None:
    """All of nginx at once, as a power failure does."""
    master = instance.processes.pop("nginx")
    workers = psutil.Process(master.pid).children(recursive=True)
    for process in (psutil.Process(master.pid), *workers):
        process.kill()
    master.wait(10)
    psutil.wait_procs(workers, timeout=LONGEST)
    instance.start("nginx", parts.nginx_command())
    wait_for(now.PORT)


@pytest.mark.parametrize("purge_now", [False, True])
def test_nothing_that_is_kept_is_lost_and_the_proxy_is_open_at_the_end(
    instance: Instance,
    who: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    purge_now: bool,
    extent: Extent,
) -> None:
    step = extent(5, 1)  # each so many-th change
    if purge_now:
        settings.QUARANTINE_TIME = timedelta(hours=1)  # nothing is due
    registry = Registry(now.REGISTRY_URL, Path(now.STORE_DIR))
    for name in ("team/app", "gone/app"):
        registry.push_image(name, "old", layers=[b"of nobody else", name.encode()])
    index()
    for name in ("team/app", "gone/app"):
        untag(registry, name, "old")
    index()
    changes = itertools.count()
    real = LocalQuarantine.change

    def change(quarantine: LocalQuarantine, act: Callable[..., Any], *arguments: Any) -> Any:
        is_chosen = next(changes) % step == 0
        if is_chosen:
            kill_and_start(instance)
        done = real(quarantine, act, *arguments)
        assert not is_chosen or is_complete(who)
        return done

    monkeypatch.setattr(LocalQuarantine, "change", change)
    run = collector.run_gc(by="test", purge_now=purge_now)
    assert run is not None
    assert run.state == Run.State.DONE, (run.result, run.log)
    assert next(changes) > 10
    datas = {one.read_bytes() for one in registry.store.rglob("data")}
    assert not datas & {b"of nobody else", b"team/app", b"gone/app"}
    assert run.result["freed_bytes"] > 0
    assert write_freeze.freezes() == []
    assert push("2", who) == 201
    assert is_complete(who)


def index() -> None:
    run = sync(open_store(of_settings()), by="test")
    assert run is not None
    assert run.state == Run.State.DONE, run.log
