"""Kills a garbage collection at its changes of a bucket; run by test_gc_s3.py.

A bucket with versions cannot be set back to what it was, so each kill has images of its own: one
that is purged, one that comes back, one that is quarantined. A child dies before its n-th change;
all that is kept is pulled; a run to its end; all that is kept is pulled, and the others have left
the bucket. The parent never speaks S3: its driver has threads, which do not survive a fork.
"""

# ruff: noqa: E402  (Django must be set up before anything of ours is imported)
from __future__ import annotations

import json
import os
import random
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiobotocore.client
import django

URL, STEP = sys.argv[1], int(sys.argv[2])  # the registry; each so many-th change is a killed one
MOST = int(sys.argv[3])  # kills; 0: as many as there are changes
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
django.setup()

from django.conf import settings
from django.core.management import call_command

from registryui import runs
from registryui.gc import collector
from registryui.index.sync import sync
from registryui.models import Run
from registryui.registry import paths, storages
from registryui.registry.choose import open_store
from registryui.registry.files import Problems
from registryui.registry.objects import ObjectFiles
from tests.support.fake_source import digest_of
from tests.support.pushing import in_child, run_once, untag, what_is_missing
from tests.support.registries import Registry

REGISTRY = Registry(URL, Path("/nonexistent"))
CHANGES = {"PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "AbortMultipartUpload"}
BASE = b"base" * 100


def main() -> None:
    settings.REGISTRY_URL = URL
    for name in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
        setattr(settings, name, timedelta(0))
    settings.UNDO_DAYS = 0
    runs.STALE = timedelta(0)  # a dead run is known to be dead at once
    call_command("migrate", verbosity=0)
    REGISTRY.push_image("team/kept", "1", layers=[BASE, b"kept"])
    found: dict[str, Any] = {"killed": [], "broken": []}
    number = STEP // 2
    while True:
        names = prepare(number)
        status = in_child(lambda: die_at(number))  # noqa: B023  (called before it changes)
        found["broken"] += [f"{number}, killed: {what}" for what in missing(("team/kept", "1"))]
        ended = in_child(lambda: finish(names))  # noqa: B023
        if ended != 0:
            found["broken"].append(f"{number}: the next run ended with {ended}")
        kept = [("team/kept", "1"), ("team/app", f"back{number}")]
        found["broken"] += [f"{number}, after: {what}" for one in kept for what in missing(one)]
        untag(REGISTRY, "team/app", f"back{number}")
        if status == 0:  # it has no such change: all were survived
            break
        if status != -signal.SIGKILL:
            found["broken"].append(f"{number}: the child ended with {status}")
            break
        found["killed"].append(number)
        number += STEP
        if len(found["killed"]) == MOST:
            break
    print(json.dumps(found))


def layer(what: str, number: int) -> bytes:
    """Of an image that nobody else has."""
    return random.Random(f"{what} {number}").randbytes(300)


def prepare(number: int) -> list[str]:
    """The three images; digests of the layers that must have left in the end."""
    digests = {
        what: REGISTRY.push_image("team/app", f"{what}{number}", layers=[BASE, layer(what, number)])
        for what in ("purged", "back")
    }
    for what in digests:
        untag(REGISTRY, "team/app", f"{what}{number}")
    if status := in_child(lambda: quarantine(number, digests["back"])):
        raise SystemExit(f"{number}: the run that quarantines ended with {status}")
    REGISTRY.push_image("team/app", f"new{number}", layers=[BASE, layer("quarantined", number)])
    untag(REGISTRY, "team/app", f"new{number}")
    return [digest_of(layer(what, number)) for what in ("purged", "quarantined")]


def missing(one: tuple[str, str]) -> list[str]:
    what = what_is_missing(REGISTRY, *one)
    return [f"{one[0]}:{one[1]}: {what}"] if what else []


# -- in a child ------------------------------------------------------------------------------------


def files() -> ObjectFiles:
    storage = storages.of_settings()
    return ObjectFiles(storage.protocol, storage.root, storage.options, Problems())


def index() -> None:
    run = sync(open_store(storages.of_settings()), by="test")
    assert run is not None
    assert run.state == Run.State.DONE, run.log


def quarantine(number: int, digest: str) -> int:
    """Quarantines both images; then a tag on one of them, as of a push that had looked before."""
    index()
    settings.QUARANTINE_TIME = timedelta(hours=1)
    status = run_once()
    of = files()
    of.system.pipe_file(f"{of.root}/{paths.tag_link('team/app', f'back{number}')}", digest.encode())
    return status


def die_at(number: int) -> int:
    real = aiobotocore.client.AioBaseClient._make_api_call
    seen: list[str] = []

    async def ask(client: Any, operation: str, parameters: Any) -> Any:
        if operation in CHANGES:
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(operation)
        return await real(client, operation, parameters)

    index()
    aiobotocore.client.AioBaseClient._make_api_call = ask
    return run_once()


def finish(gone: list[str]) -> int:
    """Runs until nothing is left to do; 2: something waits or was not deleted."""
    index()
    if run_once() or run_once():
        return 1
    of = files()
    there = [rest for rest, _info in of.found(paths.BLOBS)]
    left = [one for one in there if any(digest.partition(":")[2] in one for digest in gone)]
    quarantined = [rest for rest, _info in of.found("boathouse/quarantine")]
    waiting = [one.path for one in collector.quarantined()]
    records = [one for one in quarantined if one.endswith("/record")]  # kept for some days
    if left or waiting or len(records) != len(quarantined):
        print({"left": left, "in_quarantine": waiting, "quarantined": quarantined})
        return 2
    return 0


if __name__ == "__main__":
    main()
