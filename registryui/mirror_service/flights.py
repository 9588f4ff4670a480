"""One request to an upstream for all clients that want the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

AT_ONCE = 64  # requests; more wait

T = TypeVar("T")


class Flights(Generic[T]):
    """Requests in progress, by what they ask for. One goes on when nobody waits for it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="manifest")
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[T]] = {}

    def join(self, key: Hashable, act: Callable[[], T]) -> Future[T]:
        """The running one, or a new one that calls `act`. `act` must look again whether it is
        still to be done: the one before may have just ended."""
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = self._pool.submit(self._run, key, act)
            return running

    def _run(self, key: Hashable, act: Callable[[], T]) -> T:
        try:
            return act()
        finally:
            with self._lock:
                self._running.pop(key, None)
