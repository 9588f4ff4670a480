"""Layers and configs of v1 images: any bytes and any JSON of strangers."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from registryui.imports.v1 import convert
from registryui.imports.v1.convert import Conversion, Layer
from registryui.oci.config import parse_config
from registryui.oci.digest import sha256
from registryui.oci.manifest import parse_manifest
from registryui.refused import Refused
from tests.support.v1_stores import EMPTY_TAR, checksum_of, gz, tar, xz

PACKED = {"plain": bytes, "gz": gz, "xz": xz}


def converted(layer: bytes, *, json: bytes = b"{}", checksum: str = "") -> tuple[str, bytes]:
    """diff_id and blob of a layer."""
    known = frozenset([f"sha256:{checksum}"] if checksum else [])
    conversion = Conversion(io.BytesIO(layer), json, known)
    assert not conversion.is_empty()
    blob = b"".join(conversion.compressed())
    return conversion.diff_id, blob


@given(some.binary(max_size=200_000), some.sampled_from([*PACKED]))
def test_a_layer_becomes_the_same_blob_however_it_was_packed(content: bytes, packed: str) -> None:
    plain = tar({"a": content})
    diff_id, blob = converted(PACKED[packed](plain))
    assert diff_id == sha256(plain)
    assert gzip.decompress(blob) == plain
    assert blob[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\x03"  # no name, the time 0
    assert blob == converted(plain)[1]


@given(some.lists(some.integers(1, 3000), max_size=30))
def test_the_blob_does_not_depend_on_the_pieces(sizes: list[int]) -> None:
    """In which a disk or a decompressor gives them."""
    plain = tar({f"{size}": b"%d" % size * size for size in sizes} or {"a": b"1"})

    class Bits(io.BytesIO):
        left = iter(sizes)

        def read(self, size: int | None = -1) -> bytes:
            return super().read(next(self.left, size))

    conversion = Conversion(Bits(plain), b"", frozenset())
    assert not conversion.is_empty()
    assert b"".join(conversion.compressed()) == converted(plain)[1]


def test_content_larger_than_a_piece_and_several_members() -> None:
    plain = tar({"a": bytes(range(256)) * 20_000})
    half = len(plain) // 2
    members = gz(plain[:half]) + gz(plain[half:]) + bytes(512)
    streams = lzma.compress(plain[:half]) + lzma.compress(plain[half:]) + bytes(8)
    assert converted(members) == converted(streams) == converted(plain)


@pytest.mark.parametrize("packed", [bytes, gz, xz])
def test_a_tar_of_zeros_is_an_empty_layer(packed: Any) -> None:
    for zeros in (b"" if packed is not bytes else EMPTY_TAR, EMPTY_TAR, bytes(10240)):
        layer = packed(zeros)
        checksum = frozenset([f"sha256:{checksum_of(b'{}', layer)}"])
        assert Conversion(io.BytesIO(layer), b"{}", checksum).is_empty()
        with pytest.raises(Refused, match="checksum is wrong"):
            Conversion(io.BytesIO(layer), b"{} ", checksum).is_empty()
    with pytest.raises(Refused, match="begins with zeros"):
        Conversion(io.BytesIO(packed(bytes(3_000_000))), b"", frozenset()).is_empty()


def test_a_wrong_checksum_is_found_before_the_last_piece() -> None:
    layer = gz(tar({"a": b"1" * 3_000_000}))
    good = checksum_of(b"{}", layer)
    assert gzip.decompress(converted(layer, checksum=good)[1]) == gzip.decompress(layer)
    conversion = Conversion(io.BytesIO(layer), b'{"a":1}', frozenset([f"sha256:{good}"]))
    assert not conversion.is_empty()
    sent: list[bytes] = []
    with pytest.raises(Refused, match="checksum is wrong"):
        sent.extend(conversion.compressed())
    with pytest.raises(EOFError):
        gzip.decompress(b"".join(sent))


@given(some.binary(max_size=2000), some.sampled_from([b"", b"\x1f\x8b\x08\0", b"\xfd7zXZ\0"]))
def test_any_bytes_are_a_tar_or_refused(content: bytes, magic: bytes) -> None:
    _read(magic + content)


@given(some.data())
def test_a_damaged_layer_is_refused_or_read(data: some.DataObject) -> None:
    layer = bytearray(data.draw(some.sampled_from([gz, xz]))(tar({"a": b"content" * 50})))
    for at in data.draw(some.lists(some.integers(0, len(layer) - 1), min_size=1, max_size=3)):
        layer[at] = data.draw(some.integers(0, 255))
    _read(bytes(layer))


@given(some.integers(1, 400), some.sampled_from([gz, xz]))
def test_a_layer_that_was_cut_off_is_refused(cut: int, packed: Any) -> None:
    layer = packed(tar({"a": b"".join(b"%d" % n for n in range(2000))}))
    with pytest.raises(Refused):
        b"".join(convert.unpacked(iter([layer[:-cut]])))


def _read(layer: bytes) -> None:
    for read in (_check, _all):
        with suppress(Refused):
            read(layer)


def _check(layer: bytes) -> None:
    convert.check_tar(io.BytesIO(layer))


def _all(layer: bytes) -> None:
    for piece in convert.unpacked(iter([layer])):
        assert len(piece) <= convert.PIECE


def test_a_tar_without_a_checksum_is_read_to_its_end() -> None:
    plain = tar({"a/" + "long" * 60: b"1" * 5000, "b": None, "c": b"2"})
    for packed in PACKED.values():
        _check(packed(plain))
    for cut in (plain[:700], plain[:3000], b"#!/bin/sh\n" * 100):
        with pytest.raises(Refused, match="no complete tar"):
            _check(cut)


def test_a_bomb_and_a_wide_dictionary_take_no_memory() -> None:
    bomb = zlib.compress(bytes(50_000_000), wbits=31)
    sizes = [len(piece) for piece in convert.unpacked(iter([bomb]))]
    assert (max(sizes), sum(sizes)) == (convert.PIECE, 50_000_000)
    wide = bytearray(lzma.compress(b"x" * 9))
    wide[15] = 39  # of its block header: a dictionary of 3 GiB
    wide[20:24] = zlib.crc32(wide[12:20]).to_bytes(4, "little")
    with pytest.raises(Refused, match="cannot be decompressed"):
        b"".join(convert.unpacked(iter([bytes(wide)])))


# -- config ----------------------------------------------------------------------------------------
LAYERS = (
    Layer(sha256(b"tar"), sha256(b"blob"), 100),
    Layer(),
    Layer(sha256(b"tar 2"), sha256(b"blob 2"), 200),
)


def test_a_config_says_what_the_images_said() -> None:
    jsons = [
        {"created": "2013-11-01T10:00:00Z", "container_config": {"Cmd": ["/bin/sh", "ADD"]}},
        {"container_config": {"Cmd": "one text"}, "author": "Ada", "comment": "why"},
        {
            "id": "no longer needed",
            "created": "2014-05-01T10:00:00.123456789+02:00",
            "author": "Ada",
            "docker_version": "1.3.0",
            "os": "linux",
            "Size": 5,
            "container": "c0ffee",
            "config": {
                "Hostname": "c0ffee",
                "User": "app",
                "Env": ["PATH=/bin", "A=ä"],
                "Cmd": ["app", "--serve"],
                "Entrypoint": None,
                "ExposedPorts": {"80/tcp": {}},
                "Volumes": {"/data": {}},
                "WorkingDir": "/srv",
                "Labels": {"a": "b"},
                "OnBuild": ["RUN make"],
                "PortSpecs": None,
                "Memory": 0,
            },
        },
    ]
    assert json.loads(convert.config(jsons, LAYERS)) == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2014-05-01T10:00:00.123456789+02:00",
        "author": "Ada",
        "docker_version": "1.3.0",
        "config": {
            "User": "app",
            "Env": ["PATH=/bin", "A=ä"],
            "Cmd": ["app", "--serve"],
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/srv",
            "Labels": {"a": "b"},
            "OnBuild": ["RUN make"],
        },
        "rootfs": {"type": "layers", "diff_ids": [sha256(b"tar"), sha256(b"tar 2")]},
        "history": [
            {"created": "2013-11-01T10:00:00Z", "created_by": "/bin/sh ADD"},
            {"created_by": "one text", "author": "Ada", "comment": "why", "empty_layer": True},
            {"created": "2014-05-01T10:00:00.123456789+02:00", "author": "Ada"},
        ],
    }


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=30),
    lambda inner: (
        some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)
NAMES = ("created", "author", "comment", "architecture", "os", "docker_version", "config")
SETTINGS = ("User", "Env", "Cmd", "Entrypoint", "ExposedPorts", "Volumes", "WorkingDir", "Labels")


def _objects() -> some.SearchStrategy[Any]:
    settings = some.dictionaries(some.sampled_from(SETTINGS), JSON, max_size=6)
    return some.dictionaries(
        some.sampled_from((*NAMES, "container_config")), JSON | settings, max_size=8
    )


@given(some.lists(_objects(), min_size=3, max_size=3))
def test_any_json_gives_a_config_of_the_right_types(jsons: list[dict[str, Any]]) -> None:
    raw = convert.config(jsons, LAYERS)
    assert raw == convert.config(jsons, LAYERS)
    found = json.loads(raw)
    assert parse_config(raw).diff_ids == (sha256(b"tar"), sha256(b"tar 2"))
    for one in (found, *found["history"]):
        moments = re.fullmatch(
            r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", one.get("created", "0001-01-01T00:00:00Z")
        )
        assert moments
        texts = ("author", "comment", "created_by", "os", "architecture", "docker_version")
        assert all(isinstance(one[name], str) for name in texts if name in one)
    kinds = {"User": str, "WorkingDir": str, "Labels": dict, "ExposedPorts": dict, "Volumes": dict}
    for name, value in found["config"].items():
        assert isinstance(value, kinds.get(name, list))
        assert value
    stored = convert.manifest(raw, LAYERS)
    parsed = parse_manifest(stored.raw, stored.media_type)
    assert [one.digest for one in parsed.layers] == [sha256(b"blob"), sha256(b"blob 2")]
    assert parsed.config is not None
    assert parsed.config.digest == sha256(raw)


def test_a_config_that_nobody_could_read_is_refused() -> None:
    def jsons() -> Iterator[dict[str, Any]]:
        for _step in range(1000):
            yield {"comment": "x" * 60_000}
        raise AssertionError("it was read to the end")

    with pytest.raises(Refused, match="more than 4 MiB"):
        convert.config(jsons(), [Layer()] * 1001)


def test_the_level_and_library_that_digests_depend_on() -> None:
    """Fails where Python uses another library than zlib: see docs/install.md, "A v1 store"."""
    plain = tar({f"{n}": b"".join(b"%d " % (n * i) for i in range(9000)) for n in range(9)})
    found = "sha256:9fe23fc5d617399daf9bd1815b25d0d3b8c17bbb8ecaaf2fb7480c1e7bb9ed25"
    assert sha256(converted(plain)[1]) == found
