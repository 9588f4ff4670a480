"""HTTP on a Unix socket, for nginx only. Arguments: the socket, the two htpasswd files.

GET /login      Authorization, X-Real-IP
    204  X-Accel-Redirect: /_rights
    401
    403  X-Boathouse-Login: busy   too many wait; without that header: there is no file of users
    500  the file cannot be read
GET /healthz    200
"""

import asyncio
import contextlib
import ipaddress
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from registryui.accounts import nginx_crypt

from .hashers import Hasher
from .memory import Memory
from .turns import Turns
from .users import Login, Users

PATIENCE = 45.0  # seconds in the queue; nginx waits longer
MOST_HEAD = 128 * 1024  # bytes of a request; nginx accepts less
NICE = 10  # of the hashes of guessers
MOST_HASHERS = 8  # for guessers, and as many for others; at most half of the processors

OK = b"200 OK"
RIGHT = b"204 No Content\r\nX-Accel-Redirect: /_rights"
MALFORMED = b"400 Bad Request"
WRONG = b'401 Unauthorized\r\nWWW-Authenticate: Basic realm="Boathouse"'  # as nginx
BUSY = b"403 Forbidden\r\nX-Boathouse-Login: busy"
NO_USERS = b"403 Forbidden"
UNKNOWN = b"404 Not Found"
FAILED = b"500 Internal Server Error"


class Asked:
    """A login whose answer is due."""

    def __init__(self, login: Login, address: bytes, connection: "Connection") -> None:
        self.login, self.name, self.address = login, login.name, address
        self._connection = connection
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.answer, BUSY)
        self.is_over = False

    def answer(self, status: bytes) -> None:
        """Answers it, unless that was done."""
        if not self.is_over:
            self.end()
            self._connection.answer(status)

    def end(self) -> None:
        """Nobody waits for an answer any more."""
        self.is_over = True
        self._timer.cancel()


class Logins:
    """Answers logins: at once if it remembers them, else in turn."""

    def __init__(self, users: Users, hashers: Sequence[Hasher], of_guessers: Sequence[Hasher]):
        self._users = users
        self._memory = Memory()
        self._turns: Turns[Asked] = Turns()
        self._loop = asyncio.get_running_loop()
        self._free = {False: [*hashers], True: [*of_guessers]}  # by: for guessers?
        self._checks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.broken = asyncio.Event()  # one of the hashers is gone

    def ask(self, authorization: bytes, address: bytes, connection: "Connection") -> Asked | None:
        """Answers that connection, now or later: the login that it waits for then."""
        try:
            login = self._users.login(*_name_and_secret(authorization))
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            connection.answer(NO_USERS if is_missing else FAILED)
            return None
        if login in self._memory:
            connection.answer(RIGHT)
            return None
        asked = Asked(login, network(address), connection)
        if lost := self._turns.add(asked, self._loop.time()):
            lost.answer(BUSY)
        self._go_on()
        return asked

    def _go_on(self) -> None:
        now = self._loop.time()
        for guessers, free in self._free.items():
            while free and (asked := self._turns.next(now, guessers=guessers)):
                if asked.login in self._memory:
                    asked.answer(RIGHT)
                    continue
                check = self._loop.create_task(self._check(asked, free.pop(), free))
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)
        if pause := self._turns.pause(now):
            self._wake_in(pause)

    async def _check(self, asked: Asked, hasher: Hasher, free: list[Hasher]) -> None:
        try:
            is_right = await hasher.is_right(asked.login)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            asked.answer(FAILED)
            self.broken.set()
            return
        except OSError:
            asked.answer(FAILED)
        else:
            self._checked(asked, is_right)
        free.append(hasher)
        self._go_on()

    def _checked(self, asked: Asked, is_right: bool) -> None:
        if not is_right:
            self._turns.count_wrong(asked.address, self._loop.time())
            asked.answer(WRONG)
            return
        self._turns.count_right(asked.address)
        self._memory.add(asked.login)
        asked.answer(RIGHT)
        for other in self._turns.of_same(asked):  # a push asks a hundred times at once
            if other.login in self._memory:
                other.answer(RIGHT)

    def _wake_in(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._go_on)


def _name_and_secret(authorization: bytes) -> tuple[bytes, bytes]:
    """As nginx reads the header; an empty name, which no line has, if it cannot."""
    kind, text = authorization[:6], authorization[6:].lstrip(b" ")
    pair = nginx_crypt.decode_base64(text) if kind.lower() == b"basic " else None
    name, colon, secret = (pair or b"").partition(b":")
    return (name, secret) if colon else (b"", b"")


def network(address: bytes) -> bytes:
    """The address; of IPv6 its network of 64 bits, which one client may have all of."""
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(address.decode("latin-1"))
        return found.packed[:8] if found.version == 6 else found.packed
    return address


class Connection(asyncio.Protocol):
    """One of nginx's connections: a request after the other, without a body."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._head = b""
        self._transport: asyncio.Transport
        self._asked: Asked | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._asked:
            self._asked.end()

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, self._head = self._head.partition(b"\r\n\r\n")
        if end:
            self._request(head)
        else:
            self._head = head
        if len(self._head) > MOST_HEAD:
            self._refuse()

    def _request(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        headers = {}
        for line in lines:
            name, _colon, value = line.partition(b":")
            headers[name.lower()] = value.strip(b" \t")
        match first.split(b" "):
            case [_method, b"/login", _version]:
                sent, address = headers.get(b"authorization", b""), headers.get(b"x-real-ip", b"")
                self._asked = self._logins.ask(sent, address, self)
            case [_method, b"/healthz", _version]:
                self.answer(OK)
            case [_method, _other, _version]:
                self.answer(UNKNOWN)
            case _:
                self._refuse()

    def _refuse(self) -> None:
        self.answer(MALFORMED)
        self._transport.close()

    def answer(self, status: bytes) -> None:
        """Writes an answer without a body."""
        length = b"" if status is RIGHT else b"\r\nContent-Length: 0"
        self._transport.write(b"HTTP/1.1 " + status + length + b"\r\n\r\n")


async def serve(socket: Path, make: Callable[[], Logins]) -> bool:
    """Answers at that socket, which may be left by a killed process, until SIGTERM or SIGINT: True;
    False if it cannot go on."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    logins = make()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, ended.set)
    new = socket.with_name(f"{socket.name}.new")
    await loop.create_unix_server(lambda: Connection(logins), str(new), backlog=1024)
    new.rename(socket)  # at once, in place of another process that ends
    waiting = [loop.create_task(one.wait()) for one in (ended, logins.broken)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    return ended.is_set()


def main() -> int:
    """Runs the process; 1 if it has to be started again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # passwords are in memory
    count = min(MOST_HASHERS, max(1, (os.cpu_count() or 1) // 2))
    hashers, of_guessers = ([Hasher(nice) for _ in range(count)] for nice in (0, NICE))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0o111)  # of the socket, as nginx makes its own: the folder is closed
    socket, file, overlap = (Path(argument) for argument in sys.argv[1:])
    make = partial(Logins, Users(file, overlap), hashers, of_guessers)
    return 0 if asyncio.run(serve(socket, make)) else 1


if __name__ == "__main__":
    sys.exit(main())
