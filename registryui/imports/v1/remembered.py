"""Layers that were converted once: a file, so that a later run need not read them again.

A line is JSON: the image and its checksum, and what its layer became. It is only believed where
the registry has the blob. A line that a crash cut off is skipped.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from registryui.oci.digest import is_digest

from .convert import Layer

_LINE_LIMIT = 4096  # bytes


class Remembered:
    """The layers in that file. Its methods may be called by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._layers: dict[str, Layer] = {}
        if path.exists():
            with path.open("rb") as file:
                while line := file.readline(_LINE_LIMIT):
                    self._take(line)

    def get(self, key: str) -> Layer | None:
        """What the layer with that key became; None: not known."""
        return self._layers.get(key)

    def add(self, key: str, layer: Layer) -> None:
        """Keeps it. The registry has its blob."""
        facts = [key, layer.diff_id, layer.digest, layer.size]
        line = f"\n{json.dumps(facts)}\n".encode()  # the line before may have been cut off
        with self._lock:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            with os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(line)
            self._layers[key] = layer

    def _take(self, line: bytes) -> None:
        try:
            key, diff_id, digest, size = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            return
        if not all(isinstance(one, str) for one in (key, diff_id, digest)):
            return
        is_empty = not diff_id and not digest
        if isinstance(size, int) and (is_empty or (is_digest(diff_id) and is_digest(digest))):
            self._layers[key] = Layer(diff_id, digest, size)
