"""The owners of Unix sockets, by sock_diag(7): /proc/net/unix does not show them.

A path in that table proves nothing: any user can bind a socket with the same path in a separate
mount namespace. write_freeze.py calls this.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LISTENS = 10  # TCP_LISTEN
_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301
_ERROR, _DONE = 2, 3
_SHOW = 0x01 | 0x10 | 0x40  # name, queue, user
_NAME, _QUEUE, _USER = 0, 4, 7
_HEAD, _BODY = "=IHHII", "=BBBBIII"


@dataclass(frozen=True, slots=True)
class Owned:
    """An open socket; connections that are not accepted yet are only counted, in `waiting`."""

    inode: int
    state: int
    path: str
    user: int | None  # None: an old kernel
    waiting: int  # of a listening socket: connections not accepted yet

    @property
    def is_strangers(self) -> bool:
        """Whether it is neither ours nor root's."""
        return self.user not in (None, 0, os.geteuid())


def owned() -> list[Owned]:
    """All that have a path. OSError if the kernel, or systemd, does not permit this."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asking.settimeout(2)
        wanted = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW, 0, 0)
        head = struct.pack(_HEAD, 16 + len(wanted), _BY_FAMILY, _DUMP, 1, 0)
        asking.send(head + wanted)
        return [one for message in _messages(asking) if (one := _read(message)).path]


def _messages(asking: socket.socket) -> Iterator[bytes]:
    while True:
        answer = asking.recv(1 << 18)
        while answer:
            length, kind, *_others = struct.unpack_from(_HEAD, answer)
            if kind == _DONE:
                return
            if kind == _ERROR or length < 16:
                raise OSError("the kernel does not list Unix sockets")
            yield answer[16:length]
            answer = answer[(length + 3) & ~3 :]


def _read(message: bytes) -> Owned:
    _family, _type, state, _pad, inode, *_cookie = struct.unpack_from(_BODY, message)
    found, at = {}, struct.calcsize(_BODY)
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        found[kind] = message[at + 4 : at + length]
        at += max(4, (length + 3) & ~3)
    path = os.fsdecode(found.get(_NAME, b"").rstrip(b"\0"))
    (user,) = struct.unpack("=I", found[_USER]) if _USER in found else (None,)
    waiting = struct.unpack_from("=I", found.get(_QUEUE, bytes(4)))[0] if state == LISTENS else 0
    return Owned(inode, state, path, user, waiting)
