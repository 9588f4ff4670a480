"""Made images, pushed with our own client."""

from __future__ import annotations

import json

from registryui.registry.client import RegistryClient
from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor


def push(client: RegistryClient, number: int, *, repository: str, tags: tuple[str, ...]) -> None:
    """One image of three layers, two of them shared by all numbers."""
    layers = [b"base", b"runtime", f"layer {number}".encode()]
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {"Env": [f"BUILD={number}"]}}
    ).encode()
    for blob in (config, *layers):
        client.upload_blob(repository, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer) for layer in layers],
    }
    for tag in tags:
        client.put_manifest(repository, tag, json.dumps(manifest).encode(), IMAGE)
