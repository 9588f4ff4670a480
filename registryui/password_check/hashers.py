"""Processes that compute hashes, one at a time each, with a priority of their own.

Not threads: one of low priority that has Python's lock, but no processor because the machine is
busy, would stop the event loop, too.
"""

import asyncio
import contextlib
import os
import signal
import socket
from typing import NoReturn

from registryui.accounts import htpasswd, nginx_crypt

from .users import Login

MOST_BYTES = 200_000  # of a message; __main__.MOST_HEAD is less
RIGHT, WRONG, FAILED = b"+", b"-", b"?"


class Hasher:
    """A child process, which ends with this one. To be made before any event loop or thread."""

    def __init__(self, nice: int) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if not os.fork():
            _run(its, nice)
        its.close()
        self._socket.setblocking(False)

    async def is_right(self, login: Login) -> bool:
        """Whether nginx accepts that login. OSError if it cannot be checked; EOFError if the
        process is gone."""
        loop = asyncio.get_running_loop()
        # As for nginx and crypt, texts end at the first zero byte.
        parts = (one.split(b"\0", 1)[0] for one in (login.secret, *login.hashes))
        await loop.sock_sendall(self._socket, b"\0".join((b"", *parts)))
        match await loop.sock_recv(self._socket, 1):
            case b"":
                raise EOFError
            case one if one == FAILED:
                raise OSError("the hash cannot be computed")
            case one:
                return one == RIGHT


def _run(its: socket.socket, nice: int) -> NoReturn:
    """Answers until the other end is closed."""
    with contextlib.suppress(OSError):
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):  # the parent ends
            signal.signal(number, signal.SIG_IGN)
        os.dup2(its.fileno(), 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # also our end, and those of other processes
        os.nice(nice)
        mine = socket.socket(fileno=0)
        nobody = htpasswd.hash_password(htpasswd.new_secret()).encode()
        while message := mine.recv(MOST_BYTES):
            mine.send(_answer(message, nobody))
    os._exit(0)


def _answer(message: bytes, nobody: bytes) -> bytes:
    _never_empty, secret, *hashes = message.split(b"\0")
    try:
        return RIGHT if is_right(secret, hashes, nobody) else WRONG
    except Exception:  # of one login; its words may hold a secret
        return FAILED


def is_right(secret: bytes, hashes: list[bytes], nobody: bytes) -> bool:
    """Whether nginx accepts the secret for one of the hashes.

    If not, at least one hash as slow as ours was computed (that of `nobody`), or response times
    would reveal which names have one, and which names there are.
    """
    if any(nginx_crypt.accepts(one, secret) for one in hashes):
        return True
    if not any(htpasswd.takes_as_long_as_ours(one.decode("latin-1")) for one in hashes):
        nginx_crypt.accepts(nobody, secret)
    return False
