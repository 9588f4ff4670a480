"""An empty image index that takes a tag's place for a moment, so that the tag can be deleted alone.

Registry 2.8 deletes by digest only, with every tag on it. A manifest that nothing else has is set
on the tag, then that manifest is deleted: the tag goes with it, and its siblings stay.
"""

import json

from .media_types import OCI_INDEX
from .untrusted import read_object

ARTIFACT_TYPE = "application/vnd.boathouse.throw-away"  # by which one that was left over is known


def make(nonce: str) -> bytes:
    """Its bytes: another digest for each `nonce`."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "artifactType": ARTIFACT_TYPE,
            "manifests": [],
            "annotations": {"boathouse.throw-away": nonce},
        }
    ).encode()


def is_one(raw: bytes) -> bool:
    """Whether these bytes are a throw-away of ours."""
    try:
        return read_object(raw).get("artifactType") == ARTIFACT_TYPE
    except ValueError:
        return False
