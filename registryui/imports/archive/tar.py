"""The members of a tar archive that a stranger wrote: their names, places and sizes.

Reads headers only (POSIX ustar and pax, GNU) and never writes a file: a member's content is read
from its place in the archive. Not Python's tarfile, which reads headers of any size into memory.

    header 512 bytes ─ content, padded to 512 ─ header …        two headers of zeros end it
    a header of type x, g, L or K says more about the next one
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from registryui.oci.untrusted import SIZE_LIMIT, quoted
from registryui.refused import Refused

BLOCK = 512
MOST_HEADERS = 200_000
NAME_LIMIT = 4096  # bytes of a name
HEADER_LIMIT = 64 * 1024  # bytes of a header that is about the next one

_FILES = (b"0", b"\0", b"7")
_LINKS = (b"1", b"2")
_FOLDER, _PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK = b"5", b"x", b"g", b"L", b"K"
_SPARSE = ("GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize")


@dataclass(frozen=True, slots=True)
class Member:
    """A file, or a link to one of the same archive."""

    name: str  # relative, without . and ..
    offset: int  # of its content, in bytes from the archive's beginning
    size: int  # bytes
    link: str = ""  # the name of the member that it links to


def members(handle: int, size: int) -> dict[str, Member]:
    """All files and links of the tar archive of that size open at `handle`, by their names; of
    several with one name the last, as tar unpacks it. Refused: it is no tar archive, is cut off, or
    has something that no archive of images has."""
    return {member.name: member for member in _walk(handle, size)}


def check(handle: int, size: int, *, arrived: int) -> None:
    """What can be said of an archive of that size of which only the beginning has arrived. Refused
    as `members`."""
    for _member in _walk(handle, size, arrived):
        pass


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes can be a tar archive."""
    return len(head) >= BLOCK and (head[:BLOCK] == bytes(BLOCK) or _sum_is_right(head[:BLOCK]))


def _walk(handle: int, size: int, arrived: int | None = None) -> Iterator[Member]:
    offset, count, said = 0, 0, _Said()
    while (head := os.pread(handle, BLOCK, offset)) and head != bytes(BLOCK):
        if arrived is not None and offset + BLOCK + HEADER_LIMIT > arrived < size:
            return  # it may say more about the next one
        count += 1
        if count > MOST_HEADERS:
            raise Refused(_("The archive has more than %(count)d files.") % {"count": MOST_HEADERS})
        if len(head) < BLOCK:
            raise cut_off()
        if not _sum_is_right(head):
            raise Refused(_("The file is damaged, or no tar archive."))
        offset += BLOCK
        kind = head[156:157]
        length = _number(head[124:136]) if said.size is None else said.size
        if kind in (_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK):
            said.read(kind, _header_text(handle, offset, _number(head[124:136])))
            offset += _padded(_number(head[124:136]))
            continue
        if kind in _FILES and not said.is_sparse:
            if offset + length > size:
                raise cut_off()
            # Before POSIX a folder was a file whose name ends with a slash.
            name = said.name or _own_name(head)
            if not name.endswith("/") and (inside := _inside(name)):
                yield Member(inside, offset, length)
            offset += _padded(length)
        elif kind in _LINKS:
            yield _link(head, said, offset)
        elif kind != _FOLDER:
            raise Refused(
                _("The archive has %(name)s, which is neither a file nor a link nor a folder.")
                % {"name": quoted(said.name or _own_name(head))}
            )
        said = _Said()


@dataclass(slots=True)
class _Said:
    """What headers have said about the next one."""

    name: str = ""
    link: str = ""
    size: int | None = None
    is_sparse: bool = False

    def read(self, kind: bytes, text: bytes) -> None:
        if kind == _LONG_NAME:
            self.name = _decoded(text.rstrip(b"\0"))
        elif kind == _LONG_LINK:
            self.link = _decoded(text.rstrip(b"\0"))
        elif kind == _PAX:  # that of all says nothing that matters here
            self._read_pax(text)

    def _read_pax(self, text: bytes) -> None:
        for key, value in _records(text):
            if key == b"path":
                self.name = _decoded(value)
            elif key == b"linkpath":
                self.link = _decoded(value)
            elif key == b"size":
                self.size = _decimal(value)
            elif key.decode("ascii", "replace") in _SPARSE:
                self.is_sparse = True


def _records(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keywords of a pax header: `LENGTH KEY=VALUE\n` each."""
    while text:
        digits, blank, _rest = text.partition(b" ")
        length = _decimal(digits) if blank else 0
        record = text[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not (equals and value.endswith(b"\n") and length <= len(text)):
            raise _damaged()
        yield key, value[:-1]
        text = text[length:]


def _link(head: bytes, said: _Said, offset: int) -> Member:
    """Of a symbolic link the target is relative to its folder, of a hard link to the archive."""
    name = _inside(said.name or _own_name(head))
    target = said.link or _decoded(head[157:257].rstrip(b"\0"))
    folder = posixpath.dirname(name) if head[156:157] == b"2" else ""
    if target.startswith("/"):
        raise outside(target)
    return Member(name, offset, 0, link=_inside(posixpath.join(folder, target)))


def _own_name(head: bytes) -> str:
    name = _decoded(head[:100].split(b"\0")[0])
    prefix = _decoded(head[345:500].split(b"\0")[0]) if head[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _inside(name: str) -> str:
    """The name without `.`, `..` and double slashes; "" for the folder itself. Refused: it is not
    within the archive."""
    plain = posixpath.normpath(name) if name else ""
    if plain.startswith(("/", "../")) or plain == ".." or "\0" in plain or len(name) > NAME_LIMIT:
        raise outside(name)
    return "" if plain == "." else plain


def _header_text(handle: int, offset: int, length: int) -> bytes:
    if length > HEADER_LIMIT:
        raise Refused(
            _("The archive has a header of %(size)d bytes, but no name is so long.")
            % {"size": length}
        )
    text = os.pread(handle, length, offset)
    if len(text) < length:
        raise cut_off()
    return text


def _sum_is_right(head: bytes) -> bool:
    digits = head[148:156].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:])


def _number(digits: bytes) -> int:
    """An octal number, or GNU's form for those that have more digits."""
    if digits[0] & 0x80:
        number = int.from_bytes(bytes([digits[0] & 0x7F]) + digits[1:], "big")
    else:
        plain = digits.strip(b" \0")
        if plain.strip(b"01234567"):
            raise _damaged()
        number = int(plain or b"0", 8)
    if number > SIZE_LIMIT:
        raise _damaged()
    return number


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 15 or int(digits) > SIZE_LIMIT:
        raise _damaged()
    return int(digits)


def _padded(length: int) -> int:
    return (length + BLOCK - 1) // BLOCK * BLOCK


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _damaged() -> Refused:
    return Refused(_("The file is damaged, or no tar archive."))


def cut_off() -> Refused:
    """What to say of an archive that ends too early."""
    return Refused(_("The archive is cut off: its end is missing. Copy it once more."))


def outside(name: str) -> Refused:
    """What to say of a name that leads out of the archive."""
    return Refused(
        _("The archive names %(name)s, which is outside of it: nothing is read from there.")
        % {"name": quoted(name)}
    )
