"""Time that stands still, and accidents that are the same each time: for what is compared."""

from __future__ import annotations

import datetime as module
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import psycopg  # noqa: F401  (its C code compares datetime's size when it is loaded)

OURS = ("django", "registryui", "portal", "axes", "tests")
_real = module.datetime


@contextmanager
def frozen(at: module.datetime) -> Iterator[None]:
    """It is `at` in all modules that are loaded by now. What waits by time.monotonic goes on."""

    class Kind(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, _real)

    class Frozen(_real, metaclass=Kind):
        def __new__(cls, *values: Any, **named: Any) -> Any:
            return _real(*values, **named)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return at.astimezone(tz) if tz else at.replace(tzinfo=None)

    with ExitStack() as stack:
        stack.enter_context(patch.object(time, "time", at.timestamp))
        stack.enter_context(patch.object(module, "datetime", Frozen))
        for name, found in list(sys.modules.items()):
            if name.partition(".")[0] in OURS and vars(found).get("datetime") is _real:
                stack.enter_context(patch.object(found, "datetime", Frozen))
        yield


@contextmanager
def same_accidents(seed: str) -> Iterator[None]:
    """Ids and secrets that are made meanwhile follow from the seed. Nothing here is to be kept."""
    chance = Random(seed)

    def token(size: int | None = None) -> bytes:
        return chance.randbytes(size or 32)

    with ExitStack() as stack:
        for name, value in {
            "token_bytes": token,
            "token_hex": lambda size=None: token(size).hex(),
            "token_urlsafe": lambda size=None: token(size).hex(),
            "randbits": chance.getrandbits,
            "choice": chance.choice,
        }.items():
            stack.enter_context(patch.object(secrets, name, value))
        made = lambda: uuid.UUID(bytes=token(16), version=4)  # noqa: E731
        stack.enter_context(patch.object(uuid, "uuid4", made))
        yield
