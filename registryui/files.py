"""Atomic file writes: a reader finds the old file or the new one, also after a power failure.

A temporary file in the same folder is synced to the disk, then renamed. Files of the registry's
store are written by registry/store_writer.py instead.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".new-"  # how a name begins until the file is renamed


def write(path: Path, content: bytes | str, *, mode: int = 0o600) -> None:
    """Writes `content` to `path`, whatever the umask; its mode is never more open than `mode`."""
    with written_beside(path, content, lambda handle: os.fchmod(handle, mode)) as new:
        new.rename(path)
    sync_folder(path.parent)


@contextmanager
def written_beside(
    path: Path, content: bytes | str, give_rights: Callable[[int], None] | None = None
) -> Iterator[Path]:
    """A file in the folder of `path` with that content, removed afterwards if it was not renamed.

    Only its owner can read it; `give_rights` may change that and gets it while it is empty.
    """
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if give_rights:
                give_rights(handle)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(handle)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def sync_folder(folder: Path | str) -> None:
    """A rename survives a power failure only after its folder is synced."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
