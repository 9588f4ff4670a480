"""An image of 20 layers as people have them, few large and many small, loaded into Docker."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.engines import DOCKER, Engine

# A base, packages, a runtime, an application, and the empty and tiny ones between them.
KILOBYTES = (
    *(12_000, 800, 200, 6_000, 1, 1, 20_000, 120, 8_000, 1_500),
    *(1, 4, 300, 12_000, 1, 1, 1, 2_400, 40, 1),
)
CONTENTS = Path("/usr/lib")  # libraries and programs: they pack as those of an image do


def megabytes() -> int:
    """Size of the image, not packed."""
    return sum(KILOBYTES) // 1000


def load(docker: Engine, name: str) -> None:
    """An image that no registry has any layer of, under this name in the engine."""
    subprocess.run(  # noqa: S603  (our own command)
        docker.machine.command([DOCKER, "load"]),
        env=docker.machine.environment,
        input=_archive(name),
        capture_output=True,
        check=True,
    )


def _archive(name: str) -> bytes:
    """What `docker save` writes."""
    source = pieces()
    layers = {f"{number}/layer.tar": layer(kb, source) for number, kb in enumerate(KILOBYTES)}
    diff_ids = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers.values()]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"step {number}"} for number in range(len(layers))],
        "config": {},
    }
    listed = [{"Config": "config.json", "RepoTags": [name], "Layers": list(layers)}]
    files = {"config.json": _json(config), "manifest.json": _json(listed)}
    return _tar({**layers, **files})


def layer(kilobytes: int, source: Iterator[bytes]) -> bytes:
    """A tar with one file of that size, made of these pieces."""
    content = bytearray(os.urandom(16))  # so that no two layers are the same
    while len(content) < kilobytes * 1000:
        content += next(source)
    return _tar({f"data-{content[:8].hex()}": bytes(content[: kilobytes * 1000])})


def pieces() -> Iterator[bytes]:
    """Beginnings of this machine's files, again and again."""
    files = sorted(one for one in CONTENTS.glob("*/*") if one.is_file() and not one.is_symlink())
    for one in itertools.cycle(files):
        with one.open("rb") as file:
            yield file.read(2_000_000)


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _json(what: object) -> bytes:
    return json.dumps(what).encode()
