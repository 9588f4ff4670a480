"""Archives that browsers send, in pieces that can be resumed, until they are imported or forgotten.

    DATA/imports/upload-ID/
      about.json    name, size, who, and what tells the same file again
      archive       as much as has arrived: its size is the place to go on from

A folder is kept until all of its tags are here, an administrator removes it, or nothing arrived for
as long as the registry keeps the rest of an interrupted push.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from registryui import files, locks
from registryui.models import Run
from registryui.refused import Refused

from . import archive
from . import run as importing
from .archive import compression, tar
from .archive.compression import Readable
from .run import Result
from .source import Options

PREFIX = "upload-"
PIECE = 1024 * 1024  # bytes written at once
MOST = 50  # at the same time
NAME_LIMIT = 200
_LOCK_SECONDS = 2.0  # until another piece of the same archive is refused


class OutOfPlace(Exception):
    """A piece begins at another place than where the archive ends: `.offset`."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the archive has {offset} bytes")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Upload:
    """An archive on its way, or complete."""

    id: str
    name: str  # of the file, as the browser says
    size: int  # bytes, as the browser says; 0: not known before the end
    stamp: str  # its modification time, as the browser says
    by: str

    @property
    def place(self) -> Path:
        """The file with what has arrived."""
        return _folder(self.id) / "archive"

    @property
    def offset(self) -> int:
        """Bytes that have arrived."""
        with suppress(OSError):
            return self.place.stat().st_size
        return 0

    @property
    def is_complete(self) -> bool:
        """Whether all of it is here."""
        return self.size > 0 and self.offset == self.size

    @property
    def share(self) -> float:
        """0–100: how far it is."""
        return round(100 * self.offset / self.size, 1) if self.size else 0.0

    @property
    def changed_at(self) -> float:
        """When the last piece arrived, in seconds since 1970."""
        with suppress(OSError):
            return self.place.stat().st_mtime
        return 0.0


# -- all -------------------------------------------------------------------------------------------
def uploads() -> list[Upload]:
    """All that are here, the newest first."""
    found = (find(one.name.removeprefix(PREFIX)) for one in _every())
    return sorted(filter(None, found), key=lambda one: one.changed_at, reverse=True)


def find(id: str) -> Upload | None:
    """That one; None: there is none of that id."""
    if not id.isalnum() or not id.isascii():
        return None
    try:
        told = json.loads((_folder(id) / "about.json").read_text())
        return Upload(id, str(told["name"]), int(told["size"]), str(told["stamp"]), str(told["by"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def begin(name: str, size: int, stamp: str, *, by: str) -> Upload:
    """A new one, or the one of the same file that was interrupted. Refused: there is no space."""
    for one in uploads():
        if size and (one.name, one.size, one.stamp, one.by) == (name, size, stamp, by):
            return one
    if len(_every()) >= MOST:
        raise Refused(
            _("There are %(count)d uploaded archives already: import or remove some.")
            % {"count": MOST}
        )
    settings.IMPORTS_DIR.mkdir(mode=0o700, exist_ok=True)
    compression.need_space(settings.IMPORTS_DIR, size)
    made = Upload(secrets.token_hex(8), name[:NAME_LIMIT], size, stamp[:64], by)
    folder = _folder(made.id)
    folder.mkdir(mode=0o700)
    made.place.touch(mode=0o600)
    _describe(made)
    return made


def remove(upload: Upload) -> None:
    """Removes it with all that has arrived. Refused: it is being imported."""
    if _is_in_use(upload):
        raise Refused(_("It is being imported: stop the import first."))
    shutil.rmtree(_folder(upload.id), ignore_errors=True)


def remove_abandoned() -> None:
    """Removes what nothing arrived of for a long time, and what killed processes have left."""
    archive.remove_left()
    for folder in _every():
        upload = find(folder.name.removeprefix(PREFIX))
        changed_at = upload.changed_at if upload else folder.stat().st_mtime
        if time.time() - changed_at > settings.UPLOAD_TIME.total_seconds() and not (
            upload and _is_in_use(upload)
        ):
            shutil.rmtree(folder, ignore_errors=True)


# -- pieces ----------------------------------------------------------------------------------------
def append(upload: Upload, offset: int, body: Readable) -> int:
    """Adds a piece that begins at `offset`; how many bytes have arrived now, also if the sender
    went away meanwhile. OutOfPlace. Refused: it is no archive of images, which removes it, or there
    is too little space."""
    with _writer(upload, offset) as write:
        for piece in _pieces(body):
            write(piece)
    return upload.offset


def _pieces(body: Readable) -> Iterator[bytes]:
    """Until the end, or until the sender went away: what came is kept."""
    with suppress(OSError):
        while piece := body.read(PIECE):
            yield piece


@contextmanager
def _writer(upload: Upload, offset: int) -> Iterator[Any]:
    """Writes at the end of an archive, alone; what was written is checked afterwards."""
    with ExitStack() as stack:
        file = stack.enter_context(upload.place.open("r+b"))
        try:
            locks.take(file.fileno(), seconds=_LOCK_SECONDS)
        except TimeoutError:
            raise Refused(_("Another piece of this archive is arriving.")) from None
        if file.seek(0, os.SEEK_END) != offset:
            raise OutOfPlace(file.tell())

        def write(piece: bytes) -> None:
            if upload.size and file.tell() + len(piece) > upload.size:
                raise Refused(_("More arrived than the file has: choose it again."))
            compression.need_space(upload.place.parent, len(piece))
            file.write(piece)

        yield write
        file.flush()
        _check(upload, file.fileno())


def _check(upload: Upload, handle: int) -> None:
    """Whether what has arrived can be an archive of images. Refused: it is removed."""
    arrived = os.fstat(handle).st_size
    head = os.pread(handle, compression.HEAD, 0)
    if len(head) < compression.HEAD and arrived != upload.size:
        return
    try:
        archive.check_beginning(head)
        if not compression.kind(head):
            tar.check(handle, upload.size or arrived, arrived=arrived)
    except Refused:
        shutil.rmtree(_folder(upload.id), ignore_errors=True)
        raise


class FormUpload:
    """An archive that arrives in one form, of a size that is known at its end."""

    def __init__(self, name: str, *, by: str) -> None:
        """Refused as `begin`."""
        self._stack = ExitStack()
        self.upload = begin(name, 0, "", by=by)
        self._write = self._stack.enter_context(_writer(self.upload, 0))
        self._has_begun = False

    def write(self, piece: bytes) -> None:
        """Adds to it. Refused: it is no archive of images, or there is too little space."""
        if not self._has_begun and len(piece) >= compression.HEAD:
            archive.check_beginning(piece[: compression.HEAD])
        self._has_begun = True
        self._write(piece)

    def done(self) -> Upload:
        """All of it is here. Refused: it is no archive of images."""
        self._stack.close()
        upload = replace(self.upload, size=self.upload.offset)
        if not upload.size:
            raise Refused(_("The file is empty."))
        _describe(upload)
        return upload

    def give_up(self) -> None:
        """Nothing of it is kept."""
        with suppress(Refused):
            self._stack.close()
        shutil.rmtree(_folder(self.upload.id), ignore_errors=True)


# -- import ----------------------------------------------------------------------------------------
def begin_import(upload: Upload, name: str, options: Options, *, by: str) -> Run:
    """A running Run for `carry_out`. Refused: the name is none, or nothing can be imported now."""
    if not upload.is_complete:
        raise Refused(_("The archive is not complete yet: choose the same file to continue."))
    if name:
        archive.wanted(name)
    about = {"upload": upload.id, "name": name, **asdict(options)}
    return importing.begin("archive", upload.name, options, by=by, about=about)


def carry_out(run: Run) -> None:
    """Imports it; a refusal is the run's result. Once all of its tags are here, it is removed."""
    told = Result.of(run).about
    upload = find(str(told["upload"]))
    options = Options(**{name: told[name] for name in ("namespace", "rate", "replace", "dry_run")})
    name = archive.wanted(told["name"]) if told["name"] else archive.Name()
    place = upload.place if upload else Path(_("The uploaded archive"))
    with archive.Archives([place], name=name) as source:
        source.name = Result.of(run).source
        importing.carry_out(run, source, options)
    result = Result.of(run)
    is_all_here = run.state == Run.State.DONE and not (result.skipped or options.dry_run)
    if upload and is_all_here:
        shutil.rmtree(_folder(upload.id), ignore_errors=True)


def _is_in_use(upload: Upload) -> bool:
    running = Run.objects.filter(kind=Run.Kind.IMPORT, state=Run.State.RUNNING)
    return any(Result.of(one).about.get("upload") == upload.id for one in running)


# -- files -----------------------------------------------------------------------------------------
def _describe(upload: Upload) -> None:
    told = {name: value for name, value in asdict(upload).items() if name != "id"}
    files.write(_folder(upload.id) / "about.json", json.dumps(told))


def _folder(id: str) -> Path:
    return Path(settings.IMPORTS_DIR / f"{PREFIX}{id}")


def _every() -> list[Path]:
    return list(settings.IMPORTS_DIR.glob(f"{PREFIX}*"))
