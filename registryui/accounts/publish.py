"""The only writer of the files that nginx reads: the print-out of the tables of registry users.

    DATA/htpasswd       who: one line a user who may log in now, and every line that is not ours
    DATA/htpasswd.old   who, with the secret before a rotation, while that works too
    DATA/rights/…       what: see rights.py
    DATA/run/logins/quick, slow   whose hash nginx may compute itself, and whose takes long

nginx opens them at every request, so a change counts from the next request on, without a reload.
`write` takes the lock, reads what is there, changes the lines of some users, writes temporary files
in the same folder, and renames them over the old ones: nginx sees an old file or a new one.
What gives somebody more comes before the line is written, and what takes it away after it: markers,
and an old secret that is to work beside the new one. Only who has no line has his markers taken
first, so that none that a crash has left ever counts.

A row says first what is wanted, with a new `generation`; then the files are written; then a row of
Published notes which generation they say. Whoever dies in between leaves the two different, and
`catch_up` finishes it. So does a row that was changed again while it was written. Each host has
files and rows of Published of its own: to the others a change is one that is late, and their
workers look four times a second. Locks are taken in one order, first the files', then the
database's: nothing here may be called inside a transaction.
The remaining hole: somebody who edits the file by hand does not know our lock. What he saves in the
few milliseconds between our reading and our rename is lost; what he saves later over ours, from an
older reading, `drift.py` sees.
"""

import contextlib
import grp
import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from registryui import files, locks, proxy
from registryui.models import (
    UNKNOWN,
    LineLeftAlone,
    Published,
    RegistryUser,
    Right,
    State,
    here,
)
from registryui.models.registry_user import RegistryUserQuerySet

from . import htpasswd, rights

log = logging.getLogger(__name__)

NGINX_GROUP = "www-data"
VERSIONS = 20  # of the file that are kept
# A replaced secret's hash stays in its row so long after its end: a clock that was ahead may be set
# back, and then the secret has time left.
REMEMBERED = timedelta(days=30)
BULK = 500  # names: then all are asked for, because SQLite's statements have an end
OPEN = ("base", "search", "other")  # endpoints of the front door that every user may use
# Folders beside those of users; no user's name begins so.
_ENDPOINTS = "@open"
_ANONYMOUS = "@anonymous"  # what may be pulled without a login: settings.ANONYMOUS_PULL
_last_marked: list[int] = []  # the stamp of the file whose lines `_mark_costs` last saw
_Step = tuple[Path, bytes, bool]  # a file's place, its content, whether nginx is to read it


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
        return bool(json.loads(_mark().read_text()) == stamp())
    except (OSError, ValueError):
        return False


# -- writing -------------------------------------------------------------------------------------
def write(
    pks: Collection[int],
    *,
    without: Collection[str] = (),
    instead: bytes | None = None,
    undo: Callable[[], None] = lambda: None,
) -> str:
    """Makes the files say what the rows of these users say; the secret of this write's canary.

    Their lines are replaced whatever stands there; lines of the names `without`, which no row has,
    go; all others are kept. A file that is gone is written whole, or one user's change would be the
    end of all others. `instead`: what to begin with in place of the file as it is.
    Raises OSError if that cannot be done (disk full, no right): the files are then as they were,
    and `undo` has put the rows back before another writer could print them.
    """
    names: list[str] = []
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock())
            # Read under the lock: of two writers the later one has the later rows.
            is_gone = instead is None and not settings.HTPASSWD_FILE.exists()
            rows = list(_all_rows()) if is_gone else _rows(pks)
            names += [row.name for row in rows]
            return _print(rows, _without_row(without), instead)
        except OSError:
            undo()
            if names:
                _print_again(names)
            raise


def _without_row(names: Collection[str]) -> set[str]:
    """Those of the names that no row has: one may have been made again before we got the lock."""
    if not names:
        return set()
    found = RegistryUser.objects.filter(name__in=_askable(names)).values_list("name", flat=True)
    return set(names) - set(found)


def _print(rows: Sequence[RegistryUser], gone: Collection[str], instead: bytes | None) -> str:
    """Takes the steps of a write in an order in which a death after any of them gives nobody more
    than they have or are to have (see above). `gone`: names whose lines go."""
    canary = htpasswd.new_secret()
    wanted = {row.name: row.wanted for row in rows}
    noted = published(wanted)
    known = {name for name, one in noted.items() if one.line_hash and one.generation}
    with_line = [row for row in rows if row.name in known]
    without_line = [row for row in rows if row.name not in known]
    lines = {**dict.fromkeys(gone, ""), **wanted, htpasswd.CANARY: htpasswd.hash_secret(canary)}
    announced = {row.name: wanted[row.name] for row in without_line if wanted[row.name]}
    _announce(announced)
    before = read() if settings.HTPASSWD_FILE.exists() else None
    try:
        _add_markers(*rows)  # what gives more, before the line
        _take_markers(*without_line)  # none that a crash has left counts with a new line
        _replace({row.name: row.wanted_old for row in with_line}, lines, instead)
        _take_markers(*rows)  # what takes away, after it
        _mark_costs_of(rows, lines)
        _take_folders(*gone)
    except OSError:
        if _restore_content(before):
            _retract(announced, noted)
        raise
    _note(rows, wanted, gone)
    return canary


def _announce(lines: Mapping[str, str]) -> None:
    """Notes that these lines are about to be written where none was. Else another host could remove
    the user while we are dead between writing and noting, and nobody would know of the line."""
    if lines:
        _upsert([Published(name=name, line_hash=one) for name, one in lines.items()])


def _retract(names: Collection[str], noted: Mapping[str, Published]) -> None:
    """Takes the announcement back, or a hand's line of that name would be taken for ours."""
    Published.objects.filter(host=here(), name__in=list(names)).delete()
    _upsert([Published(name=n, line_hash=noted[n].line_hash) for n in names if n in noted])


def _print_again(names: Collection[str]) -> None:
    """After a failure: as far as the disk allows, no marker and old secret but those of the rows
    as they are again; they stay pending."""
    rows = {row.name: row for row in _all_rows().filter(name__in=names)}
    with contextlib.suppress(OSError):
        for name in names:
            if name in rows:
                _add_markers(rows[name])
                _take_markers(rows[name])
            else:
                _take_folders(name)
    with contextlib.suppress(OSError):
        _write_overlap()


def _note(rows: Sequence[RegistryUser], wanted: Mapping[str, str], gone: Collection[str]) -> None:
    """What was published. A row that says something else by now has another generation, and so is
    pending: whoever changed it waits for our lock, or has died."""
    with transaction.atomic():
        _upsert(
            [
                Published(name=row.name, line_hash=wanted[row.name], generation=row.generation)
                for row in rows
            ]
        )
        Published.objects.filter(host=here(), name__in=_askable(gone)).delete()
        # What was let be there is no more: the same again would be news.
        LineLeftAlone.objects.filter(name__in=[row.name for row in rows]).delete()


def _upsert(rows: Sequence[Published]) -> None:
    host = here()
    for row in rows:
        row.host = host
    Published.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["host", "name"],
        update_fields=["line_hash", "generation"],
    )


def _askable(names: Iterable[str]) -> list[str]:
    # Neither PostgreSQL nor a disk can be asked for a name with NUL, which no row has.
    return [name for name in names if "\0" not in name]


def _rows(pks: Collection[int]) -> list[RegistryUser]:
    return list(_all_rows().filter(pk__in=pks))


def _all_rows() -> RegistryUserQuerySet:
    return RegistryUser.objects.prefetch_related("rights")


def prove(canary: str) -> Proof:
    """Logs in at the front door with the canary that `write` returned."""
    header = proxy.basic(htpasswd.CANARY, canary)
    try:
        answer = proxy.ask("/v2/", header)
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
    """Finishes what a crash, a full disk, a passing hour or a clock that was wrong left undone;
    returns how many users."""
    late = list(_late(timezone.now()).values_list("pk", flat=True))
    removed = _removed()
    if late or removed:
        write(late, without=removed)
        with lock():
            _remove_temporary_files()
        log.info("registry users: %d written late", len(late) + len(removed))
    if _overlap_is_old():
        with lock():
            _write_overlap()
            _mark_costs()
    with contextlib.suppress(FileNotFoundError):
        if stamp() != _last_marked:
            with lock():
                _mark_costs()
    past = RegistryUser.objects.filter(old_until__lte=timezone.now() - REMEMBERED)
    if past.exclude(old_hash="").exists():
        past.update(old_hash="", old_until=UNKNOWN)
    return len(late) + len(removed)


def next_ends(within: timedelta) -> list[datetime]:
    """When, from now on, access or an old secret ends by itself, in order."""
    now = timezone.now()
    ends = RegistryUser.objects.filter(expires_at__range=(now, now + within))
    old = RegistryUser.objects.filter(old_until__range=(now, now + within))
    return sorted(
        {*ends.values_list("expires_at", flat=True), *old.values_list("old_until", flat=True)}
    )


def _late(ended_at: datetime, *, host: str | None = None) -> RegistryUserQuerySet:
    """Users whose line is not what it must be: pending, ended by the clock at that time, or taken
    out by a clock that was ahead and has been set back since."""
    host = here() if host is None else host
    lines = Published.objects.filter(host=host, name=OuterRef("name")).exclude(line_hash="")
    expired = RegistryUser.objects.filter(Exists(lines), expires_at__lte=ended_at)
    left_out = RegistryUser.objects.in_state(State.ACTIVE).filter(~Exists(lines))
    return RegistryUser.objects.pending(host=host) | expired | left_out


def _removed(host: str | None = None) -> list[str]:
    """Names that have, or may have, a line on that host and no row any more."""
    lines = Published.objects.filter(host=here() if host is None else host)
    rows = RegistryUser.objects.filter(name=OuterRef("name"))
    return list(lines.filter(~Exists(rows)).order_by("name").values_list("name", flat=True))


def _overlap_is_old() -> bool:
    """True if the file of old secrets is not what it must be now."""
    try:
        return bool(settings.OVERLAP_FILE.read_bytes() != _overlap())
    except FileNotFoundError:
        return True


# -- what each host has published ----------------------------------------------------------------
def published(names: Collection[str] | None = None) -> dict[str, Published]:
    """By name, what the htpasswd file of this host says as far as we wrote it; of these or all."""
    rows = Published.objects.filter(host=here())
    if names is not None and len(names) < BULK:
        rows = rows.filter(name__in=_askable(names))
    return {row.name: row for row in rows}


def lines_of_users() -> dict[str, str | None]:
    """What the file of this host says of each user as far as we wrote it; "": no line, None: not
    yet what was decided. One query."""
    return RegistryUser.objects.lines(host=here())


def count_lines() -> int:
    """How many users have a line here."""
    return Published.objects.filter(host=here()).exclude(line_hash="").count()


def have_line(names: Iterable[str]) -> bool:
    """True if any of these has, or may have, a line here."""
    lines = Published.objects.filter(host=here(), name__in=list(names))
    return lines.exclude(line_hash="").exists()


def forget(names: Iterable[str]) -> None:
    """Where these have no line, that is not worth a note any more: their rows are removed."""
    Published.objects.filter(name__in=list(names), line_hash="").delete()


def count_late(host: str) -> int:
    """How many users that host has still to write, or to take away."""
    return _late(timezone.now(), host=host).count() + len(_removed(host))


def write_all() -> str:
    """All files anew from the tables, the way back when they were lost; the canary as `write`.

    Lines that are not ours are kept. Raises OSError as `write`.
    """
    prepare()
    return write(list(RegistryUser.objects.values_list("pk", flat=True)))


def late_names() -> list[str]:
    """Users whom the files contradict: a write failed, or their end was a while ago."""
    while_ago = timezone.now() - timedelta(minutes=2)  # the worker looks each minute
    late = _late(while_ago).order_by("name").values_list("name", flat=True)
    return [*late, *_removed()]


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
    and lets nginx read what it has to. Raises OSError as `write`, and ValueError for a scope of
    BOATHOUSE_ANONYMOUS_PULL that is none.
    """
    anonymous = rights.parse((Right.Action.PULL, scope) for scope in settings.ANONYMOUS_PULL)
    with lock():
        _remove_temporary_files()
        # The tables may be others than those the file agreed with: an older database came back.
        _mark().unlink(missing_ok=True)
        _open_rights()
        _set_markers(settings.RIGHTS_DIR / _ENDPOINTS, OPEN)
        rows = list(_all_rows())
        for row in rows:
            _add_markers(row)
            _take_markers(row)
        _set_markers(settings.RIGHTS_DIR / _ANONYMOUS, set(rights.markers(anonymous)))
        known = {row.name for row in rows} | {_ENDPOINTS, _ANONYMOUS}
        for folder in settings.RIGHTS_DIR.iterdir():
            # Of a user that an older database does not have. A file there is nobody's marker.
            if folder.name not in known and folder.is_dir():
                shutil.rmtree(folder)
        _write_overlap()
        _mark_costs()
        for path in (settings.HTPASSWD_FILE, settings.OVERLAP_FILE):
            let_nginx_read(path)


def let_nginx_pass(folder: Path) -> None:
    """Opens that folder for nginx's workers, and closes it to everybody else."""
    group = _nginx_group() if os.geteuid() == 0 else None
    if group is not None:
        os.chown(folder, -1, group)
    folder.chmod(0o700 if group is None else 0o710)


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
    """nginx's own user passes every folder of rights, or it finds no marker: those that a backup
    brought back may be closed to it."""
    top = settings.RIGHTS_DIR
    if not top.exists():
        top.mkdir()
        top.chmod(0o711)
    _let_others(top, 0o711)
    for place, folders, markers in os.walk(top):
        for name in folders:  # before the walk goes down there
            _let_others(Path(place, name), 0o711)
        for name in markers:
            _let_others(Path(place, name), 0o644)


def _let_others(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) & mode != mode:
        path.chmod(mode)


def stamp() -> list[int]:
    """What tells the htpasswd file, as it is now, from every other. OSError if there is none."""
    return _stamp_of(settings.HTPASSWD_FILE)


def remember(seen: list[int]) -> None:
    """Notes that the file agreed with the tables, or was let be, when it had that stamp."""
    with contextlib.suppress(OSError):
        files.write(_mark(), json.dumps(seen))


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Meanwhile nobody of us writes the files. Not inside a transaction; not twice at once."""
    # A file of its own: the htpasswd file itself is another file after each edit. It stays, because
    # removing it would let two edits hold two different locks.
    path = settings.HTPASSWD_FILE
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        locks.take(handle)
        yield
    finally:
        os.close(handle)


# -- the htpasswd file ---------------------------------------------------------------------------
def _replace(old_lines: Mapping[str, str], lines: Mapping[str, str], instead: bytes | None) -> None:
    """`old_lines`: second secrets of those who have a line now."""
    before, path, overlap = read(), settings.HTPASSWD_FILE, settings.OVERLAP_FILE
    was_as_written = not path.exists() or is_as_written()
    after = htpasswd.change(before if instead is None else instead, lines)
    # The secret of somebody who may log in now is in either file all the time.
    kept = {name: line_hash for name, line_hash in old_lines.items() if line_hash}
    old = overlap.read_bytes() if overlap.exists() else b""
    wider, exact = htpasswd.change(old, kept), _overlap()
    steps: list[_Step] = [_version(before)] if _is_news(before, after) else []
    steps += [(overlap, wider, True)] if wider != old else []
    steps += [(path, after, True)]
    steps += [(overlap, exact, True)] if exact != wider or not overlap.exists() else []
    made = _put_in_turn(steps)
    if was_as_written:  # else a hand edit, which nobody has seen yet, would be forgotten
        remember(made[path])
    for version in versions()[VERSIONS:]:
        version.unlink(missing_ok=True)


def _restore_content(before: bytes | None) -> bool:
    """The file as it was, if the failure came after it was replaced; False if not even that can be
    done."""
    with contextlib.suppress(OSError):
        if before is None:
            settings.HTPASSWD_FILE.unlink(missing_ok=True)
        elif read() != before:
            _put(settings.HTPASSWD_FILE, before)
        return True
    return False


def _overlap() -> bytes:
    rows = RegistryUser.objects.filter(old_until__gt=timezone.now()).exclude(old_hash="")
    return htpasswd.change(b"", {row.name: row.wanted_old for row in rows})


def _write_overlap() -> None:
    content, path = _overlap(), settings.OVERLAP_FILE
    if not path.exists() or path.read_bytes() != content:
        _put(path, content)


def _mark() -> Path:
    return Path(settings.HTPASSWD_FILE.with_name(f".{settings.HTPASSWD_FILE.name}.written"))


def _stamp_of(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _put(path: Path, content: bytes) -> None:
    _put_in_turn([(path, content, True)])


def _put_in_turn(steps: Sequence[_Step]) -> dict[Path, list[int]]:
    """Puts each content at its path, in that order; the stamps of the new files.

    All of them are on the disk before the first is seen: a full disk changes nothing.
    """
    made: dict[Path, list[int]] = {}
    with contextlib.ExitStack() as stack:
        ready = []
        for path, content, is_for_nginx in steps:
            give_rights = partial(_give_rights, path=path) if is_for_nginx else None
            new = files.written_beside(path, content, give_rights)
            ready.append((path, stack.enter_context(new)))
        for path, temporary in ready:
            made[path] = _stamp_of(temporary)  # a hand may be in the file right after the rename
            temporary.rename(path)
    for folder in {path.parent for path in made}:
        files.sync_folder(folder)
    return made


def _remove_temporary_files() -> None:
    """Those of a writer that was killed; the caller has the lock, so nobody writes one now."""
    for folder in (settings.HTPASSWD_FILE.parent, settings.VERSIONS_DIR):
        for path in folder.glob(f"{files.TEMPORARY}*"):
            path.unlink(missing_ok=True)


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


def _is_news(before: bytes, after: bytes) -> bool:
    """True if there was something and more than our canary changes."""
    no_canary = {htpasswd.CANARY: ""}
    return bool(before) and htpasswd.change(before, no_canary) != htpasswd.change(after, no_canary)


def _version(content: bytes) -> _Step:
    settings.VERSIONS_DIR.mkdir(mode=0o700, exist_ok=True)
    return settings.VERSIONS_DIR / f"{time.time_ns():020}", content, False


# -- rights --------------------------------------------------------------------------------------
def _wanted_markers(row: RegistryUser) -> set[str]:
    pairs = ((one.action, one.scope) for one in row.rights.all())
    return set(rights.markers(pairs)) if row.wanted else set()


def _add_markers(*rows: RegistryUser) -> None:
    for row in rows:
        if (folder := _folder(row.name)) is not None:
            _add(folder, _wanted_markers(row))


def _take_markers(*rows: RegistryUser) -> None:
    for row in rows:
        if (folder := _folder(row.name)) is not None:
            _take(folder, but=_wanted_markers(row))


def _take_folders(*names: str) -> None:
    for name in _askable(names):
        if (folder := _folder(name)) is not None:
            _take(folder, but=())


def _set_markers(folder: Path, markers: Collection[str]) -> None:
    _add(folder, markers)
    _take(folder, but=markers)


def _add(folder: Path, markers: Collection[str]) -> None:
    for marker in markers:
        _touch(folder / marker)


def _take(folder: Path, *, but: Collection[str]) -> None:
    kept = {folder / marker for marker in but}
    for place, _folders, names in os.walk(folder, topdown=False):
        for name in names:
            if Path(place, name) not in kept:
                Path(place, name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: something in it is kept
            Path(place).rmdir()


def _mark_cost(name: str, hashes: Sequence[str]) -> None:
    """Lets nginx know what a login with that name costs; `hashes`: new and old, "" for none.

    A hint, no right: without a marker a login takes longer. So no disk error is one here.
    """
    if _folder(name) is None or "\0" in name:
        return
    found = [one for one in hashes if one]
    for folder, is_one in (
        (logins_folder() / "slow", any(htpasswd.takes_as_long_as_ours(one) for one in found)),
        (logins_folder() / "quick", found and all(htpasswd.kind(one).is_quick for one in found)),
    ):
        with contextlib.suppress(OSError):
            if is_one:
                (folder / name).touch()
            else:
                (folder / name).unlink(missing_ok=True)


def _mark_costs_of(rows: Sequence[RegistryUser], lines: Mapping[str, str]) -> None:
    old = {row.name: row.wanted_old for row in rows}
    for name, line_hash in lines.items():
        _mark_cost(name, [line_hash, old.get(name, "")])


def _mark_costs() -> None:
    """The same for every line of the files as they are now, whoever wrote it."""
    global _last_marked
    try:
        seen = stamp()
        old = htpasswd.parse(settings.OVERLAP_FILE.read_bytes())
        before = [path.name for folder in logins_folder().iterdir() for path in folder.iterdir()]
    except OSError:
        return  # the next round looks again
    now = htpasswd.parse(read())
    for name in {*now, *old, *before}:
        _mark_cost(name, [now.get(name, ""), old.get(name, "")])
    _last_marked = seen


def logins_folder() -> Path:
    """Where nginx looks what a login costs: quick/NAME, slow/NAME."""
    return Path(settings.RUN_DIR / "logins")


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
    """An empty file that nginx finds, and its folders, which it can pass but not list."""
    for part in reversed(path.relative_to(settings.RIGHTS_DIR).parents):  # "." first
        place = settings.RIGHTS_DIR / part
        place.mkdir(exist_ok=True)
        _set_mode(place, 0o711)
    if not path.exists():
        # Whole from its first moment, whatever this process dies of.
        new = path.with_name(files.TEMPORARY + path.name)
        new.touch()
        _set_mode(new, 0o644)
        new.rename(path)


def _set_mode(path: Path, mode: int) -> None:
    # Whatever the umask of this process; and whoever died between two lines left it half made.
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
