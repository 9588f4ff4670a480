"""A made store of N tags: valid for the real registry, the same for the same seed.

    python -m bench.store FOLDER TAGS [REPOSITORIES]      writes it as files

MadeStore is the same records without files, made again whenever they are read: a million tags in
constant memory (as files they would take 15 million inodes).

What is like a real store: a few bases whose layers most images share; dependencies shared by some
builds of a repository, code by none; configs of 2–4 kB with history, environment, labels; a quarter
image indexes of two or three platforms, half of them with BuildKit's attestations; several tags a
digest; manifests that lost their tag; signatures in cosign's tags, and referrers without a tag.
Sizes of repositories are skewed: one has a quarter of 40,000 tags. What is not: layers have some
hundred bytes, those of the bases up to 400 kB, because they must lie on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from registryui.oci import media_types as types
from registryui.registry import paths
from registryui.registry.errors import NotFound, RegistryError
from registryui.registry.source import Stored, StoredBlob, TagLink, Upload

LARGEST = 10_000  # tags of one repository
START = datetime(2024, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=800)
BASES = ("debian", "alpine", "ubuntu", "distroless", "python", "node", "temurin", "golang")
PLATFORMS = (("amd64", ""), ("arm64", "v8"), ("arm", "v7"))
KEPT = 2  # repositories whose records are remembered


@dataclass(slots=True)
class Records:
    """One repository."""

    tags: list[tuple[str, str, datetime]] = field(default_factory=list)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # bytes, media type
    blobs: dict[str, bytes] = field(default_factory=dict)  # configs, and layers if they are wanted
    layers: set[str] = field(default_factory=set)  # digests of the bases' layers that it uses


class MadeStore:
    """A Store (registry/source.py) of `tags` tags in so many repositories, `below` a namespace."""

    def __init__(
        self,
        tags: int,
        *,
        repositories: int = 0,
        seed: int = 7,
        with_layers: bool = False,
        below: str = "",
    ) -> None:
        self.sizes = _sizes(tags, repositories or max(1, tags // 20))
        self.seed = seed
        self.with_layers = with_layers
        self._bases = [_base(name, seed) for name in BASES]
        self._kept: dict[str, Records] = {}
        self._numbers = {f"{below}{_name(number)}": number for number in range(len(self.sizes))}

    @property
    def unfollowed(self) -> list[str]:
        return []

    @property
    def elsewhere(self) -> list[str]:
        return []

    def records(self, repository: str) -> Records:
        """All of a repository; NotFound if it is not among these."""
        if repository not in self._numbers:
            raise NotFound(f"{repository}: no such repository", code="NAME_UNKNOWN", status=404)
        if repository not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            number = self._numbers[repository]
            maker = _Maker(self._bases, number, self.seed, self.with_layers)
            self._kept[repository] = maker.make(self.sizes[number])
        return self._kept[repository]

    def number(self, repository: str) -> int:
        """Its place in `sizes`."""
        return self._numbers[repository]

    def base_layers(self) -> dict[str, bytes]:
        """The layers that repositories share."""
        return {layer.digest: layer.data for base in self._bases for layer in base.layers}

    # -- Source --------------------------------------------------------------------------------
    def repositories(self) -> Iterator[str]:
        yield from self._numbers

    def tags(self, repository: str) -> list[str]:
        return [name for name, *_rest in self.records(repository).tags]

    def resolve(self, repository: str, reference: str) -> str | None:
        stored = self.manifest(repository, reference)
        return stored.digest if stored else None

    def manifest(self, repository: str, reference: str) -> Stored | None:
        made = self.records(repository)
        digests = {name: digest for name, digest, _at in made.tags}
        digest = digests.get(reference, reference)
        if digest not in made.manifests:
            return None
        raw, media_type = made.manifests[digest]
        return Stored(digest, media_type, raw)

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        return self.records(repository).blobs.get(digest)

    # -- Store -----------------------------------------------------------------------------------
    def tag_links(self, repository: str) -> list[TagLink]:
        return [TagLink(*tag) for tag in self.records(repository).tags]

    def revisions(self, repository: str) -> list[str]:
        return list(self.records(repository).manifests)

    def stamp(self, repository: str) -> str:
        return f"{self.seed} {self.sizes[self._numbers[repository]]}"

    def stored_as(self, repository: str, digests: Iterable[str]) -> dict[str, str]:
        """All is named by sha256."""
        return {}

    def read_blobs(
        self, digests: Sequence[str], *, limit: int, repository: str = ""
    ) -> list[bytes | RegistryError | None]:
        """Of the repositories read last: a digest says nothing of where it is."""
        found: list[bytes | RegistryError | None] = []
        for digest in digests:
            for made in reversed(self._kept.values()):
                if digest in made.manifests or digest in made.blobs:
                    found.append(made.blobs.get(digest) or made.manifests[digest][0])
                    break
            else:
                found.append(None)
        return found

    def blobs(self) -> Iterator[StoredBlob]:
        for name in self._numbers:
            for digest, data in self.records(name).blobs.items():
                yield StoredBlob(digest, len(data), START)

    def uploads(self) -> Iterator[Upload]:
        return iter(())

    @property
    def problems(self) -> list[str]:
        return []


# -- how many, and what they are called ------------------------------------------------------------


def _sizes(tags: int, repositories: int) -> list[int]:
    """Tags of each repository: many have few, a few have many, none more than LARGEST."""
    repositories = min(repositories, tags)
    sizes = [1] * repositories
    rest = tags - repositories
    if tags >= 4 * LARGEST:
        sizes[0] = LARGEST
        rest -= LARGEST - 1
    weights = [(number + 2) ** -0.7 for number in range(repositories)]
    first = 1 if tags >= 4 * LARGEST and repositories > 1 else 0
    total = sum(weights[first:])
    for number in range(first, repositories):
        more = min(int(rest * weights[number] / total), LARGEST - sizes[number])
        sizes[number] += more
    short, number = tags - sum(sizes), first
    while short > 0:  # what rounding left over
        step = min(short, LARGEST - sizes[number], 1 + short // repositories)
        sizes[number] += step
        short -= step
        number = first + (number + 1 - first) % (repositories - first)
    return sizes


_TEAMS = ("payments", "search", "mobile", "data", "platform", "shop", "web", "ops", "ml", "edge")
_THINGS = ("api", "worker", "gateway", "ui", "batch", "proxy", "auth", "mailer", "report", "sync")


def _name(number: int) -> str:
    """`payments/api-0`, some of one part, some of three."""
    team, thing = _TEAMS[number % 10], _THINGS[number // 10 % 10]
    if number % 29 == 5:
        return f"{thing}-{number}"
    if number % 17 == 3:
        return f"{team}/{thing}/part-{number}"
    return f"{team}/{thing}-{number}"


# -- bases -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layer:
    digest: str
    size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Base:
    name: str
    layers: tuple[_Layer, ...]
    history: tuple[str, ...]  # JSON of each step
    env: tuple[str, ...]


def _layer(text: str, size: int) -> _Layer:
    """Made bytes of about `size`, other ones for each text."""
    seed = hashlib.sha256(text.encode()).digest()
    data = (seed * (size // 32 + 1))[:size]
    return _Layer(_digest(data), size, data)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _base(name: str, seed: int) -> _Base:
    chance = random.Random(f"{seed} {name}")  # noqa: S311  (the same for the same seed)
    layers = tuple(
        _layer(f"{seed} {name} {number}", int(1000 * 2 ** chance.uniform(2, 8.6)))
        for number in range(chance.randint(2, 5))
    )
    history = []
    for number, layer in enumerate(layers):
        command = (
            f"RUN apt-get install -y --no-install-recommends {name}-part-{number} ca-certificates"
        )
        history.append(_step(command, number, is_empty=False))
        history.append(_step(f"ENV {name.upper()}_{number}={layer.digest[7:23]}", number))
    env = (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"{name.upper()}_VERSION={chance.randint(1, 30)}.{chance.randint(0, 20)}",
        "LANG=C.UTF-8",
    )
    return _Base(name, layers, tuple(history), env)


def _step(command: str, day: int, *, is_empty: bool = True) -> str:
    step: dict[str, Any] = {
        "created": f"2024-02-{day % 28 + 1:02}T10:11:12.131415Z",
        "created_by": command,
        "comment": "buildkit.dockerfile.v0",
    }
    return json.dumps(step | ({"empty_layer": True} if is_empty else {}))


def _own_step(created: str, command: str, *, is_empty: bool = False) -> str:
    empty = ',"empty_layer":true' if is_empty else ""
    return f'{{"created":"{created}","created_by":{json.dumps(command)}{empty}}}'


# -- one repository --------------------------------------------------------------------------------


class _Maker:
    """Makes the builds of one repository, one after the other."""

    def __init__(self, bases: Sequence[_Base], number: int, seed: int, with_layers: bool) -> None:
        self.name = _name(number)
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311  (the same for the same seed)
        self.base = self.chance.choice(bases)
        self.key = f"{seed} {number}"
        self.with_layers = with_layers
        self.is_docker = self.chance.random() < 0.4
        self.made = Records()
        self.made.layers = {layer.digest for layer in self.base.layers}
        self.at = START + timedelta(hours=self.chance.randint(0, 5000))
        self.dependencies: dict[int, _Layer] = {}

    def make(self, tags: int) -> Records:
        build = 0
        is_chart = self.chance.random() < 0.04
        step = int(SPAN / timedelta(seconds=1)) // (2 * tags + 2)
        while len(self.made.tags) < tags:
            self.at += timedelta(seconds=self.chance.randint(step // 4 + 1, step))
            if is_chart:
                digest = self._chart(build)
            elif self.chance.random() < 0.25:
                digest = self._image_index(build)
            else:
                digest = self._image(build, "amd64", "")
            self._tag(build, digest, tags)
            build += 1
        return self.made

    def _tag(self, build: int, digest: str, tags: int) -> None:
        chance = self.chance.random()
        if build and chance < 0.04:
            if chance < 0.01:
                self._referrer(digest)
            return  # pushed over: nothing names it any more
        names = [f"{build // 200 + 1}.{build // 20 % 10}.{build % 20}"]
        if chance > 0.75:
            names.append(f"git-{digest[7:14]}")
        if 0.70 < chance < 0.72:
            names.append(f"sha256-{self._signature(digest)}.sig")
        if len(self.made.tags) + len(names) >= tags:
            names.append("latest")
        for name in names[: tags - len(self.made.tags)]:
            target = digest if not name.startswith("sha256-") else self.signature
            self.made.tags.append((name, target, self.at))

    # -- manifests ---------------------------------------------------------------------------------
    def _image(self, build: int, architecture: str, variant: str) -> str:
        code = _layer(
            f"{self.key} {build} {architecture}",
            120 + int(self.chance.paretovariate(1.2) * 60) % 3000,
        )
        number = build // 12
        if number not in self.dependencies:
            self.dependencies = {number: _layer(f"{self.key} dependencies {number}", 900)}
        layers = [*self.base.layers, self.dependencies[number], code]
        if self.with_layers:
            self.made.blobs |= {layer.digest: layer.data for layer in layers[-2:]}
        config = self._config(build, architecture, variant, layers)
        self.made.blobs[_digest(config)] = config
        kinds = (
            (types.DOCKER_CONFIG, types.DOCKER_LAYER)
            if self.is_docker
            else (types.OCI_CONFIG, types.OCI_LAYER)
        )
        return self._manifest(
            types.DOCKER_MANIFEST if self.is_docker else types.OCI_MANIFEST,
            _descriptor(kinds[0], config),
            [(kinds[1], layer.digest, layer.size) for layer in layers],
        )

    def _config(
        self, build: int, architecture: str, variant: str, layers: Sequence[_Layer]
    ) -> bytes:
        created = self.at.isoformat()
        revision = hashlib.sha256(f"{self.key} {build}".encode()).hexdigest()[:40]
        start = json.dumps(["/srv/bin/start", "--listen"])
        own = [
            _own_step(created, "WORKDIR /srv", is_empty=True),
            _own_step(created, "COPY requirements.lock /srv/ # buildkit"),
            _own_step(created, f"RUN /bin/sh -c make install REVISION={revision} # buildkit"),
            _own_step(created, "USER 10001", is_empty=True),
            _own_step(created, f"CMD {start}", is_empty=True),
        ]
        run = {
            "User": "10001",
            "ExposedPorts": {"8080/tcp": {}},
            "Env": [*self.base.env, f"APP={self.name}", "LOG_LEVEL=info", f"REVISION={revision}"],
            "Entrypoint": ["/srv/bin/start"],
            "Cmd": ["--listen", "0.0.0.0:8080"],
            "WorkingDir": "/srv",
            "Labels": {
                "org.opencontainers.image.title": self.name,
                "org.opencontainers.image.revision": revision,
                "org.opencontainers.image.version": f"1.{build}",
                "org.opencontainers.image.source": f"https://git.example/{self.name}",
                "org.opencontainers.image.created": created,
                "team": self.name.partition("/")[0],
                "base": self.base.name,
            },
        }
        history = ",".join((*self.base.history, *own))
        diffs = ",".join(f'"{layer.digest}"' for layer in layers)
        platform = f'"architecture":"{architecture}"' + (
            f',"variant":"{variant}"' if variant else ""
        )
        return (
            f'{{{platform},"os":"linux","created":"{created}","author":"ci","config":{json.dumps(run)},'
            f'"history":[{history}],"rootfs":{{"type":"layers","diff_ids":[{diffs}]}}}}'
        ).encode()

    def _image_index(self, build: int) -> str:
        entries = []
        for architecture, variant in PLATFORMS[: self.chance.randint(2, 3)]:
            digest = self._image(build, architecture, variant)
            platform = {"os": "linux", "architecture": architecture}
            entries.append(
                self._entry(digest, platform | ({"variant": variant} if variant else {}))
            )
        if self.chance.random() < 0.5:
            for entry in list(entries):
                digest = self._attestation(entry["digest"])
                unknown = {"os": "unknown", "architecture": "unknown"}
                entries.append(
                    self._entry(digest, unknown)
                    | {
                        "annotations": {
                            "vnd.docker.reference.type": "attestation-manifest",
                            "vnd.docker.reference.digest": entry["digest"],
                        }
                    }
                )
        media_type = types.DOCKER_LIST if self.is_docker else types.OCI_INDEX
        return self._add(
            {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}, media_type
        )

    def _entry(self, digest: str, platform: dict[str, str]) -> dict[str, Any]:
        raw, media_type = self.made.manifests[digest]
        return {"mediaType": media_type, "digest": digest, "size": len(raw), "platform": platform}

    def _attestation(self, subject: str) -> str:
        data = json.dumps(
            {"_type": "https://in-toto.io/Statement/v0.1", "subject": subject}
        ).encode()
        config = json.dumps(
            {
                "architecture": "unknown",
                "os": "unknown",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(data)]},
            }
        ).encode()
        self._keep(config, data)
        return self._manifest(
            types.OCI_MANIFEST,
            _descriptor(types.OCI_CONFIG, config),
            [(types.IN_TOTO, _digest(data), len(data))],
        )

    def _chart(self, build: int) -> str:
        config = json.dumps({"name": self.name, "version": f"1.{build}.0"}).encode()
        chart = f"{self.key} chart {build}".encode() * 9
        self._keep(config, chart)
        return self._manifest(
            types.OCI_MANIFEST,
            _descriptor(types.HELM_CONFIG, config),
            [(types.HELM_CHART, _digest(chart), len(chart))],
        )

    def _signature(self, digest: str) -> str:
        """Makes a signature of it, in `self.signature`; the digest as its tag writes it."""
        payload = json.dumps({"critical": {"image": {"docker-manifest-digest": digest}}}).encode()
        config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [_digest(payload)]}}).encode()
        self._keep(config, payload)
        self.signature = self._manifest(
            types.OCI_MANIFEST,
            _descriptor(types.OCI_CONFIG, config),
            [(types.COSIGN_SIGNATURE, _digest(payload), len(payload))],
        )
        return digest.partition(":")[2]

    def _referrer(self, digest: str) -> None:
        raw, media_type = self.made.manifests[digest]
        bill = json.dumps({"spdxVersion": "SPDX-2.3", "name": digest}).encode()
        self._keep(b"{}", bill)
        found = {
            "schemaVersion": 2,
            "mediaType": types.OCI_MANIFEST,
            "artifactType": types.SPDX,
            "config": _descriptor(types.OCI_EMPTY, b"{}"),
            "layers": [_descriptor(types.SPDX, bill)],
            "subject": {"mediaType": media_type, "digest": digest, "size": len(raw)},
        }
        self._add(found, types.OCI_MANIFEST)

    def _keep(self, config: bytes, layer: bytes) -> None:
        self.made.blobs[_digest(config)] = config
        if self.with_layers:
            self.made.blobs[_digest(layer)] = layer

    def _manifest(
        self, media_type: str, config: dict[str, Any], layers: Sequence[tuple[str, str, int]]
    ) -> str:
        found = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config,
            "layers": [
                {"mediaType": kind, "digest": digest, "size": size} for kind, digest, size in layers
            ],
        }
        return self._add(found, media_type)

    def _add(self, found: dict[str, Any], media_type: str) -> str:
        raw = json.dumps(found, separators=(",", ":")).encode()
        digest = _digest(raw)
        self.made.manifests[digest] = (raw, media_type)
        return digest


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


# -- as files --------------------------------------------------------------------------------------


def write(folder: Path, tags: int, *, repositories: int = 0, seed: int = 7) -> MadeStore:
    """Writes the store below `folder`, a registry's `rootdirectory`; returns its records."""
    store = MadeStore(tags, repositories=repositories, seed=seed, with_layers=True)
    written: set[str] = set()
    for digest, data in store.base_layers().items():
        put_blob(folder, digest, data, written)
    for name in store.repositories():
        made = store.records(name)
        for digest, (raw, _type) in made.manifests.items():
            put_blob(folder, digest, raw, written)
            put(folder, paths.revision_link(name, digest), digest.encode())
        for digest, data in made.blobs.items():
            put_blob(folder, digest, data, written)
        for digest in (*made.blobs, *made.layers):
            put(folder, paths.layer_link(name, digest), digest.encode())
        for tag, digest, at in made.tags:
            link = paths.tag_link(name, tag)
            put(folder, link, digest.encode())
            os.utime(folder / link, (at.timestamp(), at.timestamp()))
            put(folder, tag_index(name, tag, digest), digest.encode())
    return store


def tag_index(repository: str, tag: str, digest: str) -> str:
    algorithm, _colon, hexadecimal = digest.partition(":")
    return f"{paths.tags(repository)}/{tag}/index/{algorithm}/{hexadecimal}/link"


def put_blob(folder: Path, digest: str, data: bytes, written: set[str]) -> None:
    if digest not in written:
        written.add(digest)
        put(folder, paths.blob_data(digest), data)


def put(folder: Path, path: str, data: bytes) -> None:
    place = f"{folder}/{path}"
    os.makedirs(place.rpartition("/")[0], exist_ok=True)  # noqa: PTH103  (a tenth of pathlib's time)
    with open(place, "wb") as file:  # noqa: PTH123
        file.write(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), repositories=int((*sys.argv, "0", "0")[3]))
