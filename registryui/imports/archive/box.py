"""The files of an archive or folder of images, by their names. Nothing is unpacked.

    Box ├ TarBox      a tar archive, not compressed (compression.py unpacks others first)
        └ FolderBox   a folder: an OCI layout, or an archive that somebody has unpacked

Several threads may read at once.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from django.utils.translation import gettext as _

from registryui.oci.untrusted import quoted
from registryui.refused import Refused

from . import tar

PIECE = 1024 * 1024  # bytes read at once
_MOST_LINKS = 8


class Box(Protocol):
    """Files by name. Its methods raise Refused, and OSError if the disk does not answer."""

    def size(self, name: str) -> int | None:
        """Bytes of that file; None: there is none."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Its content. Refused: there is none."""
        ...


def read(box: Box, name: str, *, limit: int) -> bytes | None:
    """The complete content of a small file; None: there is none. Refused: it is over `limit`."""
    size = box.size(name)
    if size is None:
        return None
    if size > limit:
        raise Refused(
            _("%(name)s in the archive has %(size)d bytes, more than the %(limit)d allowed.")
            % {"name": quoted(name), "size": size, "limit": limit}
        )
    with box.open(name) as file:
        return file.read(limit)


class TarBox:
    """A Box of the tar archive that is open at `handle`, and stays open."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._members = tar.members(handle, os.fstat(handle).st_size)

    def size(self, name: str) -> int | None:
        """See Box."""
        member = self._member(name)
        return member.size if member else None

    def open(self, name: str) -> BinaryIO:
        """See Box."""
        member = self._member(name)
        if member is None:
            raise missing(name)
        return io.BufferedReader(_Part(self._handle, member.offset, member.size), PIECE)

    def _member(self, name: str) -> tar.Member | None:
        """Of a link what it links to. Links that lead nowhere are missing files."""
        for _step in range(_MOST_LINKS):
            member = self._members.get(name)
            if member is None or not member.link:
                return member
            name = member.link
        raise Refused(
            _("%(name)s in the archive is a link that never ends.") % {"name": quoted(name)}
        )


class FolderBox:
    """A Box of a folder. Links that lead out of it are refused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def size(self, name: str) -> int | None:
        """See Box."""
        place = self._place(name)
        return place.stat().st_size if place else None

    def open(self, name: str) -> BinaryIO:
        """See Box."""
        place = self._place(name)
        if place is None:
            raise missing(name)
        return place.open("rb", PIECE)

    def _place(self, name: str) -> Path | None:
        with suppress(OSError, ValueError, RuntimeError):  # a loop of links, a NUL, no such file
            place = (self._folder / name).resolve(strict=True)
            if not place.is_relative_to(self._folder):
                raise tar.outside(name)
            return place if place.is_file() else None
        return None


def missing(name: str) -> Refused:
    """What to say of a file that is not there."""
    return Refused(_("%(name)s is missing in the archive.") % {"name": quoted(name)})


class _Part(io.RawIOBase):
    """A part of a file, read without moving its place."""

    def __init__(self, handle: int, offset: int, size: int) -> None:
        self._handle, self._offset, self._left = handle, offset, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what io gives it
        got = os.preadv(self._handle, [memoryview(buffer)[: self._left]], self._offset)
        if not got and self._left and len(buffer):
            raise tar.cut_off()
        self._offset += got
        self._left -= got
        return got
