"""Import of a v1 store against gunzip and gzip on one core: one layer, then several at a time.

The registry and nginx take their share of the same processor.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.product import ROOT, Product, product
from tests.support.v1_stores import V1Files, gz

from . import docker_image
from .instance import LOOPBACK, REQUESTS, folder
from .measure import Row, timed

ROUNDS = 3
LAYER_KILOBYTES = int(os.environ.get("BENCH_LAYER_BYTES", 100_000_000)) // 1000
LAYERS = 4  # of the second image
RAW = 'gunzip -c "$0" | gzip -n > /dev/null'


def measure() -> Iterator[Row]:
    """Nothing beyond what the product needs."""
    with folder() as place, product(place / "data", LOOPBACK, settings=REQUESTS) as here:
        files, pieces = V1Files(place / "v1"), docker_image.pieces()
        raw: list[float] = []
        speeds: dict[int, list[float]] = {1: [], LAYERS: []}  # bytes of tar per second
        for number in range(ROUNDS):
            for count in speeds:
                image = ""
                for layer in range(count):
                    tar = docker_image.layer(LAYER_KILOBYTES, pieces)
                    image = files.image(f"{number} {count} {layer}", gz(tar), parent=image)
                files.tag(f"v1/layers{count}", str(number), image)
                if count == 1:
                    raw.append(len(tar) / timed(lambda x=image: _raw(files.folder(x))))
                seconds = _import(here, files.root, f"v1/layers{count}:{number}")
                speeds[count].append(count * len(tar) / seconds)
        aims = {1: "; aim: 0.6×", LAYERS: ", two at a time"}
        for count, ours in speeds.items():
            rounds = [a / b for a, b in zip(ours, raw, strict=True)]
            mine, other = (statistics.median(one) / 1e6 for one in (ours, raw))
            yield Row(
                f"import of a v1 image of {count} × {LAYER_KILOBYTES / 1000:.0f} MB against gunzip"
                " and gzip on one core: speed",
                f"{statistics.median(rounds):.2f}×",
                f"{mine:.0f} MB/s against {other:.0f}{aims[count]};"
                f" rounds {', '.join(f'{one:.2f}' for one in rounds)}",
                {"ratio": statistics.median(rounds), "mb_s": mine},
            )


def _raw(image: Path) -> None:
    words = ("taskset", "--cpu-list", "0", "sh", "-c", RAW, str(image / "layer"))
    subprocess.run(words, check=True)  # noqa: S603  (our own command)


def _import(here: Product, root: Path, tag: str) -> float:
    """Seconds of the import itself, without the start of the command."""
    words = ("import", "v1", str(root), tag, "--json")
    done = subprocess.run(  # noqa: S603  (our own command)
        [str(ROOT / "boathouse"), *words], env=here.environment, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    if found["taken"] != 1:
        raise RuntimeError(str(found)[:2000])
    return float(found["seconds"])
