"""A Source in memory, for what the real registry cannot do: fail on command, count.

It behaves like the real registry: tests/index/test_sync.py runs its tests on both.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from registryui.registry.errors import NotFound, Unreachable
from registryui.registry.source import Stored

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def encode(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def descriptor(
    media_type: str, data: bytes, algorithm: str = "sha256", **more: Any
) -> dict[str, Any]:
    digest = digest_of(data, algorithm)
    return {"mediaType": media_type, "digest": digest, "size": len(data), **more}


class FakeSource:
    def __init__(self) -> None:
        self.tags_of: dict[str, dict[str, str]] = {}
        self.manifests_of: dict[str, dict[str, Stored]] = defaultdict(dict)
        self.blobs_of: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.down: set[str] = set()  # "catalogue", a repository, or "repository:reference"
        self.calls: Counter[str] = Counter()

    # -- what a client does ------------------------------------------------------------------

    def push_image(
        self,
        repository: str,
        *tags: str,
        layers: tuple[bytes, ...] = (b"base",),
        architecture: str = "amd64",
        **more: Any,
    ) -> str:
        config = encode(
            {"os": "linux", "architecture": architecture, "created": "2026-11-01T10:00:00Z", **more}
        )
        for blob in (config, *layers):
            self.blobs_of[repository][digest_of(blob)] = blob
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "config": descriptor(CONFIG, config),
                "layers": [descriptor(LAYER, layer) for layer in layers],
            }
        )
        return self.push(repository, raw, IMAGE, *tags)

    def push_index(self, repository: str, children: list[dict[str, Any]], *tags: str) -> str:
        raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
        return self.push(repository, raw, INDEX, *tags)

    def push(self, repository: str, raw: bytes, media_type: str, *tags: str) -> str:
        digest = digest_of(raw)
        self.manifests_of[repository][digest] = Stored(digest, media_type, raw)
        self.tags_of.setdefault(repository, {}).update(dict.fromkeys(tags, digest))
        return digest

    def child(self, repository: str, digest: str, architecture: str) -> dict[str, Any]:
        stored = self.manifests_of[repository][digest]
        platform = {"os": "linux", "architecture": architecture}
        return descriptor(stored.media_type, stored.raw, platform=platform)

    # -- Source --------------------------------------------------------------------------------

    def repositories(self) -> Iterator[str]:
        self._called("catalogue")
        yield from sorted(self.tags_of)
        if "catalogue's end" in self.down:
            raise Unreachable("the registry does not answer")

    def tags(self, repository: str) -> list[str]:
        self._called(repository)
        if repository not in self.tags_of:
            raise NotFound("repository name not known to registry", code="NAME_UNKNOWN", status=404)
        return list(self.tags_of[repository])

    def resolve(self, repository: str, reference: str) -> str | None:
        self._called(f"{repository}:{reference}", "HEAD")
        stored = self._stored(repository, reference)
        return stored.digest if stored else None

    def manifest(self, repository: str, reference: str) -> Stored | None:
        self._called(f"{repository}:{reference}", "GET")
        return self._stored(repository, reference)

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        self._called(f"{repository}:{digest}", "BLOB")
        return self.blobs_of[repository].get(digest)

    def stored_as(self, repository: str, digests: Iterable[str]) -> dict[str, str]:
        """Nothing here has a digest but sha256."""
        return {}

    def _stored(self, repository: str, reference: str) -> Stored | None:
        digest = self.tags_of.get(repository, {}).get(reference, reference)
        return self.manifests_of[repository].get(digest)

    def _called(self, what: str, method: str = "LIST") -> None:
        self.calls[method] += 1
        self.calls[f"{method} {what}"] += 1
        if what in self.down:
            raise Unreachable("the registry does not answer")
