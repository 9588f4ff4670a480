"""Garbage collection: time of mark, quarantine and purge, against plain reading; pushes beside it.

Stores of 1,000 and 10,000 tags, and of `--tags`. Each is written as files, a fifth of its tags is
removed, and the real registry runs on it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registryui.registry import paths
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError
from tests.support.parts import running_registry

from . import images, index_work, store
from .instance import folder
from .measure import Row, p

SIZES = (1000, 10_000)
GONE = 0.2  # of the tags, before garbage collection
GRACE = 5.0  # seconds; longer than a push, as a day is
ROUNDS = 4  # each with pushes alone, and beside garbage collection
SECONDS = 15.0  # of each
ACTORS = 2
LEAST_PUSHES = 200  # for a meaningful p95


def measure(tags: int = 0) -> Iterator[Row]:
    """`tags`: a larger store, in addition."""
    for size in (*SIZES, *([tags] if tags > max(SIZES) else [])):
        with folder() as place:
            yield from _of_size(place, size)


def _of_size(place: Path, tags: int) -> Iterator[Row]:
    files = place / "store" / "store"
    made = store.write(files, tags)
    gone = _remove_tags(files, made)
    with running_registry(place / "store") as url:
        data = place / "data"
        index_work.work(data, "build", str(files))
        time.sleep(GRACE + 1)
        yield from _stages(data, files, url, tags, gone)
        yield from _beside_pushes(data, files, url, tags)


def _remove_tags(files: Path, made: store.MadeStore, share: float = GONE, *, part: int = 0) -> int:
    """Removes that share of the tags from the store; different ones for each `part`."""
    chance = random.Random(f"{made.seed} {part}")  # noqa: S311  (the same for the same seed)
    gone = 0
    for name in made.repositories():
        for tag in os.listdir(files / paths.tags(name)):  # noqa: PTH208  (names are all we need)
            if chance.random() < share:
                shutil.rmtree(files / paths.tags(name) / tag)
                gone += 1
    return gone


# -- stages ----------------------------------------------------------------------------------------


def _stages(data: Path, files: Path, url: str, tags: int, gone: int) -> Iterator[Row]:
    _plain_read(files)  # warm
    plain = [_plain_read(files)]
    first = _run(data, files, url)
    plain.append(_plain_read(files))
    second = _run(data, files, url)
    plain.append(_plain_read(files))
    marks = [_seconds(run, "mark") for run in (first, second)]
    reading = statistics.median(plain)
    ratio = statistics.median(marks) / reading
    yield Row(
        f"gc of {tags:,} tags, {gone:,} of them deleted: mark, against reading the same files",
        f"{statistics.median(marks):.2f} s, {ratio:.1f}× of {reading:.2f} s",
        f"warm, one process reads; {first['manifests']} manifests, {first['blobs']} blobs;"
        f" memory {first['mib']:.0f} MiB, each reading process {first['reader_mib']:.0f} MiB",
        {"seconds": statistics.median(marks), "ratio": ratio},
    )
    yield _per_second(f"gc of {tags:,} tags: quarantine", first, "quarantine", _quarantined(first))
    yield _per_second(f"gc of {tags:,} tags: purge", first, "purge", int(first["purged"]))
    seconds = sum(float(stage["seconds"]) for stage in first["stages"])
    yield Row(
        f"gc of {tags:,} tags: the complete run",
        f"{seconds:.2f} s",
        f"marks twice; writes frozen {first['freeze_seconds']:.0f} s; freed"
        f" {first['freed_bytes'] / 1e6:.1f} MB; the next run, with nothing to quarantine,"
        f" {sum(float(stage['seconds']) for stage in second['stages']):.2f} s",
        {"seconds": seconds, "freeze_seconds": first["freeze_seconds"]},
    )


def _per_second(what: str, run: dict[str, Any], stage: str, count: int) -> Row:
    seconds = _seconds(run, stage)
    rate = count / seconds if seconds else 0
    return Row(what, f"{seconds:.2f} s", f"{count} items, {rate:,.0f} a second", {"rate": rate})


def _quarantined(run: dict[str, Any]) -> int:
    return int(run["quarantined"]) + int(run["quarantined_manifests"])


def _seconds(run: dict[str, Any], stage: str) -> float:
    return sum(float(one["seconds"]) for one in run["stages"] if one["name"] == stage)


def _plain_read(files: Path) -> float:
    """Seconds in which a script reads every link and manifest and stats each blob and layer
    link: the least that mark must do."""
    done = subprocess.run(  # noqa: S603  (our own words)
        [sys.executable, "-c", _PLAIN, f"{files}/{paths.ROOT}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


_PLAIN = """
import os, sys, time
root, start = sys.argv[1], time.perf_counter()
def content(path):
    with open(path, "rb") as file: return file.read()
manifests = set()
for folder, inside, _files in os.walk(root + "repositories"):
    if "_manifests" in inside:
        for tag in os.listdir(folder + "/_manifests/tags"):
            content(f"{folder}/_manifests/tags/{tag}/current/link")
        for name in os.listdir(folder + "/_manifests/revisions/sha256"):
            try: content(f"{folder}/_manifests/revisions/sha256/{name}/link")
            except FileNotFoundError: continue
            manifests.add(name)
        for name in os.listdir(folder + "/_layers/sha256"):
            os.lstat(f"{folder}/_layers/sha256/{name}/link")
    inside[:] = [name for name in inside if not name.startswith("_")]
for prefix in os.listdir(root + "blobs/sha256"):
    for name in os.listdir(f"{root}blobs/sha256/{prefix}"):
        path = f"{root}blobs/sha256/{prefix}/{name}/data"
        try: os.lstat(path)
        except FileNotFoundError: continue
        if name in manifests: content(path)
print(time.perf_counter() - start)
"""


# -- beside pushes ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Pushes:
    """What clients measured in one round."""

    pushes: list[float] = field(default_factory=list)  # seconds of each
    pulls: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def _beside_pushes(data: Path, files: Path, url: str, tags: int) -> Iterator[Row]:
    made = store.MadeStore(tags, with_layers=True)
    alone, beside, runs = Pushes(), Pushes(), list[dict[str, Any]]()
    ratios = []
    for number in range(ROUNDS):
        found = {}
        for is_busy in (False, True) if number % 2 else (True, False):
            name = f"{'beside' if is_busy else 'alone'}-{number}"
            if is_busy:
                _remove_tags(files, made, GONE / ROUNDS, part=number + 1)
                index_work.work(data, "build", str(files))  # a sync
                time.sleep(GRACE + 1)
                loop = _start(data, files, url, "loop", str(3600))
            found[is_busy] = _pushed(url, name)
            if is_busy:
                (data / "stop").touch()
                runs += index_work.result(loop)["runs"]
                (data / "stop").unlink()
        for kept, one in ((alone, found[False]), (beside, found[True])):
            kept.pushes += one.pushes
            kept.pulls += one.pulls
            kept.failed += one.failed
        ratios.append(p(found[True].pushes, 95) / p(found[False].pushes, 95))
    if bad := [run for run in runs if run["state"] != "done"]:
        raise RuntimeError(f"a garbage collection ended {bad[0]['state']}: {bad[0]['problem']}")
    for what, quiet, busy in (
        ("push", alone.pushes, beside.pushes),
        ("pull", alone.pulls, beside.pulls),
    ):
        note = f"alone {p(quiet, 50) * 1000:.1f} / {p(quiet, 95) * 1000:.1f} ms"
        if what == "push":
            note += "; p95 against alone in each round " + ", ".join(
                f"{one:.2f}×" for one in ratios
            )
        yield Row(
            f"{what} of a small image beside continuous gc of {tags:,} tags",
            f"{p(busy, 50) * 1000:.1f} / {p(busy, 95) * 1000:.1f} ms",
            f"{note}; {len(busy)} and {len(quiet)} of them",
            {
                "p50_ms": p(busy, 50) * 1000,
                "p95_ms": p(busy, 95) * 1000,
                "alone_p50_ms": p(quiet, 50) * 1000,
                "alone_p95_ms": p(quiet, 95) * 1000,
            },
        )
    moved, freed = sum(_quarantined(run) for run in runs), sum(run["freed_bytes"] for run in runs)
    frozen = max(float(run["freeze_seconds"]) for run in runs)
    yield Row(
        f"pushes and pulls that failed beside it, at {tags:,} tags",
        f"{len(beside.failed)} of {len(beside.pushes) + len(beside.pulls)}",
        f"aim: 0; alone {len(alone.failed)}; {len(runs)} runs, which quarantined {moved} items,"
        f" freed {freed / 1e6:.1f} MB and froze writes {frozen:.0f} s"
        + "".join(f"; {one}" for one in beside.failed[:3]),
        {"failed": len(beside.failed), "alone_failed": len(alone.failed), "freeze_seconds": frozen},
    )


def _pushed(url: str, name: str) -> Pushes:
    """ACTORS push images, one after the other, and pull what they pushed before."""
    found, until = Pushes(), time.monotonic() + SECONDS

    def push(actor: int) -> None:
        with RegistryClient(url) as client:
            number = 0
            while time.monotonic() < until or number < LEAST_PUSHES // ACTORS:
                repository, tag = f"bench/{name}", f"{actor}-{number}"
                began = time.perf_counter()
                try:
                    images.push(client, actor * 10**6 + number, repository=repository, tags=(tag,))
                    found.pushes.append(time.perf_counter() - began)
                    began = time.perf_counter()
                    _pull(client, repository, f"{actor}-{max(number - 5, 0)}")
                    found.pulls.append(time.perf_counter() - began)
                except RegistryError as error:
                    found.failed.append(f"{type(error).__name__}: {error}"[:100])
                number += 1

    threads = [threading.Thread(target=push, args=(actor,)) for actor in range(ACTORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _pull(client: RegistryClient, repository: str, tag: str) -> None:
    stored = client.manifest(repository, tag)
    if stored is None:
        raise RegistryError(f"{repository}:{tag} is gone")
    manifest = json.loads(stored.raw)
    for blob in (manifest["config"], *manifest["layers"]):
        if client.blob(repository, blob["digest"], limit=2**20) is None:
            raise RegistryError(f"{repository}:{tag} lacks {blob['digest']}")


# -- in a separate process -------------------------------------------------------------------------


def _start(data: Path, files: Path, url: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "bench.gc", str(data), str(files), url, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(data: Path, files: Path, url: str) -> dict[str, Any]:
    """One complete run; its result. RuntimeError if it failed."""
    run = dict(index_work.result(_start(data, files, url, "loop", "0"))["runs"][0])
    if run["state"] != "done":
        raise RuntimeError(f"the garbage collection ended {run['state']}: {run['problem']}")
    return run


def main(data: str, files: str, url: str, action: str, seconds: str) -> None:
    """loop SECONDS: one run, then others until the time is over or DATA/stop exists."""
    os.environ |= {"BOATHOUSE_DATA": data, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    os.environ.pop("DATABASE_URL", None)  # SQLite in the data folder
    import resource
    from datetime import timedelta

    import django
    from django.conf import settings

    settings.STORE_DIR, settings.REGISTRY_URL = Path(files), url
    settings.GC_GRACE = timedelta(seconds=GRACE)
    settings.QUARANTINE_TIME = timedelta()  # what a run quarantines, its last stage purges
    django.setup()
    from registryui.gc import collector, process

    process.step_back(purge_now=False)

    deadline, runs = time.monotonic() + float(seconds), []
    while True:
        run = collector.run_gc(by="bench")
        if run is None:
            raise SystemExit("another run is under way")
        mib = [
            resource.getrusage(who).ru_maxrss / 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        runs.append({**run.result, "state": run.state, "mib": mib[0], "reader_mib": mib[1]})
        if time.monotonic() >= deadline or (Path(data) / "stop").exists():
            break
    print(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
