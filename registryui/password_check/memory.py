"""Which logins were right a moment ago: a repeated one needs no hash."""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from .users import Login

SECONDS = 600.0  # since its last use
MOST = 10_000  # logins: some 2 MB


class Memory:
    """Right logins, as a keyed hash of name, secret and the user's lines; the key is random and
    lost with the process. A changed, disabled or removed line is another login."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
        self._clock = clock
        self._used: OrderedDict[bytes, float] = OrderedDict()  # by the time of the last use

    def add(self, login: Login) -> None:
        """Remembers a right login."""
        self._touch(self._mark(login))

    def __contains__(self, login: Login) -> bool:
        while self._used and next(iter(self._used.values())) < self._clock() - SECONDS:
            self._used.popitem(last=False)
        mark = self._mark(login)
        if mark not in self._used:
            return False
        self._touch(mark)
        return True

    def __len__(self) -> int:
        return len(self._used)

    def _touch(self, mark: bytes) -> None:
        self._used[mark] = self._clock()
        self._used.move_to_end(mark)
        if len(self._used) > MOST:
            self._used.popitem(last=False)

    def _mark(self, login: Login) -> bytes:
        mark = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (login.name, login.secret, *login.hashes):
            mark.update(len(part).to_bytes(8, "big") + part)
        return mark.digest()
