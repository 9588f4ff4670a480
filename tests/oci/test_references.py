"""What a manifest keeps alive: rather too much than too little."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from registryui.oci import media_types
from registryui.oci.digest import is_digest
from registryui.oci.manifest import parse_stored
from registryui.oci.references import References, references

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def raw(**found: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **found}).encode()


def one(digest: str, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": 1, **more}


@pytest.mark.parametrize(
    ("content", "blobs", "manifests"),
    [
        (raw(config=one(A), layers=[one(B), one(C, urls=["https://x"])]), (A, B, C), ()),
        (raw(manifests=[one(A, media_types.OCI_MANIFEST), one(B)]), (B,), (A,)),
        (raw(manifests=[{"digest": A}]), (), (A,)),
        (raw(manifests=[]), (), ()),
        (raw(manifests=None, layers=[one(A)]), (A,), ()),
        (raw(blobs=[one(A)], subject=one(B)), (A,), ()),
        (raw(layers=[one(A)], annotations={"org.opencontainers.image.base.digest": B}), (A,), ()),
        (b'{"schemaVersion": 1, "fsLayers": [{"blobSum": "%s"}]}' % A.encode(), (A,), ()),
    ],
)
def test_known_shapes_name_exactly_what_they_need(
    content: bytes, blobs: tuple[str, ...], manifests: tuple[str, ...]
) -> None:
    assert references(content) == References(blobs, manifests)


@pytest.mark.parametrize(
    "content",
    [
        b"no json, but " + A.encode() + b" and " + B.encode(),
        raw(layers=[one(A)], Layers=[one(B)]),
        raw(layers=[one(A), {"Digest": B}]),
        raw(layers=[{**one(A), "DIGEST": B}]),
        raw(layers=[one(A), "what?", B]),
        '{"manife\u017fts": [{"digest": "%s"}], "x": "%s"}'.encode() % (A.encode(), B.encode()),
        raw(layers={"digest": A}, x=B),
        b'{"layers": [{"digest": "%s"}], "layers": [{"digest": "%s"}]}' % (A.encode(), B.encode()),
        raw(strange={"deep": [A, {"x": B}]}),
        json.dumps([A, B]).encode(),
        b"[" * 100_000 + A.encode() + B.encode(),
    ],
)
def test_what_is_not_sure_keeps_every_digest_in_the_text(content: bytes) -> None:
    assert references(content) == References(others=(A, B))


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text() | some.sampled_from([A, B, C]),
    lambda inner: (
        some.lists(inner)
        | some.dictionaries(
            some.sampled_from(["config", "layers", "manifests", "digest", "mediaType", "x"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_nothing_that_our_own_parser_sees_is_missing(value: Any) -> None:
    content = json.dumps(value).encode()
    found = references(content)
    named = {*found.blobs, *found.manifests, *found.others}
    assert all(map(is_digest, named))
    try:
        parsed = parse_stored(content)
    except ValueError:
        return
    needed = [*parsed.layers, *parsed.entries, *([parsed.config] if parsed.config else [])]
    assert {descriptor.digest for descriptor in needed} <= named


@given(some.binary(max_size=200))
def test_no_bytes_raise(content: bytes) -> None:
    references(content)
