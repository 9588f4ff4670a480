"""A filled store of many shapes, adopted in place, against reading and parsing the same files.

    python -m bench.adopt FOLDER        writes the store alone

As other programs fill one: 40,000 tags of 39,026 images, each with a config of its own, in 2,000
repositories of about the same size. Images of a repository are of one kind (Dockerfiles, Jib,
buildpacks, OpenShift, static binaries), so they differ between repositories in labels, environment,
arguments, history and in how many layers they have and share.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from registryui.oci import media_types as types
from registryui.registry import paths

from . import index_work
from .instance import databases, folder
from .measure import Row
from .million import plain_read
from .store import START, put, put_blob, tag_index

TAGS, IMAGES, REPOSITORIES = 40_000, 39_026, 2_000
ROUNDS = 5
AIM = 3.5


def measure(*, is_postgresql: bool = False) -> Iterator[Row]:
    with databases(is_postgresql=is_postgresql), folder() as place:
        files = place / "store"
        write(files)
        plain_read(files)  # warm
        plain, builds = [], []
        for number in range(ROUNDS):  # in turns: what slows the machine, slows both
            plain.append(plain_read(files))
            builds.append(index_work.work(place / f"data{number}", "build", str(files)))
        yield from _rows(plain, builds, "PostgreSQL: " if is_postgresql else "")


def _rows(plain: Sequence[Any], builds: Sequence[dict[str, Any]], head: str) -> Iterator[Row]:
    pairs = list(zip(plain, builds, strict=True))
    for what, unit in (("seconds", "s"), ("processor", "s of processor")):
        ratios = sorted(done[what] / base[what] for base, done in pairs)
        ours = sorted(done[what] for done in builds)[len(builds) // 2]
        base = sorted(one[what] for one in plain)[len(plain) // 2]
        last = builds[-1]
        yield Row(
            f"{head}adopt {TAGS} tags in place, {what}, against reading and parsing the same files",
            f"{ours:.1f} {unit}, {ratios[len(ratios) // 2]:.1f}× of {base:.1f} s",
            (f"aim: ≤ {AIM}×; " if what == "seconds" else "")
            + f"rounds {', '.join(f'{one:.1f}' for one in ratios)}; {last['manifests']} manifests,"
            f" {last['repositories']} repositories; memory {last['mib']:.0f} MiB,"
            f" each reading process {last['reader_mib']:.0f} MiB",
            {what: ours, "ratio": ratios[len(ratios) // 2]},
        )


# -- the store -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """How images of a repository look: (least, most) of each."""

    name: str
    layers: tuple[int, int]
    shared: float  # of its layers: those that all images of the repository have
    env: tuple[int, int]
    labels: tuple[int, int]
    own_labels: int  # of them, other ones in each image
    history: tuple[int, int]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...] = ()
    long_labels: int = 0  # of some kB of JSON


_KINDS = (
    _Kind(
        "dockerfile", (3, 9), 0.6, (4, 14), (6, 14), 4, (6, 20),
        ("/docker-entrypoint.sh",), ("server", "--listen", "0.0.0.0:8080", "--workers=4"),
    ),
    _Kind(
        "jib", (6, 12), 0.8, (5, 8), (1, 3), 0, (7, 13),
        ("java", "-XX:MaxRAMPercentage=75", "-cp", "/app/resources:/app/classes:/app/libs/*",
         "com.example.Main"),
    ),
    _Kind(
        "buildpack", (14, 24), 0.7, (5, 9), (5, 8), 2, (14, 24), ("/cnb/process/web",),
        long_labels=2,
    ),
    _Kind(
        "openshift", (2, 5), 0.5, (16, 30), (22, 36), 6, (2, 6),
        ("container-entrypoint",), ("/usr/libexec/s2i/run",),
    ),
    _Kind("static", (1, 2), 0.5, (1, 2), (0, 4), 2, (1, 3), ("/bin/app",)),
)  # fmt: skip
_WEIGHTS = (45, 15, 8, 20, 12)
_OWNERS = ("io.k8s", "com.redhat", "org.label-schema", "com.acme")
_WORDS = (
    *("api", "auth", "billing", "cart", "catalog", "edge", "events", "feed", "gate", "geo", "hub"),
    *("index", "jobs", "ledger", "mail", "media", "notify", "orders", "portal", "queue", "rates"),
)


def write(place: Path, *, tags: int = TAGS, images: int = IMAGES, repositories: int = REPOSITORIES,
          seed: int = 11) -> None:  # fmt: skip
    """Writes the store below `place`, a registry's `rootdirectory`; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  (the same for the same seed)
    sizes = _split(images, repositories, chance)
    second = _split(tags - images, repositories, chance, least=0)
    written: set[str] = set()
    for number, (count, more) in enumerate(zip(sizes, second, strict=True)):
        _Repository(place, number, random.Random(f"{seed} {number}"), written).write(count, more)  # noqa: S311


def _split(total: int, parts: int, chance: random.Random, *, least: int = 1) -> list[int]:
    """`total` in so many random parts of about the same size."""
    found = [least] * parts
    for _one in range(total - least * parts):
        found[chance.randrange(parts)] += 1
    return found


class _Repository:
    """Makes the images of one repository and writes them, one after the other."""

    def __init__(self, place: Path, number: int, chance: random.Random, written: set[str]) -> None:
        self.place = place
        self.written = written
        self.chance = chance
        self.kind = chance.choices(_KINDS, _WEIGHTS)[0]
        word, other = chance.choice(_WORDS), chance.choice(_WORDS)
        self.name = "/".join(("acme", word, f"{other}-{number}")[chance.randrange(2) :])
        kind = self.kind
        self.env = [
            f"{self._word().upper()}_{place}={self._hex(chance.choice((3, 8, 20)))}"
            for place in range(chance.randint(*kind.env))
        ]
        self.labels = {
            f"{chance.choice(_OWNERS)}.{self._word()}-{place}": f"{self._word()} {self._hex(9)}"
            for place in range(max(0, chance.randint(*kind.labels) - kind.own_labels))
        }
        for place in range(kind.long_labels):
            parts = [{"key": self._word(), "sha": self._hex(64), "version": f"1.{one}"}
                     for one in range(chance.randint(8, 30))]  # fmt: skip
            self.labels[f"io.buildpacks.part-{place}"] = json.dumps(parts)
        self.layer_count = chance.randint(*kind.layers)
        self.shared = [self._layer() for _one in range(int(self.layer_count * kind.shared))]
        self.history = [
            self._step(chance.random() < 0.4) for _one in range(chance.randint(*kind.history))
        ]
        self.is_docker = chance.random() < 0.5
        self.at = START + timedelta(minutes=chance.randint(0, 300_000))

    def write(self, images: int, second_names: int) -> None:
        """So many images with a tag each, some with more."""
        digests = []
        for number in range(images):
            self.at += timedelta(minutes=self.chance.randint(20, 2_000))
            digests.append(self._image(number))
            self._tag(f"{number // 40 + 1}.{number // 8 % 5}.{number % 8}", digests[-1])
        for number in range(second_names):
            self._tag(f"stable-{number}", self.chance.choice(digests))

    def _tag(self, name: str, digest: str) -> None:
        link = paths.tag_link(self.name, name)
        put(self.place, link, digest.encode())
        os.utime(self.place / link, (self.at.timestamp(), self.at.timestamp()))
        put(self.place, tag_index(self.name, name, digest), digest.encode())

    def _image(self, number: int) -> str:
        own = [self._layer() for _one in range(self.layer_count - len(self.shared))]
        layers = [*self.shared, *own]
        config = json.dumps(self._config(number, layers)).encode()
        kinds = (
            (types.DOCKER_MANIFEST, types.DOCKER_CONFIG, types.DOCKER_LAYER)
            if self.is_docker
            else (types.OCI_MANIFEST, types.OCI_CONFIG, types.OCI_LAYER)
        )
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": kinds[0],
                "config": _descriptor(kinds[1], config),
                "layers": [_descriptor(kinds[2], layer) for layer in layers],
            }
        ).encode()
        digest = self._blob(raw)
        put(self.place, paths.revision_link(self.name, digest), digest.encode())
        for blob in (config, *layers):
            found = self._blob(blob)
            put(self.place, paths.layer_link(self.name, found), found.encode())
        return digest

    def _config(self, number: int, layers: Sequence[bytes]) -> dict[str, Any]:
        kind, created = self.kind, self.at.isoformat().replace("+00:00", "Z")
        own = {
            f"org.opencontainers.image.{name}": value
            for name, value in (
                ("revision", self._hex(40)),
                ("created", created),
                ("version", f"1.{number}"),
                ("ref.name", f"build-{number}"),
                ("url", f"https://ci.example/{self.name}/{number}"),
                ("title", f"{self.name} {number}"),
            )[: kind.own_labels]
        }
        return {
            "architecture": "amd64",
            "config": {
                "User": "1001",
                "ExposedPorts": {"8080/tcp": {}},
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", *self.env],
                "Entrypoint": list(kind.entrypoint),
                "Cmd": list(kind.cmd) or None,
                "WorkingDir": "/app",
                "Labels": self.labels | own,
            },
            "created": created,
            "history": [{"created": created} | step for step in self.history],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [_digest(b"u" + layer) for layer in layers]},
        }

    def _step(self, is_empty: bool) -> dict[str, Any]:
        command = (
            f"ENV {self._word().upper()}={self._hex(12)}"
            if is_empty
            else f"RUN /bin/sh -c apt-get install {self._word()} && make {self._word()} # buildkit"
        )
        step: dict[str, Any] = {"created_by": command, "comment": "buildkit.dockerfile.v0"}
        return step | ({"empty_layer": True} if is_empty else {})

    def _layer(self) -> bytes:
        """Some of them lie in many repositories."""
        if self.chance.random() < 0.25:
            return b"layer of many repositories %d" % int(self.chance.paretovariate(0.7))
        return self.chance.randbytes(64)

    def _blob(self, data: bytes) -> str:
        digest = _digest(data)
        put_blob(self.place, digest, data, self.written)
        return digest

    def _word(self) -> str:
        return self.chance.choice(_WORDS)

    def _hex(self, length: int) -> str:
        return f"{self.chance.getrandbits(length * 4):0{length}x}"


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
