"""An empty image index that a tag points to for a moment, so that the tag alone can be deleted.

Registry 2.8 deletes by digest only, with every tag on it. The tag is set to a unique manifest,
which is then deleted: only this tag is deleted with it.
"""

import json

from .media_types import OCI_INDEX
from .untrusted import read_object

ARTIFACT_TYPE = "application/vnd.boathouse.throw-away"  # identifies one that was left over


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
