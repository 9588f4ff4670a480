"""The registry's API in plain words, for tests of what the real registry does.

Not the product's own client: that one is on trial here.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .fake_source import CONFIG, IMAGE, INDEX, LAYER, descriptor, digest_of, encode
from .product import Answer, exchange
from .waiting import LONGEST

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ACCEPT = ", ".join((IMAGE, INDEX, SCHEMA2, LIST))


@dataclass(frozen=True, slots=True)
class Registry:
    """A real registry on loopback, or at unix:/PATH of a socket; its store is on this disk."""

    url: str
    store: Path
    headers: Mapping[str, str] = field(default_factory=dict)  # of every request

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; nothing is retried, nothing is followed."""
        return exchange(self._connection(), method, path, body, {**self.headers, **(headers or {})})

    def _connection(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            address.hostname or "localhost", address.port, timeout=LONGEST
        )
        if address.scheme == "unix":
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(LONGEST)
            connection.sock.connect(address.path)
        return connection

    # -- reading -------------------------------------------------------------------------------

    def catalogue(self) -> list[str]:
        """The repositories, as listed."""
        names: list[str] = self.ask("GET", "/v2/_catalog?n=1000").json()["repositories"]
        return names

    def tags(self, repository: str) -> Answer:
        """The answer to tags/list."""
        return self.ask("GET", f"/v2/{repository}/tags/list")

    def get(self, repository: str, reference: str, *, method: str = "GET") -> Answer:
        """A manifest of any type."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self.ask(method, path, headers={"Accept": ACCEPT})

    # -- writing -------------------------------------------------------------------------------

    def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        """Uploads; returns the digest."""
        digest = digest_of(data, algorithm)
        begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert begun.status == 202, (begun.status, begun.body)
        place = begun.headers["location"]
        parts = urlsplit(place)
        done = self.ask(
            "PUT",
            f"{parts.path}?{parts.query}&digest={digest}",
            data,
            {"Content-Type": "application/octet-stream"},
        )
        assert done.status == 201, (done.status, done.body)
        return digest

    def put(self, repository: str, reference: str, raw: bytes, media_type: str) -> Answer:
        """Pushes a manifest; the answer may be a refusal."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self.ask("PUT", path, raw, {"Content-Type": media_type})

    def push(self, repository: str, raw: bytes, media_type: str, *tags: str) -> str:
        """Pushes a manifest under tags, or by its digest alone; returns the digest."""
        for reference in tags or (digest_of(raw),):
            done = self.put(repository, reference, raw, media_type)
            assert done.status == 201, done
        return digest_of(raw)

    def push_image(
        self,
        repository: str,
        *tags: str,
        layers: Sequence[bytes] = (b"base",),
        architecture: str = "amd64",
        media_types: tuple[str, str, str] = (IMAGE, CONFIG, LAYER),
        algorithm: str = "sha256",
        labels: Mapping[str, str] | None = None,
        **more: Any,
    ) -> str:
        """An image with these layers, which it names by `algorithm`; `more` goes into its
        manifest."""
        of_manifest, of_config, of_layer = media_types
        made_by = [{"created_by": f"make {number}"} for number, _ in enumerate(layers)]
        config = encode(
            {
                "os": "linux",
                "architecture": architecture,
                "history": made_by,
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
                **({"config": {"Labels": dict(labels)}} if labels else {}),
            }
        )
        for blob in (config, *layers):
            self.push_blob(repository, blob, algorithm)
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": of_manifest,
                "config": descriptor(of_config, config, algorithm),
                "layers": [descriptor(of_layer, layer, algorithm) for layer in layers],
                **more,
            }
        )
        return self.push(repository, raw, of_manifest, *tags)

    def push_index(
        self, repository: str, children: Sequence[dict[str, Any]], *tags: str, **more: Any
    ) -> str:
        """An image index; `more` goes into it."""
        raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children), **more})
        return self.push(repository, raw, str(more.get("mediaType", INDEX)), *tags)

    def child(self, repository: str, digest: str, **platform: str) -> dict[str, Any]:
        """The descriptor of a manifest that was pushed, for an image index."""
        answer = self.get(repository, digest)
        media_type = answer.headers["content-type"]
        more = {"platform": {"os": "linux", **platform}} if platform else {}
        return descriptor(media_type, answer.body, **more)

    def delete(self, repository: str, reference: str) -> Answer:
        """DELETE of a manifest."""
        return self.ask("DELETE", f"/v2/{repository}/manifests/{reference}")

    # -- what no API does ------------------------------------------------------------------------

    def revision(self, repository: str, digest: str) -> Path:
        """The folder that says: this repository has this manifest."""
        hexadecimal = digest.removeprefix("sha256:")
        return self._folder(repository) / "_manifests" / "revisions" / "sha256" / hexadecimal

    def blob(self, digest: str) -> Path:
        """The file with a blob's bytes."""
        hexadecimal = digest.removeprefix("sha256:")
        folder = self.store / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal
        return folder / "data"

    def put_into_store(self, repository: str, tag: str, raw: bytes) -> str:
        """A tagged manifest as an older registry left it on the disk; returns its digest."""
        digest = digest_of(raw)
        place = self._folder(repository) / "_manifests" / "tags" / tag
        links = [self.revision(repository, digest), place / "current"]
        for link in [*links, place / "index" / "sha256" / digest.removeprefix("sha256:")]:
            link.mkdir(parents=True)
            (link / "link").write_text(digest)
        self.blob(digest).parent.mkdir(parents=True)
        self.blob(digest).write_bytes(raw)
        return digest

    def _folder(self, repository: str) -> Path:
        return self.store / "docker/registry/v2/repositories" / repository


def what_is_missing(registry: Registry, repository: str, reference: str) -> str:
    """ "" if all of it can be pulled, every byte as its digest says; else what cannot."""
    answer = registry.get(repository, reference)
    if answer.status != 200:
        return f"manifest {reference}: {answer.status}"
    told = answer.json()
    for child in told.get("manifests", ()):
        if missing := what_is_missing(registry, repository, child["digest"]):
            return missing
    for blob in [*filter(None, [told.get("config")]), *told.get("layers", ())]:
        got = registry.ask("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        algorithm = blob["digest"].partition(":")[0]
        if got.status != 200 or digest_of(got.body, algorithm) != blob["digest"]:
            return f"blob {blob['digest']}: {got.status}"
    return ""


def pretty(value: Any) -> bytes:
    """JSON as people write it: other bytes, so another digest, than `encode`."""
    return json.dumps(value, indent=3).encode()
