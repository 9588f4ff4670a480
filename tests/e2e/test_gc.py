"""Garbage collection of a real registry: what is reachable is never missing, and bytes are freed.

-s prints what was counted in an attack.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from registryui.doctor.checks import check_store
from registryui.gc import collector
from registryui.gc.store_scan import ELSEWHERE
from registryui.index.verify import verify
from registryui.models import Run, Tag
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.quarantine import LocalQuarantine
from registryui.registry.storage import FileStore
from registryui.registry.storages import FILESYSTEM, Storage
from tests.selection import Extent
from tests.support.folders import other_disk
from tests.support.gc_runs import data_size, index, run_gc, use
from tests.support.parts import free_port, running_registry
from tests.support.pushing import Client, attack, image, print_counts, untag, what_is_missing
from tests.support.registries import Registry
from tests.support.waiting import LONGEST

pytestmark = [pytest.mark.e2e, pytest.mark.django_db, pytest.mark.one_database]


@pytest.fixture
def served(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry") as url:
        use(settings, tmp_path / "registry/store", url)
        yield Registry(url, tmp_path / "registry/store")


def test_the_disk_gives_back_the_promised_bytes_and_every_kept_tag_is_complete(
    served: Registry, settings: Any, tmp_path: Path
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    base = random.Random(1).randbytes(300_000)
    amd = served.push_image("team/app", "amd", layers=[base, b"amd"])
    arm = served.push_image("team/app", layers=[base, b"arm"], architecture="arm64")
    both = [
        served.child("team/app", amd, architecture="amd64"),
        served.child("team/app", arm, architecture="arm64"),
    ]
    served.push_index("team/app", both, "1")
    served.push_image("team/app", "2", layers=[base, random.Random(2).randbytes(200_000)])
    served.push_image("other/app", "2", layers=[base, b"other"])
    lonely = served.push_blob("other/app", random.Random(3).randbytes(50_000))
    index(served)
    untag(served, "team/app", "2")
    untag(served, "team/app", "amd")  # its manifest is still a child
    index(served)
    before = data_size(served.store)

    plan = run_gc(dry_run=True)
    assert data_size(served.store) == before
    first = run_gc()
    assert data_size(served.store) == before + 71 * first["quarantined_manifests"]
    assert served.ask("HEAD", f"/v2/other/app/blobs/{lonely}").status == 404
    settings.QUARANTINE_TIME = timedelta(0)
    purged = run_gc()
    assert before - data_size(served.store) == plan["candidate_bytes"] == first["quarantined_bytes"]
    assert plan["candidate_bytes"] > 250_000
    assert purged["freed_bytes"] == plan["candidate_bytes"] + 71 * first["quarantined_manifests"]
    for repository, tag in (("team/app", "1"), ("other/app", "2")):
        assert what_is_missing(served, repository, tag) == ""
        skopeo_copy(f"docker://{name_of(served)}/{repository}:{tag}", f"dir:{tmp_path / tag}")
    assert [name for name in served.catalogue() if "canary" in name] == []


def name_of(registry: Registry) -> str:
    return registry.url.removeprefix("http://")


def skopeo_copy(source: str, target: str) -> None:
    """Of an image index all of its images; fails the test with skopeo's own words."""
    command = ["skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]
    done = subprocess.run(
        [*command, source, target], capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_namespace_behind_a_symbolic_link_is_one_like_any_other(
    served: Registry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Pushed, listed, deleted, verified and collected, as the registry serves it."""
    disk = tmp_path_factory.mktemp("disk")
    link = served.store / paths.REPOSITORIES / "team"
    link.parent.mkdir(parents=True)
    link.symlink_to(disk)
    kept = served.push_image("team/app", "1", layers=[b"base"])
    gone = served.push_image("team/app", "2", layers=[b"base", b"two"])
    served.push_image("other/app", "1", layers=[b"other"])
    index(served)
    assert served.catalogue() == list(opened(served).repositories()) == ["other/app", "team/app"]
    assert list(verify(opened(served))) == []
    assert set(Tag.objects.values_list("repository__name", "name")) == {
        *(("other/app", "1"), ("team/app", "1"), ("team/app", "2")),
    }
    untag(served, "team/app", "2")
    index(served)
    assert not Tag.objects.filter(repository__name="team/app", name="2").exists()
    assert run_gc()["skipped_repositories"] == []
    assert not served.blob(gone).exists()
    assert list(verify(opened(served))) == []
    assert served.get("team/app", kept).status == 200
    served.push_image("team/new", "1", layers=[b"two", b"base"])
    for name in ("team/app", "other/app", "team/new"):
        assert what_is_missing(served, name, "1") == ""
    assert link.is_symlink()
    assert check_store().code == "store-ok"


def test_a_namespace_on_another_file_system_is_served_and_kept(served: Registry) -> None:
    served.push_image("team/app", "1", layers=[b"base"])
    loose = served.push_image("team/app", layers=[b"base", b"two"])
    gone = served.push_image("other/app", layers=[b"other"])
    with other_disk(served.store) as disk:
        link = served.store / paths.REPOSITORIES / "team"
        shutil.move(link, disk / "team")
        link.symlink_to(disk / "team")
        with pytest.raises(AssertionError, match='"Op":"rename"'):
            served.push_image("team/app", "3", layers=[b"three"])  # what the registry makes of it
        index(served)
        assert served.catalogue() == list(opened(served).repositories())
        assert list(verify(opened(served))) == []
        assert run_gc()["skipped_repositories"] == [["team/app", ELSEWHERE]]
        assert not served.blob(gone).exists()
        for reference in ("1", loose):
            assert what_is_missing(served, "team/app", reference) == ""
        assert (check_store().state, check_store().code) == ("warn", "store-elsewhere")


def opened(registry: Registry) -> FileStore:
    return open_store(Storage(FILESYSTEM, {}, str(registry.store)))


def test_a_second_name_is_told_and_counted_once(served: Registry) -> None:
    """A circle, too, which the registry itself walks along."""
    served.push_image("team/app", "1", layers=[b"base"])
    base = served.store / paths.REPOSITORIES
    (base / "twin").symlink_to(base / "team")
    (base / "team/circle").symlink_to(base / "team")
    assert what_is_missing(served, "twin/app", "1") == ""
    index(served)
    assert list(Tag.objects.values_list("repository__name", "name")) == [("team/app", "1")]
    assert sorted(verify(opened(served))) == [
        f"{path}: a symbolic link that is not followed; the registry follows it"
        for path in ("team/circle", "twin")
    ]
    found = check_store()
    assert (found.state, found.code) == ("warn", "store-links")
    run = collector.run_gc(by="test")
    assert run is not None
    assert "is a symbolic link that is not followed" in run.result["problem"]


@pytest.mark.parametrize("moment", ["quarantined", "purged"])
@pytest.mark.parametrize("way", ["skopeo", "mount"])
def test_the_same_image_is_pushed_again_after(
    served: Registry, settings: Any, tmp_path: Path, moment: str, way: str
) -> None:
    if moment == "quarantined":
        settings.QUARANTINE_TIME = timedelta(hours=1)
    one = image(1, b"base" * 1000, b"layer" * 1000)
    client = Client(served)
    assert client.push("team/app", "1", one)
    assert client.push("team/keeps", "1", image(2, b"base" * 1000))
    skopeo_copy(f"docker://{name_of(served)}/team/app:1", f"dir:{tmp_path / 'image'}")
    index(served)
    untag(served, "team/app", "1")
    index(served)
    assert run_gc()["quarantined_manifests"] == 1
    target = "team/app" if way == "skopeo" else "new/app"
    if way == "skopeo":
        skopeo_copy(f"dir:{tmp_path / 'image'}", f"docker://{name_of(served)}/{target}:again")
    else:
        assert client.push(target, "again", one, mount_from="team/app")
    assert what_is_missing(served, target, "again") == ""
    index(served)
    settings.QUARANTINE_TIME = timedelta(0)
    run_gc()
    assert what_is_missing(served, target, "again") == ""
    assert what_is_missing(served, "team/keeps", "1") == ""
    files = ("/data", "/link")
    assert [one.path for one in collector.quarantined() if one.path.endswith(files)] == []


def test_a_registry_that_remembers_blobs_is_found_out(tmp_path: Path, settings: Any) -> None:
    place = tmp_path / "registry"
    storage = {
        "filesystem": {"rootdirectory": str(place / "store")},
        "delete": {"enabled": True},
        "cache": {"blobdescriptor": "inmemory"},
    }
    with running_registry(place, settings={"storage": storage}) as url:
        use(settings, place / "store", url)
        registry = Registry(url, place / "store")
        registry.push_image("team/app", "1")
        lonely = registry.push_blob("team/app", b"lonely")
        index(registry)
        run = collector.run_gc(by="test")
        assert run is not None
        assert run.state == Run.State.FAILED
        assert "cache" in run.result["problem"]
        assert registry.blob(lonely).exists()
        assert collector.quarantined() == []


def test_a_registry_of_another_store_is_found_out(
    served: Registry, tmp_path: Path, settings: Any
) -> None:
    served.push_image("team/app", "1")
    lonely = served.push_blob("team/app", b"lonely")
    index(served)
    with running_registry(tmp_path / "another") as url:
        settings.REGISTRY_URL = url
        run = collector.run_gc(by="test")
    assert run is not None
    assert run.state == Run.State.FAILED
    assert "another store" in run.result["problem"]
    assert served.blob(lonely).exists()


def test_a_registry_that_is_away_lets_nothing_go(served: Registry, settings: Any) -> None:
    served.push_image("team/app", "1")
    lonely = served.push_blob("team/app", b"lonely")
    index(served)
    settings.REGISTRY_URL = "http://127.0.0.1:1"
    run = collector.run_gc(by="test")
    assert run is not None
    assert run.state == Run.State.FAILED
    assert served.blob(lonely).exists()


# -- under attack ----------------------------------------------------------------------------------


def test_nothing_lasting_breaks_while_clients_push_and_the_registry_freezes(
    served: Registry, settings: Any, extent: Extent
) -> None:
    pushes = extent(60, 2000)
    settings.GC_GRACE = timedelta(seconds=0.2)
    settings.QUARANTINE_TIME = timedelta(seconds=1)
    control = attack(served, pushes // 3, lambda: index(served))
    totals: dict[str, int] = {}

    def work() -> None:
        index(served)
        result = run_gc()
        for name in ("quarantined", "quarantined_manifests", "restored", "purged"):
            totals[name] = totals.get(name, 0) + result[name]
        totals["runs"] = totals.get("runs", 0) + 1

    attacked = attack(served, pushes, work)
    settings.GC_GRACE = settings.QUARANTINE_TIME = timedelta(0)
    work()  # quarantines the last, purges what was quarantined before
    work()
    print_counts("control", control)
    print_counts(f"attack {totals}", attacked)

    assert control.lasting == attacked.lasting == []
    assert control.counts["failed pushes"] == attacked.counts["failed pushes"] == 0
    broken = {key: what_is_missing(served, *key) for key in attacked.kept}
    assert {key: what for key, what in broken.items() if what} == {}
    assert attacked.counts["pushes"] >= pushes
    assert totals["quarantined"] > 0
    assert totals["purged"] > 0


# -- killed at each change of the disk -------------------------------------------------------------


def test_killed_at_each_change_of_the_disk_the_next_run_goes_on(
    tmp_path: Path, extent: Extent
) -> None:
    step = extent(24, 1)  # each so many-th change
    place = tmp_path / "registry"
    with running_registry(place) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.killed_gc", str(tmp_path), url, str(step)],
            env={**os.environ, "BOATHOUSE_DATA": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            timeout=30 * LONGEST,  # some 40 seconds on a machine that has nothing else to do
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["changes"] > 40
    assert found["killed"] == len(range(0, found["changes"], step))
    assert found["broken"] == []


def test_a_registry_that_is_killed_at_each_change_of_the_disk_loses_nothing_that_is_kept(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, extent: Extent
) -> None:
    step = extent(5, 1)  # each so many-th change
    place, port = tmp_path / "registry", free_port()
    with ExitStack() as stack:
        url = stack.enter_context(running_registry(place, port=port))
        use(settings, place / "store", url)
        served = Registry(url, place / "store")
        base = random.Random(1).randbytes(10_000)
        served.push_image("team/app", "1", layers=[base, b"one"])
        served.push_image("team/app", "2", layers=[base, b"two"])
        served.push_image("gone/app", "1", layers=[base, b"gone"])
        index(served)
        untag(served, "team/app", "2")
        untag(served, "gone/app", "1")
        index(served)
        changes = itertools.count()

        def change(quarantine: LocalQuarantine, act: Callable[..., Any], *arguments: Any) -> Any:
            if next(changes) % step:
                return act(*arguments)
            process = next(
                one for one in psutil.Process().children() if str(place) in " ".join(one.cmdline())
            )
            process.kill()
            process.wait(10)
            done = act(*arguments)
            stack.enter_context(running_registry(place, port=port))
            assert what_is_missing(served, "team/app", "1") == ""
            return done

        monkeypatch.setattr(LocalQuarantine, "change", change)
        run_gc()
        monkeypatch.undo()
        use(settings, place / "store", url)
        for _run in range(2):  # the second purges the empty repository
            run_gc()
        assert next(changes) > 20
        assert what_is_missing(served, "team/app", "1") == ""
        datas = {one.read_bytes() for one in served.store.rglob("data")}
        assert not datas & {b"two", b"gone"}
        assert not (served.store / paths.repository("gone/app")).exists()
        assert collector.quarantined() == []
