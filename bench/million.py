"""The index of a store of many tags: first build, reconcile, events, pages (`--tags N`).

What takes files is measured at 40,000 tags at most; beyond, the same records come as a stream.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from registryui.registry import paths
from registryui.registry.client import RegistryClient
from tests.support.parts import running_registry

from . import index_work, store
from .instance import databases, folder
from .measure import Row, p

AS_FILES = 40_000
SLICE = 2_000  # tags of the crawl over HTTP: the registry answers some hundred a second
AT_ONCE = 16
READERS = 8
REPOSITORIES = 10_000  # of the reconciliation
EVENTS = 10_000
FEWEST = 1_000  # tags that pages of a large index are compared to
REPEATS = 40
ROUNDS = 3


def measure(tags: int = AS_FILES, *, is_postgresql: bool = False) -> Iterator[Row]:
    """At most AS_FILES tags as files, and all as a stream if there are more."""
    if not is_postgresql:
        yield from _measured(tags)
        return
    with databases(is_postgresql=True):
        for row in _measured(tags):
            yield replace(row, what=f"PostgreSQL: {row.what}")


def _measured(tags: int) -> Iterator[Row]:
    files = min(tags, AS_FILES)
    with folder() as place:
        store.write(place / "store" / "store", files)
        yield from _first_build(place, files)
        yield from _cold(place, files)
        yield from _beside_pages(place, files)
        yield from _events(place, files)
    with folder() as place:
        yield from _reconcile(place, min(REPOSITORIES, tags))
    with folder() as place:
        yield from _stream(place, files, tags)


def _first_build(place: Path, tags: int) -> Iterator[Row]:
    files = place / "store" / "store"
    plain, ours, done = [], [], {}
    plain_read(files)  # warm
    for number in range(ROUNDS):
        plain.append(plain_read(files)["seconds"])
        done = index_work.work(place / f"data{number}", "build", str(files))
        ours.append(done["seconds"])
    ratio = sorted(own / base for own, base in zip(ours, plain, strict=True))[ROUNDS // 2]
    yield Row(
        f"first build of {tags} tags from a warm store, against reading and parsing the same files",
        f"{sorted(ours)[ROUNDS // 2]:.1f} s, {ratio:.1f}× of {sorted(plain)[ROUNDS // 2]:.1f} s",
        f"aim: ≤ 3×; {done['manifests']} manifests, {done['repositories']} repositories;"
        f" a transaction {done['write_p50'] * 1000:.0f} ms,"
        f" the longest {done['write_max'] * 1000:.0f} ms",
        {"seconds": sorted(ours)[ROUNDS // 2], "ratio": ratio},
    )
    yield Row(
        "memory of that build",
        f"{done['mib']:.0f} MiB",
        f"aim: < 500; each reading process {done['reader_mib']:.0f} MiB",
        {"mib": done["mib"], "reader_mib": done["reader_mib"]},
    )
    yield Row(
        "database",
        f"{done['bytes'] / tags / 1000:.1f} kB a tag",
        "",
        {"bytes": done["bytes"] / tags},
    )
    crawl, seen = _crawl(place / "store")
    ratio = (crawl / seen) / (sorted(ours)[ROUNDS // 2] / tags)
    yield Row(
        f"the same over HTTP, {AT_ONCE} at once, measured on {seen} of the tags",
        f"{seen / crawl:.0f} tags/s, {ratio:.0f}× slower",
        "aim: ≥ 40×",
        {"ratio": ratio, "seconds": crawl},
    )


def plain_read(files: Path) -> dict[str, float]:
    """The `seconds`, and those of `processor`, in which a script reads and parses every manifest
    and config, in one process."""
    seconds, processor = _script(_PLAIN, files)
    return {"seconds": seconds, "processor": processor}


def _script(text: str, files: Path) -> list[float]:
    done = subprocess.run(  # noqa: S603  (our own words)
        [sys.executable, "-c", text, f"{files}/{paths.ROOT}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


_PLAIN = """
import json, os, sys, time
root, seen, start, used = sys.argv[1], set(), time.perf_counter(), time.process_time()
def content(digest):
    with open(f"{root}blobs/sha256/{digest[7:9]}/{digest[7:]}/data", "rb") as file:
        return json.loads(file.read())
def manifest(digest):
    if digest in seen: return
    seen.add(digest)
    found = content(digest)
    for entry in found.get("manifests", ()): manifest(entry["digest"])
    config = found.get("config")
    if config and "json" in config["mediaType"] and config["digest"] not in seen:
        seen.add(config["digest"])
        content(config["digest"])
for folder, inside, _files in os.walk(root + "repositories"):
    if "_manifests" in inside:
        for tag in os.listdir(folder + "/_manifests/tags"):
            with open(f"{folder}/_manifests/tags/{tag}/current/link") as file: manifest(file.read())
        for name in os.listdir(folder + "/_manifests/revisions/sha256"): manifest("sha256:" + name)
    inside[:] = [name for name in inside if not name.startswith("_")]
print(time.perf_counter() - start, time.process_time() - used)
"""


def _crawl(place: Path) -> tuple[float, int]:
    """Seconds and tags: manifest and config of each, as a tool without an index does it."""
    with running_registry(place) as url, RegistryClient(url, pool=AT_ONCE) as client:
        wanted: list[tuple[str, str]] = []
        for name in client.repositories():
            # Not the largest alone: some of each, as they come.
            wanted += [(name, tag) for tag in client.tags(name)[:50]]
            if len(wanted) >= SLICE:
                break
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: _ask(client, *one), wanted[:SLICE]))
        return time.perf_counter() - start, len(wanted[:SLICE])


def _ask(client: RegistryClient, repository: str, tag: str) -> None:
    stored = client.manifest(repository, tag)
    found = json.loads(stored.raw) if stored else {}
    for entry in found.get("manifests", ()):
        _ask(client, repository, entry["digest"])
    if config := found.get("config"):
        client.blob(repository, config["digest"], limit=2**20)


# -- cold ------------------------------------------------------------------------------------------


def _cold(place: Path, tags: int) -> Iterator[Row]:
    files = place / "store" / "store"
    if not _forget():
        yield Row("the same cold", "not measured", "only root may empty the cache of files")
        return
    readers, *_rest = _script(_EIGHT, files)
    _forget()
    done = index_work.work(place / "cold", "build", str(files))
    ratio = done["seconds"] / readers
    yield Row(
        f"first build of {tags} tags from a cold store, against {READERS} readers",
        f"{done['seconds']:.1f} s, {ratio:.1f}× of {readers:.1f} s",
        "aim: ≤ 2×",
        {"seconds": done["seconds"], "ratio": ratio},
    )


def _forget() -> bool:
    """Empties the machine's cache of files; False if that is not allowed."""
    if os.geteuid() != 0:
        return False
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


_EIGHT = """
import multiprocessing, os, sys, time, json
root = sys.argv[1]
def content(digest):
    with open(f"{root}blobs/sha256/{digest[7:9]}/{digest[7:]}/data", "rb") as file:
        return file.read()
def repository(folder):
    seen = set()
    def manifest(digest):
        if digest in seen: return
        seen.add(digest)
        found = json.loads(content(digest))
        for entry in found.get("manifests", ()): manifest(entry["digest"])
        config = found.get("config")
        if config and "json" in config["mediaType"]: content(config["digest"])
    for tag in os.listdir(folder + "/_manifests/tags"):
        with open(f"{folder}/_manifests/tags/{tag}/current/link") as file: manifest(file.read())
    for name in os.listdir(folder + "/_manifests/revisions/sha256"): manifest("sha256:" + name)
start, found = time.perf_counter(), []
for folder, inside, _files in os.walk(root + "repositories"):
    if "_manifests" in inside: found.append(folder)
    inside[:] = [name for name in inside if not name.startswith("_")]
with multiprocessing.Pool(READERS) as pool:
    list(pool.imap_unordered(repository, found, chunksize=4))
print(time.perf_counter() - start)
""".replace("READERS", str(READERS))


# -- beside others ---------------------------------------------------------------------------------


def _beside_pages(place: Path, tags: int) -> Iterator[Row]:
    """Pages in one process, the build in another, of one SQLite file."""
    data, files = place / "beside", place / "store" / "store"
    index_work.work(data, "build", f"first:{min(1000, tags)}")  # something for the pages to show
    quiet = _visited(data, seconds=5)
    visitor = _visitor(data)
    index_work.work(data, "build", str(files))
    (data / "stop").touch()
    busy = index_work.result(visitor)
    if not busy["times"]:
        raise RuntimeError("no page was asked for while the build ran")
    p95 = p(busy["times"], 95) * 1000
    yield Row(
        "pages while the first build runs, p95",
        f"{p95:.0f} ms",
        f"aim: < 100; idle {p(quiet['times'], 95) * 1000:.0f} ms; {len(busy['times'])} pages,"
        f" {busy['locked']} × database is locked, {busy['failed']} other errors",
        {"p95_ms": p95, "locked": busy["locked"], "failed": busy["failed"]},
    )


def _visitor(data: Path) -> subprocess.Popen[str]:
    """A process that asks for pages, from its first page on, until DATA/stop is there."""
    (data / "stop").unlink(missing_ok=True)
    visitor = index_work.start(data, "visit", "3600")
    assert visitor.stdout is not None  # noqa: S101  (a pipe was asked for)
    if visitor.stdout.readline() != "ready\n":
        index_work.result(visitor)
    return visitor


def _visited(data: Path, *, seconds: float) -> dict[str, list[float]]:
    (data / "stop").unlink(missing_ok=True)
    return index_work.work(data, "visit", str(seconds))


def _events(place: Path, tags: int) -> Iterator[Row]:
    data, files = place / "events", place / "store" / "store"
    index_work.work(data, "build", f"first:{min(1000, tags)}")  # something for the pages to show
    queued = index_work.work(data, "queue", str(min(EVENTS, tags)), str(files))
    quiet = _visited(data, seconds=5)
    visitor = _visitor(data)
    done = index_work.work(data, "drain", str(files))
    (data / "stop").touch()
    busy = index_work.result(visitor)
    rate = done["applied"] / done["seconds"]
    yield Row(
        f"{done['applied']} queued push events in {queued['repositories']} repositories",
        f"{rate:.0f} a second",
        "aim: ≥ 200; while pages are asked for without a break",
        {"rate": rate, "seconds": done["seconds"]},
    )
    slower = p(busy["times"], 50) / p(quiet["times"], 50)
    yield Row(
        "pages while these are applied, p50 compared to idle",
        f"{slower:.1f}×",
        f"aim: ≤ 2×; p95 {p(busy['times'], 95) * 1000:.0f} ms, idle"
        f" {p(quiet['times'], 95) * 1000:.0f} ms; {busy['locked']} × database is locked",
        {"ratio": slower, "locked": busy["locked"]},
    )


def _reconcile(place: Path, repositories: int) -> Iterator[Row]:
    files = place / "store" / "store"
    made = store.write(files, 4 * repositories, repositories=repositories)
    time.sleep(3)  # what was made within two seconds may change again
    data = place / "data"
    index_work.work(data, "build", str(files))
    index_work.work(data, "build", str(files))  # stamps of what was fresh
    again = index_work.work(data, "build", str(files))
    if again["added"] or again["moved"] or again["removed"]:
        raise RuntimeError(f"nothing changed, and this was found: {again}")
    yield Row(
        f"reconcile {repositories} repositories, {4 * repositories} tags, nothing changed",
        f"{again['seconds']:.1f} s",
        "aim: < 5 s",
        {"seconds": again["seconds"]},
    )
    name = max(made.repositories(), key=lambda one: made.sizes[made.number(one)])
    (tag, digest, _at), *_rest = made.records(name).tags
    other = next(one for one in made.records(name).manifests if one != digest)
    (files / paths.tag_link(name, tag)).write_text(other)
    moved = index_work.work(data, "build", str(files))
    if moved["moved"] != 1:
        raise RuntimeError(f"the moved tag was not found: {moved}")
    yield Row(
        "the same with one moved tag: found",
        f"{moved['seconds']:.1f} s",
        "aim: < 6 s",
        {"seconds": moved["seconds"]},
    )


# -- as a stream -----------------------------------------------------------------------------------


def _stream(place: Path, few: int, many: int) -> Iterator[Row]:
    index_work.work(place / "thousand", "build", f"made:{FEWEST}")
    small = index_work.work(place / "few", "build", f"made:{few}")
    yield from _pages(_page_times(place / "few"), few, _page_times(place / "thousand"))
    if many <= few:
        return
    large = index_work.work(place / "many", "build", f"made:{many}")
    again = index_work.work(place / "again", "build", f"made:{few}")
    seconds = [small["seconds"], again["seconds"]]  # a processor is not always as fast
    ratio = (large["seconds"] / many) / (statistics.mean(seconds) / few)
    yield Row(
        f"first build of {many} tags as a stream, time a tag against {few}",
        f"{large['seconds']:.0f} s, {ratio:.2f}×",
        f"aim: ≤ 1.3×; {many / large['seconds']:.0f} tags/s; {few} before and after it in"
        f" {seconds[0]:.1f} and {seconds[1]:.1f} s; longest transaction"
        f" {large['write_max'] * 1000:.0f} ms",
        {"seconds": large["seconds"], "ratio": ratio},
    )
    yield Row(
        f"memory of the build of {many} tags",
        f"{large['mib']:.0f} MiB",
        f"aim: < 500; each reading process {large['reader_mib']:.0f} MiB, with the made records",
        {"mib": large["mib"], "reader_mib": large["reader_mib"]},
    )
    size = large["bytes"] / many
    yield Row(f"database at {many} tags", f"{size / 1000:.1f} kB a tag", "", {"bytes": size})
    yield from _pages(_page_times(place / "many"), many, _page_times(place / "thousand"))


def _page_times(data: Path) -> dict[str, Any]:
    """By page: its queries, and the seconds of each repeat."""
    return index_work.work(data, "pages", str(REPEATS))


def _pages(found: dict[str, Any], tags: int, before: dict[str, Any]) -> Iterator[Row]:
    for path, one in found.items():
        p50, p95 = (p(one["times"], percent) * 1000 for percent in (50, 95))
        growth = p50 / (p(before[path]["times"], 50) * 1000)
        yield Row(
            f"page `{path}` at {tags} tags",
            f"{p50:.1f} / {p95:.1f} ms",
            f"{one['queries']} queries; p50 {growth:.2f}× of that at {FEWEST} tags; aim: p95 ≤"
            f" {50 if 'search' in path else 25} ms, ≤ 1.2×, ≤ 12 queries",
            {"p50_ms": p50, "p95_ms": p95, "growth": growth, "queries": one["queries"]},
        )
