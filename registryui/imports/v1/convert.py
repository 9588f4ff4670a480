"""Layers and JSON of v1 images as those of an image of schema 2. Reads only the layer's file.

    layer ─ gunzip, unxz ─► tar ─┬─ sha256 ─► diff_id
                                 └─ gzip ───► blob      the same bytes each time, on each machine

A layer is read once, in pieces, and never stored on the way. Its checksum is verified before the
last piece is handed on: until then an upload is not complete.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from django.utils.translation import gettext as _

from registryui.imports.gzip_layers import WINDOW, gzipped
from registryui.oci import media_types
from registryui.oci.digest import sha256
from registryui.oci.untrusted import MANIFEST_LIMIT, keys, moment, text, text_map, texts
from registryui.refused import Refused
from registryui.registry.source import Stored

PIECE = 1024 * 1024  # bytes
_XZ_MEMORY = 256 * 1024 * 1024  # bytes; `xz -9` needs 65 MiB
_XZ = b"\xfd7zXZ\x00"
_MOST_ZEROS = 1024 * 1024  # bytes of an empty tar; tar itself writes 10,240
_NAME_LIMIT = 64  # characters of architecture and os


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of today's image; both "" for an empty one, which is only in the history."""

    diff_id: str = ""
    digest: str = ""  # of the compressed layer
    size: int = 0  # bytes of it


# -- layers ----------------------------------------------------------------------------------------
class Conversion:
    """One layer on its way. `json`: the image's, as it was pushed, which its checksum covers."""

    def __init__(self, file: BinaryIO, json: bytes, checksums: frozenset[str]) -> None:
        self._checksums = checksums
        self._checksum = hashlib.sha256(json + b"\n")
        self._diff_id = hashlib.sha256()
        self._tar = unpacked(self._read(file))
        self._first = b""  # the piece that is_empty read

    @property
    def diff_id(self) -> str:
        """The digest of the tar, once all of it has been read."""
        return f"sha256:{self._diff_id.hexdigest()}"

    def is_empty(self) -> bool:
        """Whether the tar has only zeros, so no entry. Reads to the first other byte. Refused: its
        checksum is wrong, it is damaged, or no tar."""
        zeros = 0
        for piece in self._tar:
            self._diff_id.update(piece)
            if piece.count(0) < len(piece):
                if zeros or not piece[0]:
                    break
                self._first = piece
                return False
            zeros += len(piece)
            if zeros > _MOST_ZEROS:
                break
        else:
            self._verify()
            return True
        raise Refused(_("It is no tar archive: it begins with zeros."))

    def compressed(self) -> Iterator[bytes]:
        """The blob, after is_empty() said no. Refused, before its end, as there."""
        return gzipped(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        yield self._first
        for piece in self._tar:
            self._diff_id.update(piece)
            yield piece
        self._verify()  # the end of the compressed content waits for it

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        for piece in _pieces(file):
            self._checksum.update(piece)
            yield piece

    def _verify(self) -> None:
        if self._checksums and f"sha256:{self._checksum.hexdigest()}" not in self._checksums:
            raise Refused(_("Its checksum is wrong: the file was damaged."))


def unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The tar, in pieces of at most PIECE bytes. Refused: it ends too early, or is damaged."""
    first = next(pieces, b"")
    every = _chained(first, pieces)
    if first.startswith(b"\x1f\x8b"):
        tar = _gunzipped(every)
    elif first.startswith(_XZ):
        tar = _unxzed(every)
    else:
        tar = every
    try:
        yield from tar
    except (zlib.error, lzma.LZMAError) as error:
        raise Refused(_("It cannot be decompressed: %s.") % error) from error


def check_tar(file: BinaryIO) -> None:
    """Refused: it is no tar, or ends in the middle of an entry. For layers without a checksum."""
    tar = cast(BinaryIO, _Readable(unpacked(_pieces(file))))
    try:
        with tarfile.open(fileobj=tar, mode="r|") as found:
            while found.next() is not None:
                found.members.clear()  # type: ignore[attr-defined]  # it would keep all
    except (Refused, OSError):
        raise
    except Exception as error:  # a stranger's content: tarfile raises more than its own errors
        raise Refused(_("It is no complete tar archive: %s.") % error) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Several members behind each other are one, and zeros may follow."""
    member = zlib.decompressobj(WINDOW)
    for piece in pieces:
        rest = piece
        while rest:
            if member.eof:
                rest = rest.lstrip(b"\0")
                member = zlib.decompressobj(WINDOW) if rest else member
                continue
            if tar := member.decompress(rest, PIECE):
                yield tar
            rest = member.unused_data if member.eof else member.unconsumed_tail
    if tar := member.flush():
        yield tar
    _expect_end(member.eof)


def _unxzed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same of xz, with its streams."""
    stream = _xz_stream()
    for piece in pieces:
        rest = piece
        while rest or not (stream.eof or stream.needs_input):
            if stream.eof:
                rest = rest.lstrip(b"\0")
                stream = _xz_stream() if rest else stream
                continue
            if tar := stream.decompress(rest, PIECE):
                yield tar
            rest = stream.unused_data if stream.eof else b""
    _expect_end(stream.eof)


def _xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _expect_end(is_there: bool) -> None:
    if not is_there:
        raise Refused(_("Its compressed content ends too early."))


class _Readable:
    """Pieces as the file that tarfile reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


# -- config and manifest ---------------------------------------------------------------------------
def config(jsons: Iterable[dict[str, Any]], layers: Sequence[Layer]) -> bytes:
    """The config of an image; `jsons` and `layers` are of its ancestors and itself, from the root
    up. Refused: it would be too large for those who read it."""
    history, size = [], 0
    top: dict[str, Any] = {}
    for top, layer in zip(jsons, layers, strict=True):
        history.append(_step(top, is_empty=not layer.digest))
        size += len(_limited(_encoded(history[-1])))
        if size > MANIFEST_LIMIT:
            break  # _limited refuses it
    found = {
        "architecture": text(top.get("architecture"), limit=_NAME_LIMIT) or "amd64",
        "os": text(top.get("os"), limit=_NAME_LIMIT) or "linux",
        **_given(top, "created", _moment),
        **_given(top, "author", text),
        **_given(top, "docker_version", text),
        "config": _run(top.get("config")),
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers if one.digest]},
        "history": history,
    }
    return _limited(_encoded(found))


def manifest(config: bytes, layers: Sequence[Layer]) -> Stored:
    """The manifest of schema 2 of the image with that config."""
    raw = _encoded(
        {
            "schemaVersion": 2,
            "mediaType": media_types.DOCKER_MANIFEST,
            "config": {
                "mediaType": media_types.DOCKER_CONFIG,
                "size": len(config),
                "digest": sha256(config),
            },
            "layers": [
                {"mediaType": media_types.DOCKER_LAYER, "size": one.size, "digest": one.digest}
                for one in layers
                if one.digest
            ],
        }
    )
    return Stored(sha256(raw), media_types.DOCKER_MANIFEST, _limited(raw))


def _run(value: object) -> dict[str, Any]:
    """How to run it: what `docker run` reads of an image. Values of another type than Docker's,
    which would keep it from being pulled, are left out."""
    found = value if isinstance(value, dict) else {}
    kinds: dict[str, Callable[[object], Any]] = {
        **dict.fromkeys(("User", "WorkingDir", "StopSignal"), text),
        **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), _words),
        **dict.fromkeys(("ExposedPorts", "Volumes"), lambda one: {key: {} for key in keys(one)}),
        "Labels": text_map,
    }
    return {name: kept for name, read in kinds.items() if (kept := read(found.get(name)))}


def _step(found: dict[str, Any], *, is_empty: bool) -> dict[str, Any]:
    """A line of the history, as Docker writes it for an image of the v1 protocol."""
    container = found.get("container_config")
    words = _words(container.get("Cmd")) if isinstance(container, dict) else []
    return {
        **_given(found, "created", _moment),
        **_given({"created_by": " ".join(words)}, "created_by", text),
        **_given(found, "author", text),
        **_given(found, "comment", text),
        **({"empty_layer": True} if is_empty else {}),
    }


def _given(found: dict[str, Any], name: str, read: Callable[[object], str]) -> dict[str, str]:
    value = read(found.get(name))
    return {name: value} if value else {}


def _moment(value: object) -> str:
    """A time as it was written, to the nanosecond; "" if Go would not read it."""
    written = text(value, limit=_NAME_LIMIT)
    return written if moment(written) and written.isupper() and "," not in written else ""


def _words(value: object) -> list[str]:
    """A command: a list, or in the oldest images one text."""
    return [text(value)] if isinstance(value, str) and value else list(texts(value))


def _encoded(found: object) -> bytes:
    return json.dumps(found, separators=(",", ":"), sort_keys=True).encode()


def _limited(raw: bytes) -> bytes:
    if len(raw) > MANIFEST_LIMIT:
        raise Refused(_("What its images say of themselves is more than 4 MiB."))
    return raw
