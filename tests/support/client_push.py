"""A push through the product's own client."""

import json

from registryui.oci import media_types
from registryui.oci.digest import sha256


def push(client, repository, tag, *, media_type=media_types.OCI_MANIFEST, nonce=""):
    """A small image; returns the bytes of its manifest and the digests of config and layer."""
    oci = media_type == media_types.OCI_MANIFEST
    config = json.dumps({"os": "linux", "architecture": "amd64", "author": nonce}).encode()
    layer = b"layer " + nonce.encode()
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": media_types.OCI_CONFIG if oci else media_types.DOCKER_CONFIG,
                "digest": client.upload_blob(repository, config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": media_types.OCI_LAYER if oci else media_types.DOCKER_LAYER,
                    "digest": client.upload_blob(repository, layer),
                    "size": len(layer),
                }
            ],
        }
    ).encode()
    assert client.put_manifest(repository, tag, raw, media_type) == sha256(raw)
    return raw, sha256(config), sha256(layer)
