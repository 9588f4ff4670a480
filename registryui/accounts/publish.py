"""The only writer of the files that nginx reads: today the htpasswd file.

An edit takes the lock, reads what is there, changes one line, writes a temporary file in the same
folder, and renames it over the old one: nginx, which opens the file at every request, sees the old
file or the new one. Hand edits between two of ours are kept. The remaining hole: an editor that
has the file open during our rename writes the old content back; it does not know our lock.
"""

import contextlib
import fcntl
import grp
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings

from . import htpasswd

NGINX_GROUP = "www-data"


def read() -> bytes:
    """What the htpasswd file holds now; b"" if there is none."""
    try:
        return bytes(settings.HTPASSWD_FILE.read_bytes())
    except FileNotFoundError:
        return b""


def names() -> list[str]:
    """The names of the registry users in the file, in its order."""
    return list(htpasswd.parse(read()))


def add_line(name: str, secret: str) -> None:
    """Lets `name` log in to the registry with a *generated* `secret` from the next request on.

    Replaces the secret of a name that is there. ValueError if the name cannot stand in the file.
    """
    line_hash = htpasswd.hash_secret(secret)
    edit(lambda content: htpasswd.put(content, name, line_hash))


def remove_line(name: str) -> None:
    """Ends the logins of `name` from the next request on; nothing if there is no such line."""
    edit(lambda content: htpasswd.take(content, name))


def edit(change: Callable[[bytes], bytes]) -> None:
    """Replaces the content of the htpasswd file by `change(content)`, one edit at a time."""
    with _lock(settings.HTPASSWD_FILE):
        before = read()
        after = change(before)
        if after != before or not settings.HTPASSWD_FILE.exists():
            _replace(settings.HTPASSWD_FILE, after)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    # A file of its own: the htpasswd file itself is another file after each edit. It stays, because
    # removing it would let two edits hold two different locks.
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _give_rights(handle, path)
            file.write(content)
            file.flush()
            os.fsync(handle)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _give_rights(handle: int, path: Path) -> None:
    """Mode and owner of the file that is replaced; a first file gets those nginx can read."""
    try:
        old = path.stat()
    except FileNotFoundError:
        if os.geteuid() == 0 and (group := _nginx_group()) is not None:
            os.fchown(handle, -1, group)
            os.fchmod(handle, 0o640)
        return
    with contextlib.suppress(PermissionError):  # not root: the file was ours, or the group's
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _nginx_group() -> int | None:
    try:
        return grp.getgrnam(NGINX_GROUP).gr_gid
    except KeyError:
        return None


def _sync_folder(folder: Path) -> None:
    # The rename itself survives a power cut only when the folder is on the disk too.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
