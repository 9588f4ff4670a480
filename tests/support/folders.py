"""Folders of the tests: all below that of the run, so that leftovers are found.

The paths are short, because that of a socket has at most 107 bytes, and nginx's workers can access
them, unlike pytest's own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Set by tests/run.py; pytest alone has the usual places.
RUN = Path(os.environ.get("BOATHOUSE_TEST_FOLDER", "/tmp"))


@contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A new folder that every user may enter, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"boathouse-{name}-", dir=RUN))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def other_disk(root: Path) -> Iterator[Path]:
    """A new folder on another file system than `root`, removed afterwards."""
    places = [Path(place) for place in ("/dev/shm", "/var/tmp", "/run")]
    there = next(one for one in places if one.stat().st_dev != root.stat().st_dev)
    folder = Path(tempfile.mkdtemp(prefix="boathouse-disk-", dir=there))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
