"""Manifests as real clients write them, made small."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registryui.oci import media_types as mt
from registryui.oci.digest import sha256


def descriptor(media_type: str, content: bytes = b"{}", **more: Any) -> dict[str, Any]:
    """A descriptor of `content`."""
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content), **more}


def image(
    *layers: dict[str, Any],
    config: str = mt.OCI_CONFIG,
    media_type: str = mt.OCI_MANIFEST,
    **more: Any,
) -> bytes:
    """An image manifest over `layers`; with none given, one ordinary layer."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config),
            "layers": list(layers) or [descriptor(mt.OCI_LAYER, b"layer")],
            **more,
        }
    ).encode()


def image_index(*entries: dict[str, Any], media_type: str = mt.OCI_INDEX, **more: Any) -> bytes:
    """An image index (or Docker's list) over `entries`."""
    return json.dumps(
        {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries), **more}
    ).encode()


def signed_schema1(name: str, tag: str, layers: Sequence[str]) -> tuple[bytes, bytes]:
    """A schema 1 manifest, signed as docker/libtrust does it, and the payload that was signed.

    `layers`: digests, from the base up.
    """
    history = [
        {"v1Compatibility": json.dumps(_v1(number, len(layers)))} for number in range(len(layers))
    ]
    body = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest} for digest in reversed(layers)],
        "history": history[::-1],
    }
    payload = json.dumps(body, indent=3).encode()
    cut = payload.rindex(b"\n}")
    return _sign(payload, cut), payload


def _v1(number: int, count: int) -> dict[str, Any]:
    """What schema 1 keeps of one layer: a chain of identifiers, and the command."""
    layer: dict[str, Any] = {
        "id": f"{number + 1:064x}",
        "created": f"2016-03-0{number + 1}T10:00:00Z",
        "container_config": {"Cmd": ["/bin/sh", "-c", f"make step-{number}"]},
    }
    if number:
        layer["parent"] = f"{number:064x}"
    if number == count - 1:
        layer |= {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Cmd": ["old"], "Env": ["A=b"]},
        }
    return layer


def _sign(payload: bytes, cut: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    protected = base64url(
        json.dumps(
            {
                "formatLength": cut,
                "formatTail": base64url(payload[cut:]),
                "time": "2016-03-01T10:00:00Z",
            }
        ).encode()
    )
    signed = f"{protected}.{base64url(payload)}".encode()
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    jwk = {
        "crv": "P-256",
        "kty": "EC",
        "x": base64url(numbers.x.to_bytes(32, "big")),
        "y": base64url(numbers.y.to_bytes(32, "big")),
    }
    signature = {
        "header": {"jwk": jwk, "alg": "ES256"},
        "signature": base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
        "protected": protected,
    }
    signatures = json.dumps([signature], indent=3).encode()
    return payload[:cut] + b',\n   "signatures": ' + signatures + b"\n}"


def base64url(data: bytes) -> str:
    """Without padding, as JOSE writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
