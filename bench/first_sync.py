"""First sync of a registry against the plain walk that a script would do."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from registryui.registry.client import RegistryClient
from tests.parts import running_registry

from .measure import Row

TAGS = 2000
ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)


def measure() -> list[Row]:
    """2,000 tags as a build server leaves them: two names for each image, own config and layer."""
    with (
        tempfile.TemporaryDirectory(prefix="boathouse-bench-") as folder,
        running_registry(Path(folder) / "store") as url,
    ):
        _fill(url)
        walks = [_plain_walk(url, keep_alive=alive) for alive in (False, True)]
        ours = [_our_sync(url, Path(folder) / f"var{number}") for number in range(3)]
        again = _our_sync(url, Path(folder) / "var0")
    best = sorted(ours)[1]  # the median of three
    return [
        Row("first sync, 2,000 tags of 1,000 images", f"{best:.1f} s", f"{TAGS / best:.0f} tags/s"),
        Row(
            "plain sequential walk: HEAD, manifest, config of each tag",
            f"{walks[0]:.1f} s, {walks[0] / best:.1f}× ours",
            f"with one kept connection {walks[1]:.1f} s, {walks[1] / best:.1f}×",
        ),
        Row("second sync, nothing changed", f"{again:.1f} s", "one HEAD a tag"),
    ]


def _fill(url: str) -> None:
    with RegistryClient(url) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _push_two_names(client, number), range(TAGS // 2)))


def _push_two_names(client: RegistryClient, number: int) -> None:
    tags = (f"1.{number}", f"commit-{number:07x}")
    push(client, number, repository=f"team/app-{number % 20}", tags=tags)


def push(client: RegistryClient, number: int, *, repository: str, tags: tuple[str, ...]) -> None:
    """One image of three layers, two of them shared by all numbers."""
    layers = [b"base", b"runtime", f"layer {number}".encode()]
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {"Env": [f"BUILD={number}"]}}
    ).encode()
    for blob in (config, *layers):
        client.upload_blob(repository, blob)
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [
            _descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer) for layer in layers
        ],
    }
    raw = json.dumps(manifest).encode()
    for tag in tags:
        client.put_manifest(repository, tag, raw, media_type)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _plain_walk(url: str, *, keep_alive: bool) -> float:
    """Seconds of one request after the other, as a shell script with curl does it."""
    http = requests.Session() if keep_alive else requests
    start = time.perf_counter()
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
        raise SystemExit(f"the walk saw {seen} tags, not {TAGS}")
    return time.perf_counter() - start


def _our_sync(url: str, data: Path) -> float:
    """Seconds of `./boathouse sync` on this registry, from its start to its last write."""
    environment = os.environ | {
        "BOATHOUSE_DATA": str(data),
        "BOATHOUSE_REGISTRY_PORT": url.rsplit(":", 1)[1],
    }
    data.mkdir(exist_ok=True)
    manage = [sys.executable, "manage.py"]
    quiet = {"env": environment, "check": True, "stdout": subprocess.PIPE, "text": True}
    subprocess.run([*manage, "migrate", "-v0"], **quiet)  # type: ignore[call-overload]  # noqa: S603
    start = time.perf_counter()
    done = subprocess.run([*manage, "sync", "--json"], **quiet)  # type: ignore[call-overload]  # noqa: S603
    took = time.perf_counter() - start
    if json.loads(done.stdout)["tags"] != TAGS:
        raise SystemExit(f"the sync saw something else: {done.stdout}")
    return took
