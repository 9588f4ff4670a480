"""The only writer of the files that nginx reads: the print-out of the tables of registry users.

    DATA/htpasswd       who: one line a user who may log in now, and every line that is not ours
    DATA/htpasswd.old   who, with the secret before a rotation, while that works too
    DATA/rights/…       what: see rights.py

nginx opens them at every request, so a change counts from the next request on, without a reload.
`write` takes the lock, reads what is there, changes the lines of some users, writes a temporary
file in the same folder, and renames it over the old one: nginx sees the old file or the new one.
Markers are added before the line is written and taken away after it, so that in no moment somebody
may do more than either state allows.

A row says first what is wanted, with `is_pending`; then the files are written; then the row notes
what was `published`. Whoever dies in between leaves a pending row, and `catch_up` finishes it.
The remaining hole: an editor that has the file open during our rename writes the old content back;
it does not know our lock. `drift.py` sees that.
"""

import contextlib
import fcntl
import grp
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from registryui import front_door
from registryui.models import UNKNOWN, RegistryUser, State

from . import htpasswd, rights

log = logging.getLogger(__name__)

NGINX_GROUP = "www-data"
VERSIONS = 20  # of the file that are kept
OPEN = ("base", "search", "other")  # endpoints of the front door that every user may use
_ENDPOINTS = "@open"  # the folder that says so; no user is called that


@dataclass(frozen=True, slots=True)
class Proof:
    """What a real login at the front door said after a change was written."""

    is_proved: bool
    seconds: float = 0.0
    reason: str = ""  # why not, in a few words of the program that failed


# -- reading -------------------------------------------------------------------------------------
def read() -> bytes:
    """What the htpasswd file holds now; b"" if there is none."""
    try:
        return bytes(settings.HTPASSWD_FILE.read_bytes())
    except FileNotFoundError:
        return b""


def lines() -> dict[str, str]:
    """Name to hash of every user in the file, ours or not, in its order; not our canary."""
    found = htpasswd.parse(read())
    found.pop(htpasswd.CANARY, None)
    return found


def is_as_written() -> bool:
    """True if nobody but us has touched the file since it last agreed with the tables."""
    try:
        return bool(json.loads(_mark().read_text()) == _stamp())
    except (OSError, ValueError):
        return False


# -- writing -------------------------------------------------------------------------------------
def write(pks: Collection[int]) -> str:
    """Makes the files say what the rows of these users say; the secret of this write's canary.

    Their lines are replaced whatever stands there; all others are kept. A file that is gone is
    written whole, or one user's change would be the end of all others. Raises OSError if that
    cannot be done (disk full, no right): the htpasswd file is then as it was.
    """
    with _lock():
        # Read under the lock: of two writers the later one has the later rows.
        found = RegistryUser.objects.filter(pk__in=pks)
        if not settings.HTPASSWD_FILE.exists():
            found = RegistryUser.objects.all()
        rows = list(found.prefetch_related("rights"))
        canary = htpasswd.new_secret()
        wanted = {row.name: row.wanted for row in rows}
        for row in rows:
            _add_markers(row)
        _replace_htpasswd(wanted | {htpasswd.CANARY: htpasswd.hash_secret(canary)})
        _write_overlap()
        for row in rows:
            _take_markers(row)
        for row in rows:
            row.published, row.is_pending = wanted[row.name], False
        RegistryUser.objects.bulk_update(rows, ["published", "is_pending"], batch_size=500)
    return canary


def prove(canary: str) -> Proof:
    """Logs in at the front door with the canary that `write` returned."""
    header = front_door.basic(htpasswd.CANARY, canary)
    try:
        answer = front_door.ask("/v2/", header)
    except Exception as error:  # not up, no certificate yet: the file is written all the same
        return Proof(False, reason=f"{type(error).__name__}: {error}"[:200])
    if answer.status == 200:
        return Proof(True, answer.seconds)
    now = htpasswd.parse(read()).get(htpasswd.CANARY, "")
    if answer.status == 401 and now and not htpasswd.verify(now, canary):
        # Another change was written meanwhile, on top of ours, and has a canary of its own.
        return Proof(True, answer.seconds)
    return Proof(False, answer.seconds, f"/v2/ answers {answer.status}, not 200")


def catch_up() -> int:
    """Finishes what a crash, a full disk or a passing hour left undone; returns how many users."""
    late = list(_late().values_list("pk", flat=True))
    if late:
        write(late)
        log.info("registry users: %d written late", len(late))
    past = RegistryUser.objects.filter(old_until__lte=timezone.now()).exclude(old_hash="")
    if ended := past.update(old_hash="", old_until=UNKNOWN):
        with _lock():
            _write_overlap()
    return len(late) + ended


def next_ends(within: timedelta) -> list[datetime]:
    """When, from now on, access or an old secret ends by itself, in order."""
    now = timezone.now()
    ends = RegistryUser.objects.filter(expires_at__range=(now, now + within))
    old = RegistryUser.objects.filter(old_until__range=(now, now + within))
    return sorted(
        {*ends.values_list("expires_at", flat=True), *old.values_list("old_until", flat=True)}
    )


def _late() -> QuerySet[RegistryUser]:
    """Users whose line is not what it must be: pending, or ended by the clock."""
    expired = Q(expires_at__lte=timezone.now()) & ~Q(published="")
    return RegistryUser.objects.filter(Q(is_pending=True) | expired)


def write_all() -> str:
    """All files anew from the tables, the way back when they were lost; the canary as `write`.

    Lines that are not ours are kept. Raises OSError as `write`.
    """
    prepare()
    return write(list(RegistryUser.objects.values_list("pk", flat=True)))


def late_names() -> list[str]:
    """Users whom the files contradict: a write failed, or their end was a while ago."""
    while_ago = timezone.now() - timedelta(minutes=2)  # the worker looks each minute
    ended = Q(expires_at__lte=while_ago) & ~Q(published="")
    late = RegistryUser.objects.filter(Q(is_pending=True) | ended)
    return list(late.order_by("name").values_list("name", flat=True))


def names_without_markers() -> list[str]:
    """Users who may do something, and have no folder that says so to nginx."""
    try:
        there = {folder.name for folder in settings.RIGHTS_DIR.iterdir()}
    except OSError:
        there = set()
    users = RegistryUser.objects.in_state(State.ACTIVE).exclude(rights=None)
    names = users.order_by("name").values_list("name", flat=True).distinct()
    return [name for name in names if name not in there]


def open_marker(endpoint: str) -> Path:
    """The file that says that every user may use that endpoint (one of OPEN)."""
    return Path(settings.RIGHTS_DIR / _ENDPOINTS / endpoint)


def prepare() -> None:
    """Makes what nginx needs to be there: the folders' markers, and a file of old secrets.

    Writes every user's rights anew, so that a folder that was lost or restored says the truth,
    and lets nginx read what it has to. Raises OSError as `write`.
    """
    with _lock():
        # The tables may be others than those the file agreed with: an older database came back.
        _mark().unlink(missing_ok=True)
        _open_rights()
        for name in OPEN:
            _touch(open_marker(name))
        rows = list(RegistryUser.objects.prefetch_related("rights"))
        for row in rows:
            _add_markers(row)
            _take_markers(row)
        known = {row.name for row in rows} | {_ENDPOINTS}
        for folder in settings.RIGHTS_DIR.iterdir():
            if folder.name not in known:  # of a user that an older database does not have
                shutil.rmtree(folder)
        _write_overlap()
        for path in (settings.HTPASSWD_FILE, settings.OVERLAP_FILE):
            let_nginx_read(path)


def let_nginx_read(path: Path) -> None:
    """Opens that file for nginx's workers, and for nobody else, if a restored or copied one is
    closed to them. OSError if it belongs to somebody else."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(found.st_mode)
    group = _nginx_group() if os.geteuid() == 0 else None
    if group is None:  # nginx runs as we do
        if found.st_uid == os.geteuid() and not mode & stat.S_IRUSR:
            path.chmod(mode | stat.S_IRUSR)
    elif not mode & stat.S_IROTH and not (found.st_gid == group and mode & stat.S_IRGRP):
        os.chown(path, -1, group)
        path.chmod(mode | stat.S_IRUSR | stat.S_IRGRP)


def _open_rights() -> None:
    """nginx's own user passes every folder of rights and reads every marker, which it serves to
    itself: those that a backup brought back may be closed to it."""
    top = settings.RIGHTS_DIR
    if not top.exists():
        top.mkdir()
        top.chmod(0o711)
    _let_others(top, 0o711)
    for place, folders, files in os.walk(top):
        for name in folders:  # before the walk goes down there
            _let_others(Path(place, name), 0o711)
        for name in files:
            _let_others(Path(place, name), 0o644)


def _let_others(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) & mode != mode:
        path.chmod(mode)


def forget_rights(name: str) -> None:
    """Takes away the markers of somebody who did not become a user after all: a line made by hand
    must not find them."""
    with _lock():
        folder = _folder(name)
        if folder is not None and not RegistryUser.objects.filter(name=name).exists():
            shutil.rmtree(folder, ignore_errors=True)


def put_version(path: Path) -> None:
    """Puts that version in place of the whole file; what is there now is kept. OSError as `write`.

    The tables have to follow (`drift.take_over`).
    """
    with _lock():
        content = path.read_bytes()
        _keep_version(read(), content)
        _put(settings.HTPASSWD_FILE, content)


def take(names: Collection[str]) -> None:
    """Takes lines out that belong to no row. OSError as `write`."""
    with _lock():
        _replace_htpasswd(dict.fromkeys(names, ""))


def remember() -> None:
    """Notes that the file, as it is now, agrees with the tables or was let be."""
    with contextlib.suppress(OSError):
        _put(_mark(), json.dumps(_stamp()).encode(), mode=0o600)


# -- the htpasswd file ---------------------------------------------------------------------------
def _replace_htpasswd(wanted: dict[str, str]) -> None:
    before = read()
    was_as_written = not settings.HTPASSWD_FILE.exists() or is_as_written()
    after = htpasswd.change(before, wanted)
    _keep_version(before, after)
    _put(settings.HTPASSWD_FILE, after)
    if was_as_written:  # else a hand edit, which nobody has seen yet, would be forgotten
        remember()


def _write_overlap() -> None:
    rows = RegistryUser.objects.filter(old_until__gt=timezone.now()).exclude(old_hash="")
    content = htpasswd.change(b"", {row.name: row.wanted_old for row in rows})
    path = settings.OVERLAP_FILE
    if not path.exists() or path.read_bytes() != content:
        _put(path, content)


def _mark() -> Path:
    return Path(settings.HTPASSWD_FILE.with_name(f".{settings.HTPASSWD_FILE.name}.written"))


def _stamp() -> list[int]:
    found = settings.HTPASSWD_FILE.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    # A file of its own: the htpasswd file itself is another file after each edit. It stays, because
    # removing it would let two edits hold two different locks.
    path = settings.HTPASSWD_FILE
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _put(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """At once: a reader sees the old file or the new one. `mode` None: as nginx can read it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is None:
                _give_rights(handle, path)
            else:
                os.fchmod(handle, mode)
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


# -- versions ------------------------------------------------------------------------------------
def versions() -> list[Path]:
    """What the file was before each of its last changes, the newest first."""
    try:
        found = [path for path in settings.VERSIONS_DIR.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(found, reverse=True)


def version_time(path: Path) -> datetime:
    """When that version was replaced."""
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)


def _keep_version(before: bytes, after: bytes) -> None:
    no_canary = {htpasswd.CANARY: ""}
    if not before or htpasswd.change(before, no_canary) == htpasswd.change(after, no_canary):
        return
    settings.VERSIONS_DIR.mkdir(mode=0o700, exist_ok=True)
    _put(settings.VERSIONS_DIR / f"{time.time_ns():020}", before, mode=0o600)
    for old in versions()[VERSIONS:]:
        old.unlink(missing_ok=True)


# -- rights --------------------------------------------------------------------------------------
def _wanted_markers(row: RegistryUser) -> set[str]:
    pairs = ((one.action, one.scope) for one in row.rights.all())
    return set(rights.markers(pairs)) if row.wanted else set()


def _add_markers(row: RegistryUser) -> None:
    folder = _folder(row.name)
    if folder is not None:
        for marker in _wanted_markers(row):
            _touch(folder / marker)


def _take_markers(row: RegistryUser) -> None:
    folder = _folder(row.name)
    if folder is None or not folder.exists():
        return
    wanted = {folder / marker for marker in _wanted_markers(row)}
    for place, _folders, files in os.walk(folder, topdown=False):
        for name in files:
            if Path(place, name) not in wanted:
                Path(place, name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: something in it is wanted
            Path(place).rmdir()


def read_rights() -> dict[str, rights.Rights]:
    """What the markers say, by the name of the user: rights that outlive a lost database."""
    try:
        folders = [one for one in settings.RIGHTS_DIR.iterdir() if rights.can_have(one.name)]
    except FileNotFoundError:
        return {}
    return {
        folder.name: rights.from_markers(
            str(path.relative_to(folder)) for path in folder.rglob("@*") if path.is_file()
        )
        for folder in folders
    }


def _folder(name: str) -> Path | None:
    """Where the markers of that user lie; None for a name that is no name of a folder."""
    return Path(settings.RIGHTS_DIR / name) if rights.can_have(name) else None


def _touch(path: Path) -> None:
    """An empty file that nginx can read, and its folders, which it can pass but not list."""
    if path.exists():
        return
    missing = [place for place in (*reversed(path.parents),) if not place.exists()]
    for place in missing:
        place.mkdir(exist_ok=True)
        place.chmod(0o711)
    path.touch()
    path.chmod(0o644)
