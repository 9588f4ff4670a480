"""Kills a garbage collection at each of its changes of the disk; run by test_gc.py.

Each time: the same store and index as before, a child that is killed just before its n-th change,
a look at all that is kept, then a run to its end and the same look again.
"""

# ruff: noqa: E402  (Django must be set up before anything of ours is imported)
from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

FOLDER, URL = Path(sys.argv[1]), sys.argv[2]
STEP = int(sys.argv[3])  # each so many-th change is a killed one
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
(FOLDER / "data").mkdir(parents=True)
django.setup()

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from registryui import runs
from registryui.gc import collector
from registryui.index.sync import sync
from registryui.models import Manifest, Repository, Run, Tag
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.quarantine import LocalQuarantine
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.pushing import in_child, run_once, untag, what_is_missing
from tests.support.registries import Registry

STORE = FOLDER / "registry/store"
DATABASE = FOLDER / "data/index.sqlite3"
REGISTRY = Registry(URL, STORE)


def main() -> None:
    settings.STORE_DIR, settings.REGISTRY_URL = STORE, URL
    for name in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
        setattr(settings, name, timedelta(0))
    settings.UNDO_DAYS = 0
    runs.STALE = timedelta(0)  # a dead run is known to be dead at once
    call_command("migrate", verbosity=0)
    kept = prepare()
    save()
    changes = in_child(count)
    broken: list[str] = []
    killed = 0
    for number in range(0, changes, STEP):
        load()
        status = in_child(lambda number=number: die_at(number))  # type: ignore[misc]
        killed += status == -signal.SIGKILL
        broken += [f"{number}, killed: {what}" for what in looked_at(kept[:-1])]
        if is_unreviewed():
            status = in_child(review)
            if status != 0:
                broken.append(f"{number}: the review ended with {status}")
            broken += [f"{number}, reviewed: {what}" for what in looked_at(kept)]
        status = in_child(finish)
        if status != 0:
            broken.append(f"{number}: the next run ended with {status}")
        broken += [f"{number}, after: {what}" for what in looked_at(kept)]
        broken += [f"{number}, after: {what}" for what in left_over()]
    print(json.dumps({"changes": changes, "killed": killed, "broken": broken[:20]}))


def prepare() -> list[tuple[str, str]]:
    """Something for every stage: quarantine, restore, purge, leftovers. Returns what is kept; the
    last of them is broken until a run has restored it."""
    base = b"base" * 100
    kept = [("team/app", "1"), ("team/app", "both"), ("other/app", "1"), ("team/again", "again")]
    kept.append(("team/back", "back"))
    REGISTRY.push_image("team/app", "1", layers=[base, b"one"])
    child = REGISTRY.push_image("team/app", layers=[base, b"child"])
    REGISTRY.push_index("team/app", [REGISTRY.child("team/app", child, architecture="arm")], "both")
    REGISTRY.push_image("other/app", "1", layers=[base])
    REGISTRY.push_image("team/app", "old", layers=[base, b"old"])
    for name in ("lone/old", "team/again"):
        REGISTRY.push_blob(name, base)
    REGISTRY.push_image("team/back", "x", layers=[base, b"back"])
    digest = REGISTRY.push_image("team/back", "y", layers=[base, b"needed again"])
    index()
    for name, tag in (("team/app", "old"), ("team/back", "x"), ("team/back", "y")):
        untag(REGISTRY, name, tag)
    index()
    settings.QUARANTINE_TIME = timedelta(hours=1)
    run = collector.run_gc(by="test")  # these wait in the quarantine now, and are due below
    assert run is not None
    assert run.state == Run.State.DONE, run.result
    settings.QUARANTINE_TIME = timedelta(0)
    link = STORE / paths.tag_link("team/back", "back")  # as a push that had looked before
    link.parent.mkdir(parents=True)
    link.write_text(digest)
    assert not (STORE / paths.repository("lone/old")).exists()
    REGISTRY.push_image("team/again", "again", layers=[base, b"again"])
    REGISTRY.push_image("team/app", "gone", layers=[base, b"gone"])
    REGISTRY.push_blob("lone/app", b"lonely")
    place = REGISTRY.ask("POST", "/v2/other/app/blobs/uploads/")
    assert place.status == 202
    index()
    untag(REGISTRY, "team/app", "gone")
    index()
    return kept


def index() -> None:
    run = sync(open_store(Storage(FILESYSTEM, {}, str(STORE))), by="test")
    assert run is not None
    assert run.state == Run.State.DONE, run.log


def save() -> None:
    connections.close_all()
    shutil.copytree(STORE, FOLDER / "saved", symlinks=True)
    shutil.copy(DATABASE, FOLDER / "saved.sqlite3")


def load() -> None:
    connections.close_all()
    for folder in STORE.iterdir():
        shutil.rmtree(folder)
    shutil.copytree(FOLDER / "saved", STORE, symlinks=True, dirs_exist_ok=True)
    for suffix in ("-wal", "-shm"):
        Path(f"{DATABASE}{suffix}").unlink(missing_ok=True)
    shutil.copy(FOLDER / "saved.sqlite3", DATABASE)


def watch(before: Callable[[], None]) -> None:
    real = LocalQuarantine.change

    def change(quarantine: LocalQuarantine, act: Callable[..., Any], *arguments: Any) -> Any:
        before()
        return real(quarantine, act, *arguments)

    LocalQuarantine.change = change  # type: ignore[method-assign]


def count() -> int:
    changes: list[int] = []
    watch(lambda: changes.append(1))
    run_once()
    return len(changes)


def die_at(number: int) -> int:
    seen = []

    def before() -> None:
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(1)

    watch(before)
    return run_once()


def is_unreviewed() -> bool:
    """Whether the killed run quarantined something that was in use until then, and says so."""
    wants = collector.wants_review(timezone.now())
    connections.close_all()
    return wants


def review() -> int:
    """What the worker does at once."""
    run = collector.run_gc(by="test", review=True)
    return 0 if run is not None and run.state == Run.State.DONE else 1


def finish() -> int:
    """Runs until nothing is left to do: the next run purges what one quarantines last, such as an
    empty repository; and the run before may have been killed earlier."""
    return run_once() or run_once()


def looked_at(kept: list[tuple[str, str]]) -> list[str]:
    """What of these cannot be pulled."""
    return [
        f"{name}:{tag}: {what}"
        for name, tag in kept
        if (what := what_is_missing(REGISTRY, name, tag))
    ]


def left_over() -> list[str]:
    """What should have gone, and what of the index is not as the store."""
    index()
    found = [f"waits: {one.path}" for one in collector.quarantined()]
    found += [str(one) for one in (STORE / "boathouse/quarantine").iterdir()]
    datas = {one.read_bytes() for one in STORE.rglob("data")}
    found += [
        f"still there: {data!r}" for data in (b"lonely", b"gone", b"old", b"back") if data in datas
    ]
    names = set(Repository.objects.values_list("name", flat=True))
    if names != {"team/app", "team/back", "team/again", "other/app"}:
        found.append(f"repositories: {names}")
    problems = Tag.objects.exclude(problem="").values_list("name", "problem")
    found += [f"tag {name} is {problem}" for name, problem in problems]
    if Manifest.objects.count() != 6:
        found.append(f"{Manifest.objects.count()} manifests at {timezone.now()}")
    return found


if __name__ == "__main__":
    main()
