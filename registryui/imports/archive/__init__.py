"""Archives of images as a source of an import: what `docker save`, podman and skopeo write.

    a file ─ compression.py ─ tar.py ┐            ┌ OciLayout   index.json: every byte is kept
                     a folder ───────┴─ box.py ───┴ DockerSave  manifest.json: layers are compressed

Whoever wrote an archive is a stranger: sizes, names and depths are limited, nothing is unpacked to
a name that it gives, and nothing is tagged before its digest is checked. Memory does not grow with
the archive's size.
"""

from __future__ import annotations

import heapq
import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from django.conf import settings
from django.utils.translation import gettext as _

from registryui import locks
from registryui.imports.source import Found, Target
from registryui.refused import Refused
from registryui.registry.source import Stored

from . import compression, tar
from .box import PIECE, Box, FolderBox, TarBox
from .docker_save import MANIFEST, DockerSave
from .naming import Name, wanted
from .oci_layout import OciLayout, blob_place

__all__ = [
    "Archives",
    "Name",
    "check_beginning",
    "layout_blobs",
    "open_archives",
    "remove_left",
    "wanted",
]

STDIN = "-"
UNPACKED = "unpacked-"  # begins the names of folders with what is unpacked
SKOPEO_DIR = "version"  # beside a manifest.json of another kind
OLDEST = "repositories"  # Docker before 1.10: no manifest.json


@contextmanager
def open_archives(places: Sequence[Path], *, name: Name) -> Iterator[Archives]:
    """These files and folders as one source. Refused: one of them is no archive of images."""
    with Archives(places, name=name) as found:
        found.open()
        yield found


class Archives:
    """A Source of several archives, to be used in a `with`. Compressed ones are unpacked into the
    data folder when they are opened. A key of theirs gets the number of its source in front."""

    def __init__(self, places: Sequence[Path], *, name: Name) -> None:
        self.name = ", ".join("stdin" if str(one) == STDIN else one.name for one in places)
        self._places, self._wanted = places, name
        self._sources: list[OciLayout | DockerSave] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def open(self) -> None:
        """Opens all of them. Refused: one of them is no archive of images."""
        for place in self._places:
            source = _source(self._stack.enter_context(_box(place)), self._wanted)
            self._sources.append(source)

    def survey(self) -> Iterator[Found]:
        """See Source. Opens them if that was not done: unpacking may take minutes."""
        if not self._sources:
            self.open()
        each = [self._marked(number, one.survey()) for number, one in enumerate(self._sources)]
        return heapq.merge(*each, key=lambda found: (found.repository, found.tag))

    def digest(self, found: Found) -> str:
        """See Source."""
        source, own = self._own(found)
        return source.digest(own)

    def copy(self, found: Found, target: Target) -> Stored:
        """See Source."""
        source, own = self._own(found)
        return source.copy(own, target)

    def referrers(self, found: Found, digest: str) -> Iterator[Found]:
        """See Source."""
        source, own = self._own(found)
        return self._marked(self._sources.index(source), source.referrers(own, digest))

    def _marked(self, number: int, every: Iterable[Found]) -> Iterator[Found]:
        for found in every:
            yield replace(found, key=f"{number} {found.key}")

    def _own(self, found: Found) -> tuple[OciLayout | DockerSave, Found]:
        number, _blank, key = found.key.partition(" ")
        return self._sources[int(number)], replace(found, key=key)


def check_beginning(head: bytes) -> None:
    """Refused: no archive of images begins with these bytes (512, if it has so many)."""
    if not compression.kind(head) and not tar.is_tar(head):
        raise _no_archive()


@contextmanager
def spool_folder() -> Iterator[Path]:
    """A folder for what is unpacked, removed afterwards; `remove_left` removes it after a kill."""
    settings.IMPORTS_DIR.mkdir(mode=0o700, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=UNPACKED, dir=settings.IMPORTS_DIR))
    try:
        with _handle_of(folder) as handle:
            locks.take(handle)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left() -> None:
    """Removes what processes have unpacked that were killed."""
    for folder in settings.IMPORTS_DIR.glob(f"{UNPACKED}*"):
        with suppress(OSError), _handle_of(folder) as handle:
            locks.take(handle, seconds=0)  # TimeoutError: it is in use
            shutil.rmtree(folder)


@contextmanager
def _handle_of(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def layout_blobs(place: Path) -> Iterator[Callable[[str], bool]]:
    """Whether that archive or folder has a blob, by its digest. Refused: it is no OCI layout."""
    with _box(place) as box:
        if box.size("index.json") is None:
            raise Refused(
                _("%(name)s is not an OCI archive: --since needs one of ./boathouse export.")
                % {"name": place.name}
            )
        yield lambda digest: box.size(blob_place(digest)) is not None


@contextmanager
def _box(place: Path) -> Iterator[Box]:
    if str(place) != STDIN:
        _check(place)
    if place.is_dir():
        yield FolderBox(place)
    else:
        with _uncompressed(place) as handle:
            yield TarBox(handle)


def _check(place: Path) -> None:
    """Refused: it does not exist, or this user may not read it."""
    try:
        if not place.exists():
            raise Refused(_("%(name)s does not exist.") % {"name": place})
        if not place.is_dir():
            place.open("rb").close()
    except PermissionError as error:
        raise Refused(
            _(
                "%(name)s cannot be read by the user %(user)s, as which this runs: "
                "./boathouse import archive - < FILE"
            )
            % {"name": place, "user": pwd.getpwuid(os.geteuid()).pw_name}
        ) from error


@contextmanager
def _uncompressed(place: Path) -> Iterator[int]:
    """A handle of that file, or of one with its content if it is compressed, or a pipe."""
    with ExitStack() as stack:
        is_stdin = str(place) == STDIN
        file = os.fdopen(sys.stdin.fileno(), "rb", closefd=False) if is_stdin else place.open("rb")
        stack.enter_context(file)
        head = file.peek(compression.HEAD)
        check_beginning(head)
        how = compression.kind(head)
        if not how and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield file.fileno()
            return
        unpacked = stack.enter_context(spool_folder()) / "archive.tar"
        pieces = compression.unpacked(file, how) if how else iter(partial(file.read, PIECE), b"")
        compression.spool(pieces, unpacked)
        yield stack.enter_context(unpacked.open("rb")).fileno()


def _source(box: Box, name: Name) -> OciLayout | DockerSave:
    if box.size("index.json") is not None:
        return OciLayout(box, name)
    if box.size(SKOPEO_DIR) is not None and box.size(MANIFEST) is not None:
        raise Refused(
            _("This is a folder of skopeo's dir:, copy it first: skopeo copy dir:… oci-archive:…")
        )
    if box.size(MANIFEST) is not None:
        return DockerSave(box, name)
    if box.size(OLDEST) is not None:
        raise Refused(
            _(
                "This archive was written by Docker before 1.10: load it into a newer Docker, and "
                "save it again."
            )
        )
    raise _no_archive()


def _no_archive() -> Refused:
    return Refused(
        _(
            "This is not an archive of images: docker save, podman save and skopeo write one, with "
            "an index.json or manifest.json."
        )
    )
