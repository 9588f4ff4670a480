"""Writes content into a store past the registry, which refuses an image index without its children.

    StoreWriter ├ LocalWriter    a store on this disk
                └ ObjectWriter   on an object service, through fsspec

Only for content whose digest the caller has verified. A reader finds a complete file or none, also
after a power failure; what is there is replaced by the same content, and nothing is deleted. The
order is the caller's: first a blob, then the link by which a repository has it, then a tag: so
nothing links to what is not there, and garbage collection restores what it took in between.

Used by the mirror service (registryui/mirror_service/) and by the repair of half-written files.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from registryui.files import sync_folder

from . import paths
from .errors import Unreachable
from .files import LocalFiles, shown, unreachable

if TYPE_CHECKING:
    from .objects import ObjectFiles


class StoreWriter(Protocol):
    """Raises Unreachable when the disk or service does not respond, or is full."""

    def put_blob(self, spooled: Path, digest: str) -> None:
        """The content of that file as the data of a blob, by its sha256. The file is used up."""
        ...

    def put_link(self, path: str, digest: str) -> None:
        """A link of paths.py: to that digest."""
        ...


class LocalWriter:
    """A StoreWriter in the folders that `files` reads."""

    def __init__(self, files: LocalFiles, *, change: Callable[..., Any] | None = None) -> None:
        """`change` makes all changes to the disk; tests kill the process there."""
        self._files = files
        self._change = change or _call

    def put_blob(self, spooled: Path, digest: str) -> None:
        """See StoreWriter. Renames the file, or copies it to another file system."""
        path = paths.blob_data(digest)
        try:
            place = self.way(path)
            _sync(spooled)
            try:
                self._change(os.rename, str(spooled), place)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(spooled, place)
            sync_folder(place.rpartition("/")[0])
        except OSError as error:
            raise unreachable(path, error) from error

    def put_link(self, path: str, digest: str) -> None:
        """See StoreWriter."""
        self.write(path, digest.encode())

    def write(self, path: str, content: bytes) -> None:
        """Replaces the content of a file of the store."""
        try:
            place = self.way(path)
            # Beside the store: the registry lists its folders. Parts of a store may be on another
            # file system, and a rename cannot cross those.
            beside = f"{self._files.root}/boathouse"
            self._change(os.makedirs, beside, 0o777, True)
            folder = place.rpartition("/")[0]
            is_here = Path(folder).stat().st_dev == Path(beside).stat().st_dev
            new = Path(f"{beside if is_here else folder}/.{secrets.token_hex(8)}")
            try:
                with new.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                self._change(os.rename, str(new), place)
            finally:
                new.unlink(missing_ok=True)
            sync_folder(folder)
        except OSError as error:
            raise unreachable(path, error) from error

    def way(self, path: str) -> str:
        """Where `path` is on this disk, after creating the folders above it. Unreachable: it lies
        behind a symbolic link that is not followed."""
        base = paths.BLOBS if path.startswith(f"{paths.BLOBS}/") else paths.REPOSITORIES
        with suppress(FileExistsError):  # the first content of a new store
            self._change(os.makedirs, f"{self._files.root}/{base}")
        folder = str(self._files.place(f"{base}/x")).rpartition("/")[0]
        *above, name = path.removeprefix(f"{base}/").split("/")
        for part in above:
            folder = f"{folder}/{part}"
            with suppress(FileExistsError):
                self._change(os.mkdir, folder)
            if not stat.S_ISDIR(os.lstat(folder).st_mode) and not self._files.follows(folder):
                raise Unreachable(f"{shown(path)}: lies behind a symbolic link, or in no folder")
        return f"{folder}/{name}"

    def _copy(self, spooled: Path, place: str) -> None:
        new = Path(f"{place}.{secrets.token_hex(4)}")
        try:
            shutil.copyfile(spooled, new)
            _sync(new)
            self._change(os.rename, str(new), place)
            spooled.unlink()
        finally:
            new.unlink(missing_ok=True)


class ObjectWriter:
    """A StoreWriter in the bucket that `files` reads. A service shows an object when it is
    complete."""

    def __init__(self, files: ObjectFiles) -> None:
        self._files = files

    def put_blob(self, spooled: Path, digest: str) -> None:
        """See StoreWriter."""
        path = paths.blob_data(digest)
        try:
            self._files.system.put_file(str(spooled), f"{self._files.root}/{path}")
            spooled.unlink()
        except Exception as error:  # each driver has its own
            raise self._files.unreachable(path, error) from None

    def put_link(self, path: str, digest: str) -> None:
        """See StoreWriter."""
        try:
            self._files.system.pipe_file(f"{self._files.root}/{path}", digest.encode())
        except Exception as error:  # each driver has its own
            raise self._files.unreachable(path, error) from None


def _call(act: Callable[..., Any], *arguments: Any) -> Any:
    return act(*arguments)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
