"""The only writer of the files that nginx reads, from the tables of registry users.

    DATA/htpasswd       who: one line a user who may log in now, and every line that is not ours
    DATA/htpasswd.old   who, with the previous secret after a rotation, while that is valid
    DATA/rights/…       what: see rights.py
    DATA/run/logins/quick   whose hash nginx may compute itself
    DATA/run/logins/…       known, disabled, expired: why nginx refused a login, for its log

nginx opens them at every request, so a change applies to the next request, without a reload.
`write` takes the lock, reads what is there, changes the lines of some users, writes temporary files
in the same folder, and renames them over the old ones: nginx sees an old file or a new one.
Markers and old secrets that add access are written before the line, those that remove access after
it. Only markers of a user without a line are removed first, so that none that a crash left behind
ever applies.

First the row is changed, with a new `generation`; then the files are written; then a row of
Published records their generation. If a process is killed in between, or the row is changed again,
the two differ, and `catch_up` finishes it. Each host has its own files and rows of Published: on
other hosts a change is pending, and their workers check four times a second. Locks are taken in one
order, first the files', then the database's: nothing here may be called inside a transaction.
The remaining hole: a manual edit does not take our lock. What is saved in the few milliseconds
between our reading and our rename is lost; `drift.py` detects what is saved later, from an older
reading.
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
# How long a replaced secret's hash is kept after it expired: when a clock that was ahead is set
# back, the secret may be valid again.
REMEMBERED = timedelta(days=30)
BULK = 500  # names: above, all are queried, because SQLite's statements have a limit
OPEN = ("base", "search", "other")  # endpoints that every user may use
# Folders beside those of users; no user's name begins so.
_ENDPOINTS = "@open"
_ANONYMOUS = "@anonymous"  # what may be pulled without a login: settings.ANONYMOUS_PULL
_last_marked: list[int] = []  # the stamp of the file whose lines `_mark_costs` last saw
LOGIN_FOLDERS = ("", "quick", "known", "disabled", "expired")  # below logins_folder()
_Step = tuple[Path, bytes, bool]  # a file's place, its content, whether nginx is to read it


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a login through the proxy after a change was written."""

    is_proved: bool
    seconds: float = 0.0
    reason: str = ""  # why not, in the words of the program that failed


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
    """True if only we have changed the file since it last matched the tables."""
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
    """Writes the rows of these users to the files; the secret of this write's canary.

    Their lines are always replaced; lines of the names `without`, which no row has, are removed;
    all others are kept. A missing file is written completely, else one user's change would remove
    all others. `instead`: the content to start from instead of the file.
    Raises OSError if that fails (disk full, no permission): the files are then unchanged, and
    `undo` has restored the rows before another writer could publish them.
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
    """Those of the names that no row has: one may have been created again before we got the
    lock."""
    if not names:
        return set()
    found = RegistryUser.objects.filter(name__in=_askable(names)).values_list("name", flat=True)
    return set(names) - set(found)


def _print(rows: Sequence[RegistryUser], gone: Collection[str], instead: bytes | None) -> str:
    """The steps of a write, in an order in which a crash after any of them gives nobody more access
    than before or after (see above). `gone`: names whose lines are removed."""
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
        _add_markers(*rows)  # what adds access, before the line
        _take_markers(*without_line)  # none that a crash left applies to a new line
        _replace({row.name: row.wanted_old for row in with_line}, lines, instead)
        _take_markers(*rows)  # what removes access, after it
        _mark_costs_of(rows, lines)
        _mark_states(rows, gone)
        _take_folders(*gone)
    except OSError:
        if _restore_content(before):
            _retract(announced, noted)
        raise
    _note(rows, wanted, gone)
    return canary


def _announce(lines: Mapping[str, str]) -> None:
    """Records that new lines are about to be written. Else, if we were killed between writing and
    recording, another host could remove the user, and nobody would know of the line."""
    if lines:
        _upsert([Published(name=name, line_hash=one) for name, one in lines.items()])


def _retract(names: Collection[str], noted: Mapping[str, Published]) -> None:
    """Reverts that, or a manual line of that name would be taken for ours."""
    Published.objects.filter(host=here(), name__in=list(names)).delete()
    _upsert([Published(name=n, line_hash=noted[n].line_hash) for n in names if n in noted])


def _print_again(names: Collection[str]) -> None:
    """After a failure: restores markers and old secrets to the reverted rows, as far as the disk
    allows; they stay pending."""
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
    """Records what was published. A row that changed since has another generation, and so is
    pending: whoever changed it waits for our lock, or was killed."""
    with transaction.atomic():
        _upsert(
            [
                Published(name=row.name, line_hash=wanted[row.name], generation=row.generation)
                for row in rows
            ]
        )
        Published.objects.filter(host=here(), name__in=_askable(gone)).delete()
        # An ignored line there was replaced: the same again would be a new difference.
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
    """Logs in through the proxy with the canary that `write` returned."""
    header = proxy.basic(htpasswd.CANARY, canary)
    try:
        answer = proxy.ask("/v2/", header)
    except Exception as error:  # not up, no certificate yet: the file is written all the same
        return Proof(False, reason=f"{type(error).__name__}: {error}"[:200])
    if answer.status == 200:
        return Proof(True, answer.seconds)
    now = htpasswd.parse(read()).get(htpasswd.CANARY, "")
    if answer.status == 401 and now and not htpasswd.verify(now, canary):
        # Another change was written meanwhile, with its own canary.
        return Proof(True, answer.seconds)
    return Proof(False, answer.seconds, f"/v2/ answers {answer.status}, not 200")


def catch_up() -> int:
    """Finishes what a crash, a full disk, the time or a wrong clock left undone; returns how many
    users."""
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
    """When, from now on, access or an old secret expires, in order."""
    now = timezone.now()
    ends = RegistryUser.objects.filter(expires_at__range=(now, now + within))
    old = RegistryUser.objects.filter(old_until__range=(now, now + within))
    return sorted(
        {*ends.values_list("expires_at", flat=True), *old.values_list("old_until", flat=True)}
    )


def _late(ended_at: datetime, *, host: str | None = None) -> RegistryUserQuerySet:
    """Users whose line is wrong: pending, expired at that time, or removed by a clock that was
    ahead and has been set back since."""
    host = here() if host is None else host
    lines = Published.objects.filter(host=host, name=OuterRef("name")).exclude(line_hash="")
    expired = RegistryUser.objects.filter(Exists(lines), expires_at__lte=ended_at)
    left_out = RegistryUser.objects.in_state(State.ACTIVE).filter(~Exists(lines))
    return RegistryUser.objects.pending(host=host) | expired | left_out


def _removed(host: str | None = None) -> list[str]:
    """Names that have, or may have, a line on that host but no row."""
    lines = Published.objects.filter(host=here() if host is None else host)
    rows = RegistryUser.objects.filter(name=OuterRef("name"))
    return list(lines.filter(~Exists(rows)).order_by("name").values_list("name", flat=True))


def _overlap_is_old() -> bool:
    """True if the file of old secrets is outdated."""
    try:
        return bool(settings.OVERLAP_FILE.read_bytes() != _overlap())
    except FileNotFoundError:
        return True


# -- what each host has published ----------------------------------------------------------------
def published(names: Collection[str] | None = None) -> dict[str, Published]:
    """By name, what we wrote to the htpasswd file of this host; of these or all."""
    rows = Published.objects.filter(host=here())
    if names is not None and len(names) < BULK:
        rows = rows.filter(name__in=_askable(names))
    return {row.name: row for row in rows}


def lines_of_users() -> dict[str, str | None]:
    """What we wrote to the file of this host for each user; "": no line, None: pending. One
    query."""
    return RegistryUser.objects.lines(host=here())


def count_lines() -> int:
    """How many users have a line here."""
    return Published.objects.filter(host=here()).exclude(line_hash="").count()


def have_line(names: Iterable[str]) -> bool:
    """True if any of these has, or may have, a line here."""
    lines = Published.objects.filter(host=here(), name__in=list(names))
    return lines.exclude(line_hash="").exists()


def forget(names: Iterable[str]) -> None:
    """Removes the rows of Published of these that have no line, and their marks on this host."""
    gone = list(names)
    Published.objects.filter(name__in=gone, line_hash="").delete()
    _mark_states((), gone)


def count_late(host: str) -> int:
    """How many users that host has still to write or remove."""
    return _late(timezone.now(), host=host).count() + len(_removed(host))


def write_all() -> str:
    """Rewrites all files from the tables, when they were lost; the canary as `write`.

    Lines that are not ours are kept. Raises OSError as `write`.
    """
    prepare()
    return write(list(RegistryUser.objects.values_list("pk", flat=True)))


def late_names() -> list[str]:
    """Users for whom the files are wrong: a write failed, or they expired a while ago."""
    while_ago = timezone.now() - timedelta(minutes=2)  # the worker checks each minute
    late = _late(while_ago).order_by("name").values_list("name", flat=True)
    return [*late, *_removed()]


def names_without_markers() -> list[str]:
    """Users with rights, but without a folder of markers."""
    try:
        there = {folder.name for folder in settings.RIGHTS_DIR.iterdir()}
    except OSError:
        there = set()
    users = RegistryUser.objects.in_state(State.ACTIVE).exclude(rights=None)
    names = users.order_by("name").values_list("name", flat=True).distinct()
    return [name for name in names if name not in there]


def open_marker(endpoint: str) -> Path:
    """The marker by which every user may use that endpoint (one of OPEN)."""
    return Path(settings.RIGHTS_DIR / _ENDPOINTS / endpoint)


def prepare() -> None:
    """Creates what nginx needs: the folders' markers, and a file of old secrets.

    Rewrites every user's rights, so that a lost or restored folder is correct, and gives nginx
    access. Raises OSError as `write`, and ValueError for an invalid scope in
    BOATHOUSE_ANONYMOUS_PULL.
    """
    anonymous = rights.parse((Right.Action.PULL, scope) for scope in settings.ANONYMOUS_PULL)
    with lock():
        _remove_temporary_files()
        # An older database may have been restored, which does not match the file.
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
            # Of a user that an older database does not have. A file there is no marker.
            if folder.name not in known and folder.is_dir():
                shutil.rmtree(folder)
        _write_overlap()
        _mark_costs()
        mark_states()
        for path in (settings.HTPASSWD_FILE, settings.OVERLAP_FILE):
            let_nginx_read(path)


def let_nginx_pass(folder: Path) -> None:
    """Gives nginx's workers access to that folder, and nobody else."""
    group = _nginx_group() if os.geteuid() == 0 else None
    if group is not None:
        os.chown(folder, -1, group)
    folder.chmod(0o700 if group is None else 0o710)


def let_nginx_read(path: Path) -> None:
    """Gives nginx's workers, and nobody else, access to that file, if it was restored or copied
    without. OSError if it belongs to somebody else."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(found.st_mode)
    group = _nginx_group() if os.geteuid() == 0 else None
    if group is None:  # nginx runs as the same user
        if found.st_uid == os.geteuid() and not mode & stat.S_IRUSR:
            path.chmod(mode | stat.S_IRUSR)
    elif not mode & stat.S_IROTH and not (found.st_gid == group and mode & stat.S_IRGRP):
        os.chown(path, -1, group)
        path.chmod(mode | stat.S_IRUSR | stat.S_IRGRP)


def _open_rights() -> None:
    """Gives nginx access to every folder of rights, else it finds no marker: a restored backup may
    lack it."""
    top = settings.RIGHTS_DIR
    if not top.exists():
        top.mkdir()
        top.chmod(0o711)
    _let_others(top, 0o711)
    for place, folders, markers in os.walk(top):
        for name in folders:  # before the walk descends
            _let_others(Path(place, name), 0o711)
        for name in markers:
            _let_others(Path(place, name), 0o644)


def _let_others(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) & mode != mode:
        path.chmod(mode)


def stamp() -> list[int]:
    """Identifies the htpasswd file as it is now. OSError if there is none."""
    return _stamp_of(settings.HTPASSWD_FILE)


def remember(seen: list[int]) -> None:
    """Records that the file matched the tables, or was ignored, when it had that stamp."""
    with contextlib.suppress(OSError):
        files.write(_mark(), json.dumps(seen))


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Excludes other writers of the files. Not inside a transaction; not nested."""
    # A separate file, because each edit replaces the htpasswd file. It is never removed, or two
    # edits could lock two different files.
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
    # The secret of a user with access is in one of the files at any time.
    kept = {name: line_hash for name, line_hash in old_lines.items() if line_hash}
    old = overlap.read_bytes() if overlap.exists() else b""
    wider, exact = htpasswd.change(old, kept), _overlap()
    steps: list[_Step] = [_version(before)] if _is_news(before, after) else []
    steps += [(overlap, wider, True)] if wider != old else []
    steps += [(path, after, True)]
    steps += [(overlap, exact, True)] if exact != wider or not overlap.exists() else []
    made = _put_in_turn(steps)
    if was_as_written:  # else a manual edit that nobody has seen yet would be lost
        remember(made[path])
    for version in versions()[VERSIONS:]:
        version.unlink(missing_ok=True)


def _restore_content(before: bytes | None) -> bool:
    """Restores the file, if the failure came after it was replaced; False if that fails, too."""
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
    """Writes each content to its path, in that order; the stamps of the new files.

    All of them are on the disk before the first is renamed: a full disk changes nothing.
    """
    made: dict[Path, list[int]] = {}
    with contextlib.ExitStack() as stack:
        ready = []
        for path, content, is_for_nginx in steps:
            give_rights = partial(_give_rights, path=path) if is_for_nginx else None
            new = files.written_beside(path, content, give_rights)
            ready.append((path, stack.enter_context(new)))
        for path, temporary in ready:
            made[path] = _stamp_of(temporary)  # a manual edit may come right after the rename
            temporary.rename(path)
    for folder in {path.parent for path in made}:
        files.sync_folder(folder)
    return made


def _remove_temporary_files() -> None:
    """Of a writer that was killed; the caller has the lock, so nobody writes one now."""
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
    """The file before each of its last changes, newest first."""
    try:
        found = [path for path in settings.VERSIONS_DIR.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(found, reverse=True)


def version_time(path: Path) -> datetime:
    """When that version was replaced."""
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)


def _is_news(before: bytes, after: bytes) -> bool:
    """True if the file was not empty and more than our canary changes."""
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
        with contextlib.suppress(OSError):  # not empty
            Path(place).rmdir()


def _mark_cost(name: str, hashes: Sequence[str]) -> None:
    """Marks a name whose hashes are all quick; `hashes`: new and old, "" for none.

    Only a hint: without a marker a login takes longer. So disk errors are ignored.
    """
    found = [one for one in hashes if one]
    is_quick = bool(found) and all(htpasswd.kind(one).is_quick for one in found)
    _mark_login("quick", name, is_so=is_quick)


def _mark_costs_of(rows: Sequence[RegistryUser], lines: Mapping[str, str]) -> None:
    old = {row.name: row.wanted_old for row in rows}
    for name, line_hash in lines.items():
        _mark_cost(name, [line_hash, old.get(name, "")])


def mark_states() -> None:
    """The same for all users, and for nobody else."""
    rows = RegistryUser.objects.only("name", "is_active", "expires_at")
    for folder, names in _named_by_state(rows).items():
        with contextlib.suppress(OSError):
            there = {one.name for one in (logins_folder() / folder).iterdir()}
            for name in names ^ there:
                _mark_login(folder, name, is_so=name in names)


def _mark_states(rows: Iterable[RegistryUser], gone: Iterable[str]) -> None:
    """Marks which users exist, and which of them may not log in: nginx says in its log why it
    refused somebody. Only hints, like the costs."""
    found = list(rows)
    for folder, names in _named_by_state(found).items():
        for name in {*(row.name for row in found), *gone}:
            _mark_login(folder, name, is_so=name in names)


def _named_by_state(rows: Iterable[RegistryUser]) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {"known": set(), "disabled": set(), "expired": set()}
    for row in rows:
        named["known"].add(row.name)
        if row.state != State.ACTIVE:
            named["disabled" if row.state == State.OFF else "expired"].add(row.name)
    return named


def _mark_login(folder: str, name: str, *, is_so: bool) -> None:
    if _folder(name) is None or "\0" in name:
        return
    marker = logins_folder() / folder / name
    with contextlib.suppress(OSError):
        if is_so:
            marker.touch()
        else:
            marker.unlink(missing_ok=True)


def _mark_costs() -> None:
    """The same for every line of the files, also manual ones."""
    global _last_marked
    try:
        seen = stamp()
        old = htpasswd.parse(settings.OVERLAP_FILE.read_bytes())
        before = [path.name for path in (logins_folder() / "quick").iterdir()]
    except OSError:
        return  # the next round tries again
    now = htpasswd.parse(read())
    for name in {*now, *old, *before}:
        _mark_cost(name, [now.get(name, ""), old.get(name, "")])
    _last_marked = seen


def logins_folder() -> Path:
    """The markers of logins: quick/NAME and so on (LOGIN_FOLDERS)."""
    return Path(settings.RUN_DIR / "logins")


def read_rights() -> dict[str, rights.Rights]:
    """The rights in the markers, by user: they outlive a lost database."""
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
    """The folder of that user's markers; None for a name that cannot be a folder."""
    return Path(settings.RIGHTS_DIR / name) if rights.can_have(name) else None


def _touch(path: Path) -> None:
    """Creates an empty file for nginx, and its folders, which nginx can enter but not list."""
    for part in reversed(path.relative_to(settings.RIGHTS_DIR).parents):  # "." first
        place = settings.RIGHTS_DIR / part
        place.mkdir(exist_ok=True)
        _set_mode(place, 0o711)
    if not path.exists():
        # Complete at every moment, even if this process is killed.
        new = path.with_name(files.TEMPORARY + path.name)
        new.touch()
        _set_mode(new, 0o644)
        new.rename(path)


def _set_mode(path: Path, mode: int) -> None:
    # Regardless of the umask, and if a killed process left it incomplete.
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
