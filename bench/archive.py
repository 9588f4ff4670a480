"""Archives in and out: speed and memory of one large file, what an incremental one has.

The layers are one large file of zeros each, so that the disk and not the noise of making them is
measured; compressing them is quicker than real ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.fake_source import CONFIG, IMAGE, descriptor, digest_of, encode
from tests.support.product import ROOT, Product, product
from tests.support.waiting import until

from .instance import LOOPBACK, REQUESTS, client, folder
from .measure import Row, timed

GIGABYTES = int(os.environ.get("BENCH_ARCHIVE_GB", "2"))
BYTES = GIGABYTES * 1000**3 // 512 * 512
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
BLOCK = bytes(1024 * 1024)


def measure() -> Iterator[Row]:
    """Makes the archives sparsely, imports them, exports them again."""
    with folder() as place, product(place / "data", LOOPBACK, settings=REQUESTS) as here:
        digest = _digest(BYTES)
        for name, make in (("OCI archive", _oci), ("docker save", _saved)):
            made = make(place / "made.tar", digest)
            yield _measured(f"import of one {name} of {GIGABYTES} GB", here, "import", made)
        until(lambda: here.tag("large/oci", "1"), "the index knows it")
        out = place / "out"
        out.mkdir()
        out.chmod(0o777)  # started by root, the commands run as another user
        first, second = out / "first.tar", out / "second.tar"
        yield _measured(
            f"export of one image of {GIGABYTES} GB", here, "export", first, "large/oci"
        )
        yield _incremental(here, first, second)


def _measured(what: str, here: Product, act: str, place: Path, *words: str) -> Row:
    command = [act, "archive", str(place)] if act == "import" else [act, str(place), *words]
    peak = 0

    def run() -> None:
        nonlocal peak
        peak = _peak([str(ROOT / "boathouse"), *command, "--json"], here.environment)

    seconds = timed(run)
    speed, memory = BYTES / seconds / 1e6, peak / 1e6
    return Row(
        f"{what}: speed, peak of memory",
        f"{speed:.0f} MB/s, {memory:.0f} MB",
        f"{seconds:.1f} s; aim: 300 MiB of memory at most, for any size",
        {"speed_mb_per_s": speed, "peak_mb": memory},
    )


def _incremental(here: Product, first: Path, second: Path) -> Row:
    """The first archive again, with one small layer more."""
    small = os.urandom(1_000_000)
    with client(here) as pushing:
        stored = pushing.manifest("large/oci", "1")
        manifest = json.loads(stored.raw if stored else b"{}")
        blob = pushing.upload_blob("large/oci", small)
        manifest["layers"].append({"mediaType": PLAIN_LAYER, "digest": blob, "size": len(small)})
        pushing.put_manifest("large/oci", "2", encode(manifest), IMAGE)
    until(lambda: here.tag("large/oci", "2"), "the index knows it")
    here.boathouse("export", str(second), "large/oci", "--since", str(first))
    share = 100 * second.stat().st_size / first.stat().st_size
    return Row(
        "an incremental archive after one layer of 1 MB: size",
        f"{share:.2f} %",
        f"of the first archive of {GIGABYTES} GB; aim: 5 %",
        {"share_percent": share},
    )


def _peak(command: list[str], environment: Mapping[str, str]) -> int:
    """Bytes of memory that it and its children held at most."""
    process = subprocess.Popen(  # noqa: S603  (our own command)
        command, env=environment, stdout=subprocess.DEVNULL
    )
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[1:3]} ended with {process.returncode}")
    return usage.ru_maxrss * 1024


# -- archives --------------------------------------------------------------------------------------
def _digest(size: int) -> str:
    seen, left = hashlib.sha256(), size
    while left:
        seen.update(BLOCK[:left])
        left -= min(left, len(BLOCK))
    return f"sha256:{seen.hexdigest()}"


def _oci(place: Path, digest: str) -> Path:
    config = _config(digest)
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, config),
            "layers": [{"mediaType": PLAIN_LAYER, "digest": digest, "size": BYTES}],
        }
    )
    named = {"org.opencontainers.image.ref.name": "large/oci:1"}
    entry = {**descriptor(IMAGE, manifest), "annotations": named}
    return _written(
        place,
        {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": encode({"schemaVersion": 2, "manifests": [entry]}),
            _blob(digest_of(config)): config,
            _blob(digest_of(manifest)): manifest,
        },
        _blob(digest),
    )


def _saved(place: Path, digest: str) -> Path:
    config = _config(digest)
    entry = {"Config": "config.json", "RepoTags": ["large/saved:1"], "Layers": ["layer.tar"]}
    files = {"config.json": config, "manifest.json": encode([entry])}
    return _written(place, files, "layer.tar")


def _written(place: Path, files: Mapping[str, bytes], large: str) -> Path:
    """The archive with these files and a large one of zeros, which takes no space on the disk."""
    with place.open("wb") as made:
        for name, content in files.items():
            made.write(_header(name, len(content)) + content + bytes(-len(content) % 512))
        made.write(_header(large, BYTES))
        made.truncate(made.tell() + BYTES + 1024)
    return place


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _config(digest: str) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [digest]}
    return encode({"os": "linux", "architecture": "amd64", "config": {}, "rootfs": rootfs})


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
