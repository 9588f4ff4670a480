"""The other blobs of an image of which a client pulled a layer: what was pulled is complete here.

In the background, AT_ONCE downloads, when no client's runs. What lacks after a restart follows with
the next pull.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress

from .content import Content
from .downloads import Downloads, NotStored
from .failures import Failure
from .upstream import Upstream

AT_ONCE = 2
MOST_WAITING = 10_000
LONGEST_WAIT = 30.0  # seconds for downloads of clients


class Filling:
    """A queue of images, and its threads."""

    def __init__(self, content: Content, downloads: Downloads) -> None:
        self._content = content
        self._downloads = downloads
        self._waiting: queue.Queue[tuple[Upstream, str, str, str]] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        self._threads = 0

    def add(self, upstream: Upstream, repository: str, name: str, digest: str) -> None:
        """The images of the repository that have this layer are to be completed."""
        with suppress(queue.Full):
            self._waiting.put_nowait((upstream, repository, name, digest))
        with self._lock:
            if self._threads < AT_ONCE:
                self._threads += 1
                threading.Thread(target=self._run, name="filling", daemon=True).start()

    def _run(self) -> None:
        while True:
            upstream, repository, name, digest = self._waiting.get()
            try:
                for blobs in self._content.layers_with(repository, digest):
                    for one in blobs:
                        self._fetch(upstream, repository, name, one)
            finally:
                self._waiting.task_done()

    def _fetch(self, upstream: Upstream, repository: str, name: str, digest: str) -> None:
        if self._content.has_blob(repository, digest) or not self._content.may_store():
            return
        self._downloads.wait_for_clients(LONGEST_WAIT)
        download = self._downloads.join(upstream, repository, name, digest)
        with suppress(Failure, NotStored):  # the next pull tries again
            position = 0
            while some := download.available(position):
                position += some
