"""Files that are put in place at once: a reader, or a power cut, finds the old one or the new one.

Each is written beside its place under another name, and is on the disk before it is renamed. The
files of the registry's store are written by registry/quarantine.py instead.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".new-"  # how a name begins until the file is renamed


def write(path: Path, content: bytes | str, *, mode: int = 0o600) -> None:
    """Puts `content` at `path`, whatever the umask; at no moment is it more open than `mode`."""
    with written_beside(path, content, lambda handle: os.fchmod(handle, mode)) as new:
        new.rename(path)
    sync_folder(path.parent)


@contextmanager
def written_beside(
    path: Path, content: bytes | str, give_rights: Callable[[int], None] | None = None
) -> Iterator[Path]:
    """A file in the folder of `path` with that content, gone afterwards if it was not renamed.

    Only its owner can read it; `give_rights` may open it further and gets it while it is empty.
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
    """A rename survives a power cut only when its folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
