"""Backup and restore: the second against the first, pushes beside it, a restore against cp -a."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registryui.registry import paths
from registryui.registry.client import RegistryClient
from tests.support.fake_source import digest_of
from tests.support.parts import running_registry
from tests.support.product import ROOT

from . import gc, images, index_work, store
from .instance import folder
from .measure import Row, p, timed

TAGS = 10_000
LAYER_BYTES = 8_000_000  # of each large layer; real images have some for each tag
LAYER_FOR = 80  # tags: 100 kB a tag
ROUNDS = 3  # of pushes alone, and beside a backup


def measure(tags: int = 0) -> Iterator[Row]:
    """`tags`: of the store."""
    with folder() as place:
        data, files, to = place / "data", place / "registry" / "store", place / "to"
        store.write(files, tags or TAGS)
        _add_layers(files, (tags or TAGS) // LAYER_FOR)
        with running_registry(place / "registry") as url:
            index_work.work(data, "build", str(files))
            _prepare(data, files)
            yield from _first_and_second(data, to, url)
            yield from _beside_pushes(data, place, url)
            yield _restored(data, files, place, to)


def _add_layers(files: Path, count: int) -> None:
    """Large layers of a repository; random bytes, which nothing compresses."""
    for _ in range(count):
        content = os.urandom(LAYER_BYTES)
        digest = digest_of(content)
        for path, data in (
            (paths.blob_data(digest), content),
            (paths.layer_link("large/layers", digest), digest.encode()),
        ):
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (files / path).write_bytes(data)


def _prepare(data: Path, files: Path) -> None:
    """What `up` makes of a data folder, as far as a backup needs it."""
    for name in ("secrets", "run", "rights", "tls"):
        (data / name).mkdir(exist_ok=True)
    (data / "htpasswd").touch()
    (data / "registry").symlink_to(files)


def _first_and_second(data: Path, to: Path, url: str) -> Iterator[Row]:
    first = timed(lambda: _command(data, "backup", str(to)))
    size = _size(to)
    ratios, sizes = [], []
    for number in range(3):
        before = _size(to)
        with RegistryClient(url) as client:
            images.push(client, number, repository="bench/one", tags=(f"{number}",))
        ratios.append(timed(lambda: _command(data, "backup", str(to))) / first)
        sizes.append((_size(to) - before) / size)
    ratio, share = sorted(ratios)[1], sorted(sizes)[1]
    yield Row(
        "the first backup",
        f"{first:.1f} s",
        f"{size / 1e6:,.0f} MB in the target, {size / first / 1e6:.0f} MB/s",
        {"seconds": first, "bytes": size},
    )
    yield Row(
        "the next one after one push, against the first: time; bytes",
        f"{ratio:.1%}; {share:.1%}",
        f"{ratio * first:.1f} s; aim: ≤ 5 % each; median of 3",
        {"time_ratio": ratio, "bytes_ratio": share},
    )


def _beside_pushes(data: Path, place: Path, url: str) -> Iterator[Row]:
    """Each time a first backup into a new folder, which is the longest."""
    ratios = []
    for number in range(ROUNDS):
        alone = gc._pushed(url, f"alone-{number}")
        process = _start(data, "backup", str(place / f"to-{number}"))
        beside = gc._pushed(url, f"beside-{number}")
        is_over = process.poll() is not None
        process.communicate()
        ratios.append(p(beside.pushes, 95) / p(alone.pushes, 95))
        shutil.rmtree(place / f"to-{number}", ignore_errors=True)
    median = sorted(ratios)[len(ratios) // 2]
    said = ", ".join(f"{one:.2f}×" for one in ratios)
    yield Row(
        "p95 of a push beside a first backup, against alone",
        f"{median:.2f}×",
        f"aim: ≤ 1.2×; rounds {said}" + "; the backup ended before the pushes" * is_over,
        {"ratio": median},
    )


def _restored(data: Path, files: Path, place: Path, to: Path) -> Row:
    key = data / "secrets" / "backup-password"
    copied, restored = [], []
    for number in range(2):
        os.sync()
        copied.append(timed(lambda: _copy(files, place / "copy")))
        shutil.rmtree(place / "copy")
        new = place / f"new-{number}"
        began = time.perf_counter()
        said = _command(data, "restore", str(to), f"--to={new}", f"--password-file={key}", "--json")
        restored.append(time.perf_counter() - began)
        shutil.rmtree(new)
    share = min(copied) / min(restored)
    return Row(
        f"a restore of {json.loads(said)['tags']:,} tags: speed against cp -a of the store",
        f"{share:.0%}",
        f"aim: ≥ 50 %; {min(restored):.1f} s against {min(copied):.1f} s; every digest compared",
        {"ratio": share},
    )


def _copy(files: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", str(files), str(to)], check=True)  # noqa: S603, S607  (ours)
    os.sync()  # as a restore does


def _size(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _start(data: Path, *words: str) -> subprocess.Popen[Any]:
    environment = {**os.environ, "BOATHOUSE_DATA": str(data)}
    environment.pop("DATABASE_URL", None)
    return subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, str(ROOT / "manage.py"), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _command(data: Path, *words: str) -> str:
    out, errors = (process := _start(data, *words)).communicate()
    if process.returncode:
        raise RuntimeError(f"{words[0]}: {out}{errors}"[-2000:])
    return str(out)
