"""Kills an import at some of the times that it sends something; run by test_killed.py.

Each time: our registry empty again, a child that is killed just before it sends its n-th piece to
either registry, a look at every tag that is here, then the same import to its end.
"""

# ruff: noqa: E402  (Django must be set up before anything of ours is imported)
from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import django

FOLDER, HUB, OURS = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
POINTS = int(sys.argv[4])  # so many kills
KIND = sys.argv[5]  # "registry", "v1" or "archive": of the source
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
(FOLDER / "data").mkdir(parents=True)
django.setup()

from django.conf import settings
from django.core.management import call_command

from registryui.imports import archive, run
from registryui.imports.registry import Access, RegistrySource
from registryui.imports.source import Options, Source
from registryui.imports.v1.source import V1Source
from registryui.models import Run
from tests.support import archives, v1_stores
from tests.support.layouts import Layout
from tests.support.pushing import in_child
from tests.support.registries import Registry, what_is_missing

hub = Registry(HUB, FOLDER / "hub/store")
ours = Registry(OURS, FOLDER / "ours/store")
COUNT = FOLDER / "count"
wanted: dict[str, bytes] = {}  # the manifest of each tag


def main() -> None:
    settings.REGISTRY_URL = OURS
    call_command("migrate", verbosity=0)
    tags = {"registry": fill, "v1": fill_v1, "archive": fill_archives}[KIND]()
    if in_child(counted) != 0:
        raise SystemExit("the import does not work")
    sent = int(COUNT.read_text())
    of = hub if KIND == "registry" else ours
    wanted.update({one: of.get(*one.split(":")).body for one in tags})
    broken = looked_at(tags, is_all=True)
    killed = 0
    for number in {round(sent * point / POINTS) for point in range(POINTS)}:
        shutil.rmtree(ours.store / "docker")
        killed += in_child(lambda number=number: die_at(number)) == -signal.SIGKILL  # type: ignore[misc]
        broken += [f"{number}, killed: {what}" for what in looked_at(tags, is_all=False)]
        there = {one for one in tags if is_here(one)}
        status = in_child(lambda there=there: finish(there))  # type: ignore[misc]
        broken += [f"{number}: the next run ended with {status}"] * bool(status)
        broken += [f"{number}, after: {what}" for what in looked_at(tags, is_all=True)]
    print(json.dumps({"sent": sent, "killed": killed, "broken": broken[:20]}))


def fill() -> list[str]:
    """An image index, images that share layers, a signature; their tags."""
    base = b"base" * 200_000
    one = hub.push_image("team/app", "1", layers=[base, b"one"])
    two = hub.push_image("team/app", layers=[base, b"two"], architecture="arm64")
    hub.push_index("team/app", [hub.child("team/app", each) for each in (one, two)], "multi")
    hub.push_image("tools/base", "9", layers=[base])
    signature = hub.push_image("team/app", layers=[b"of it"], subject=hub.child("team/app", one))
    fallback = f"sha256-{one[7:]}"
    hub.push_index("team/app", [hub.child("team/app", signature)], fallback)
    return ["team/app:1", "team/app:multi", "tools/base:9", f"team/app:{fallback}"]


def fill_v1() -> list[str]:
    """A v1 store with all that is odd; the names here of the tags that can be imported."""
    _made, fate = v1_stores.full(FOLDER / "v1")
    here = {"Team/App__Old..:1": "team/app__old:1", "team/app:1+1": "team/app:1-1"}
    return [here.get(name, name) for name, becomes in fate.items() if becomes == "taken"]


def fill_archives() -> list[str]:
    """One of docker save, whose images share layers, and an OCI one with an image index; their
    tags."""
    base = archives.layer(etc__base=os.urandom(400_000))
    files = archives.saved([base, archives.layer(bin__one=b"one")], "team/app:1", "team/app:new")
    archives.write(FOLDER / "saved.tar", archives.tar_of(files))
    files = archives.saved([base, archives.layer(bin__two=b"two")], "team/other:1")
    archives.write(FOLDER / "other.tar.gz", gzip.compress(archives.tar_of(files)))
    made = Layout(FOLDER / "layout")
    both = [made.image(one, {"bin/app": one.encode() * 90_000}) for one in ("amd64", "arm64")]
    made.tag("tools/base:9", made.image_index(both))
    archives.as_tar(made.folder, FOLDER / "oci.tar")
    return ["team/app:1", "team/app:new", "team/other:1", "tools/base:9"]


def opened(options: Options) -> AbstractContextManager[Source]:
    if KIND == "registry":
        return RegistrySource(Access(HUB), options)
    if KIND == "v1":
        return V1Source(FOLDER / "v1", options)
    places = [FOLDER / name for name in ("saved.tar", "other.tar.gz", "oci.tar")]
    return archive.open_archives(places, name=archive.Name())


def imported() -> Run:
    options = Options()
    with opened(options) as source:
        begun = run.begin(KIND, source.name, options, by="test", about={})
        return run.carry_out(begun, source, options)


def watch(before: Callable[[], None]) -> None:
    """Calls it before anything is sent to a registry."""
    send = http.client.HTTPConnection.send

    def watched(self: http.client.HTTPConnection, data: Any) -> None:
        before()
        send(self, data)

    http.client.HTTPConnection.send = watched  # type: ignore[method-assign]


def counted() -> int:
    sent: list[int] = []
    watch(lambda: sent.append(1))
    done = imported()
    COUNT.write_text(str(len(sent)))
    return int(done.state != Run.State.DONE)


def die_at(number: int) -> int:
    sent: list[int] = []
    lock = threading.Lock()

    def before() -> None:
        with lock:
            if len(sent) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            sent.append(1)

    watch(before)
    return int(imported().state != Run.State.DONE)


def finish(there: set[str]) -> int:
    """What was tagged before is not tagged again."""
    done = imported()
    taken = {str(row) for row in done.imported.filter(state="taken")}
    return int(done.state != Run.State.DONE or bool(taken & there))


def looked_at(tags: list[str], *, is_all: bool) -> list[str]:
    """What is wrong with the tags that are here, and which lack although all should be here."""
    broken = []
    for name in tags:
        repository, _colon, tag = name.partition(":")
        if not is_here(name):
            broken += [f"{name} is not here"] * is_all
        elif problem := what_is_missing(ours, repository, tag):
            broken.append(f"{name}: {problem}")
        elif ours.get(repository, tag).body != wanted[name]:
            broken.append(f"{name} differs")
    return broken


def is_here(name: str) -> bool:
    return ours.get(*name.split(":"), method="HEAD").status == 200


if __name__ == "__main__":
    main()
