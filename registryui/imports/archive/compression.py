"""Compressed archives: unpacked into a file of the data folder, because blobs are read in an order
of their own.

gzip, xz and bzip2 are Python's. Others are refused with the command that unpacks them.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.utils.translation import gettext as _

from registryui import formats, space
from registryui.refused import Refused

from .tar import cut_off

PIECE = 1024 * 1024  # bytes at once
HEAD = 512  # bytes that `kind` wants to see
XZ_MEMORY = 256 * 1024 * 1024  # bytes; xz -9 wants 65 MB
_GZIP = 31  # window bits that mean: with gzip's header


class Readable(Protocol):
    """What has bytes to read."""

    def read(self, most: int, /) -> bytes:
        """At most so many; b"" at the end."""
        ...


class _Unpacker(Protocol):
    """What zlib, lzma and bz2 have in common here: up to so many bytes at once."""

    def __call__(self, data: bytes, most: int) -> bytes: ...

    @property
    def is_done(self) -> bool: ...

    @property
    def wants_more(self) -> bool: ...

    @property
    def rest(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_GZIP)

    def __call__(self, data: bytes, most: int) -> bytes:
        return self._unpacker.decompress(self._unpacker.unconsumed_tail + data, most)

    @property
    def is_done(self) -> bool:
        return self._unpacker.eof

    @property
    def wants_more(self) -> bool:
        return not self._unpacker.unconsumed_tail

    @property
    def rest(self) -> bytes:
        return self._unpacker.unused_data


class _Other:
    """Of xz or bzip2."""

    def __init__(self, unpacker: lzma.LZMADecompressor | bz2.BZ2Decompressor) -> None:
        self._unpacker = unpacker

    def __call__(self, data: bytes, most: int) -> bytes:
        return self._unpacker.decompress(data, most)

    @property
    def is_done(self) -> bool:
        return self._unpacker.eof

    @property
    def wants_more(self) -> bool:
        return self._unpacker.needs_input

    @property
    def rest(self) -> bytes:
        return self._unpacker.unused_data


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _Gzip,
    "xz": lambda: _Other(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)),
    "bzip2": lambda: _Other(bz2.BZ2Decompressor()),
}
_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_FAILURES = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


def kind(head: bytes) -> str:
    """How a file that begins with these bytes is compressed, "" if it is not. Refused: in a way
    that is not supported."""
    found = next((name for start, name in _BEGINNINGS.items() if head.startswith(start)), "")
    if found == "zstd":
        raise Refused(
            _(
                "The archive is compressed with zstd: unpack it first (zstd -d), or pipe it: "
                "zstd -dc FILE | ./boathouse import archive -"
            )
        )
    if found == "zip":
        raise Refused(_("This is a zip file, not an archive of images: unpack it first."))
    return found


def unpacked(file: Readable, how: str) -> Iterator[bytes]:
    """The content of a compressed file, in pieces of PIECE bytes at most. Refused: it is damaged,
    or cut off."""
    unpacker, data = _UNPACKERS[how](), file.read(PIECE)
    while True:
        if piece := _next(unpacker, data):
            yield piece
        if unpacker.is_done:  # such files can be joined, and zeros may follow
            data = (unpacker.rest or file.read(PIECE)).lstrip(b"\0")
            if not data:
                return
            unpacker = _UNPACKERS[how]()
        elif unpacker.wants_more:
            data = file.read(PIECE)
            if not data:
                raise cut_off()
        else:
            data = b""


def _next(unpacker: _Unpacker, data: bytes) -> bytes:
    try:
        return unpacker(data, PIECE)
    except MemoryError:
        raise _damaged() from None
    except _FAILURES as error:
        raise _damaged() from error


def spool(pieces: Iterable[bytes], place: Path) -> None:
    """Writes them to that new file, as long as the floor of free space stays. Refused: there is too
    little space."""
    with place.open("xb") as file:
        for piece in pieces:
            need_space(place.parent, len(piece))
            file.write(piece)


def need_space(folder: Path, size: int) -> None:
    """Refused, if after so many bytes there would be less than the floor of free space."""
    free = space.free(folder)
    if free - size < settings.FLOOR_BYTES:
        raise Refused(
            _(
                "Only %(free)s are free in %(folder)s, and %(floor)s must stay free: free some "
                "space, and start again."
            )
            % {
                "free": formats.size(free),
                "folder": folder,
                "floor": formats.size(settings.FLOOR_BYTES),
            }
        )


def _damaged() -> Refused:
    return Refused(_("The compressed archive is damaged. Copy it once more."))
