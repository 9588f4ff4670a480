"""First sync of 2,000 tags over HTTP, against the plain walk that a script would do."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from registryui.registry.client import RegistryClient
from tests.support.parts import running_registry
from tests.support.product import ROOT

from . import images
from .instance import folder
from .measure import Row, timed

TAGS = 2000
ROUNDS = 3  # of the walks and our sync in turn: a busy minute hits all of them
ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)


def measure() -> Iterator[Row]:
    """2,000 tags as a build server leaves them: two names for each image, own config and layer."""
    ours, walks, kept, again = [], [], [], []
    with folder() as place, running_registry(place / "registry") as url:
        _fill(url)
        for number in range(ROUNDS):
            data = place / f"data{number}"
            walks.append(timed(lambda: _plain_walk(url, keep_alive=False)))
            ours.append(_our_sync(url, data))
            again.append(_our_sync(url, data))
            kept.append(timed(lambda: _plain_walk(url, keep_alive=True)))
    yield _row(f"first sync, 2,000 tags of 1,000 images, median of {ROUNDS}", ours)
    what = "plain sequential walk: HEAD, manifest, config of each tag"
    yield _against(f"{what}; as curl, a connection each", walks, ours, "aim: 4×")
    yield _against(f"{what}; over one connection", kept, ours)
    yield _row("second sync, nothing changed: one HEAD a tag", again)


def _row(what: str, seconds: list[float]) -> Row:
    middle = statistics.median(seconds)
    return Row(what, f"{middle:.1f} s", f"{TAGS / middle:.0f} tags/s", {"seconds": middle})


def _against(what: str, walks: list[float], ours: list[float], aim: str = "") -> Row:
    """The walk's time; its ratio is the median of the rounds' own ratios."""
    middle = statistics.median(walks)
    ratio = statistics.median(walk / own for walk, own in zip(walks, ours, strict=True))
    rounds = ", ".join(f"{walk / own:.1f}" for walk, own in zip(walks, ours, strict=True))
    return Row(
        what,
        f"{middle:.1f} s, {ratio:.1f}× ours",
        f"{aim + '; ' if aim else ''}rounds {rounds}",
        {"seconds": middle, "ratio": ratio},
    )


def _fill(url: str) -> None:
    with RegistryClient(url) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _push_two_names(client, number), range(TAGS // 2)))


def _push_two_names(client: RegistryClient, number: int) -> None:
    tags = (f"1.{number}", f"commit-{number:07x}")
    images.push(client, number, repository=f"team/app-{number % 20}", tags=tags)


def _plain_walk(url: str, *, keep_alive: bool) -> None:
    """One request after the other, as a shell script with curl does it."""
    http = requests.Session() if keep_alive else requests
    seen = 0
    for name in http.get(f"{url}/v2/_catalog?n=1000", timeout=30).json()["repositories"]:
        for tag in http.get(f"{url}/v2/{name}/tags/list", timeout=30).json()["tags"]:
            address = f"{url}/v2/{name}/manifests/{tag}"
            http.head(address, headers={"Accept": ACCEPT}, timeout=30)
            manifest = http.get(address, headers={"Accept": ACCEPT}, timeout=30).json()
            digest = manifest["config"]["digest"]
            http.get(f"{url}/v2/{name}/blobs/{digest}", timeout=30).json()
            seen += 1
    if seen != TAGS:
        raise RuntimeError(f"the walk saw {seen} tags, not {TAGS}")


def _our_sync(url: str, data: Path) -> float:
    """Seconds of `./boathouse sync` on this registry, from its start to its last write."""
    environment = os.environ | {
        "BOATHOUSE_DATA": str(data),
        "BOATHOUSE_REGISTRY_PORT": url.rsplit(":", 1)[1],
    }
    environment.pop("DATABASE_URL", None)  # SQLite in the data folder
    data.mkdir(exist_ok=True)
    _manage(environment, "migrate", "-v0")
    printed: list[str] = []
    took = timed(lambda: printed.append(_manage(environment, "sync", "--source", "http", "--json")))
    if json.loads(printed[0])["tags"] != TAGS:
        raise RuntimeError(f"the sync saw something else: {printed[0]}")
    return took


def _manage(environment: dict[str, str], *words: str) -> str:
    """What a command of the portal prints; its error with all it said if it fails."""
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout
