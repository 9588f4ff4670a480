"""Write freeze: the proxy answers 503 to writes while a file exists; pulls work.

    run/hold/ ├ manifests, blobs   the gates: nginx tests for them at each write, without a reload
              ├ ID.json            who froze what until when; the gates are their sum
              └ lock

A freeze ends automatically: at its time, or ten seconds after the last sign of its process. The
worker (each second), `up` and the next freeze remove what has ended.

A gate stops new writes. Earlier ones are connections of the registry, because nginx opens one for
each write, and sockets.py says which are writes: `in_flight` counts them.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.utils.translation import gettext as _

from registryui import files, hosts, locks, proxy, socket_owners, sockets
from registryui.models import here
from registryui.refused import Refused

log = logging.getLogger(__name__)

What = Literal["writes", "manifests"]

GATES: dict[str, tuple[str, ...]] = {"writes": ("manifests", "blobs"), "manifests": ("manifests",)}
SILENT = timedelta(seconds=10)  # without a sign of its process for so long: it has ended
BEAT = 1.0  # seconds between two signs
DRAIN = 1.0  # seconds after which an accepted request has its connection
LONGEST = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Freeze:
    """A write freeze."""

    id: str
    what: What
    by: str
    since: datetime
    until: datetime
    pid: int  # of the process that renews it; 0: manual
    heard_at: datetime  # when it was last renewed

    def is_over(self, now: datetime) -> bool:
        """True if its time is over, or its process has ended."""
        return now >= self.until or bool(self.pid and now - self.heard_at > SILENT)


def folder() -> Path:
    """The folder of the gates, as in nginx's configuration."""
    # As in 0.5: a freeze survives an upgrade, and the nginx of before tests for the same gates.
    return Path(settings.RUN_DIR / "hold")


def freezes() -> list[Freeze]:
    """The active freezes, oldest first."""
    now = datetime.now(UTC)
    return [one for one in _records() if not one.is_over(now)]


def is_frozen(what: What) -> bool:
    """Whether the gates for that exist."""
    return all((folder() / gate).exists() for gate in GATES[what])


def on(what: What, *, by: str, until: datetime, pid: int = 0) -> Freeze:
    """Freezes writes until then, or `off`. Earlier requests continue: see `wait`.

    Refused: the time is invalid, or nginx still accepts writes.
    """
    now = datetime.now(UTC)
    if not now < until <= now + LONGEST:
        raise Refused(_("A write freeze lasts at most one day."))
    one = Freeze(secrets.token_hex(8), what, by, now, until, pid, now)
    with _alone():
        _write(one)
        _set_gates()
    try:
        _prove()
    except BaseException:
        off(one.id)
        raise
    log.info("write freeze %s of %s by %s until %s", one.id, what, by, until)
    return one


def off(id: str = "") -> int:
    """Ends that freeze, or (no id) all manual ones; their number."""
    with _alone():
        gone = [one for one in _records() if one.id == id or not (id or one.pid)]
        for one in gone:
            _record(one.id).unlink(missing_ok=True)
            log.info("write freeze %s ended", one.id)
        _set_gates()
    return len(gone)


def clear() -> list[Freeze]:
    """Removes freezes that are over, and gates without a record; those that were over."""
    if not _records() and not any((folder() / gate).exists() for gate in sockets.SOURCES):
        return []
    now = datetime.now(UTC)
    with _alone():
        over = [one for one in _records() if one.is_over(now)]
        for one in over:
            _record(one.id).unlink(missing_ok=True)
            log.warning("write freeze %s of %s is over: writes are accepted again", one.id, one.by)
        _set_gates()
    return over


def in_flight(what: What) -> int:
    """Writes that the registry has not answered yet, by its connections.

    Counted on the registry's side: nginx drops a request when its client disconnects, the registry
    continues it.
    """
    return max(len(_connections(what)) for _look in "12")


def let_end(what: What, *, seconds: float) -> bool:
    """Waits until all writes in progress now have ended, also of clients that disconnected; not for
    later ones. False if some were left at the end."""
    deadline = time.monotonic() + seconds
    left = {*_connections(what), *_connections(what)}
    while left:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
        now = {*_connections(what), *_connections(what)}
        left = now if _NAMELESS in left else left & now
    return True


def wait(what: What, *, seconds: float) -> bool:
    """Waits until no write is left that began before the gate; False if some were left at the
    end."""
    time.sleep(DRAIN)
    deadline = time.monotonic() + seconds
    while in_flight(what):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass(slots=True)
class Frozen:
    """A freeze by this process."""

    freeze: Freeze
    began: float  # by time.monotonic

    @property
    def seconds(self) -> float:
        """Its duration so far."""
        return time.monotonic() - self.began

    def check(self) -> None:
        """Refused if writes may be accepted again: this process was suspended, or the time is
        over."""
        if self.freeze.id not in {one.id for one in freezes()} or not is_frozen(self.freeze.what):
            raise Refused(_("The write freeze ended before the work was done: try again."))


@contextmanager
def frozen(
    what: What, *, by: str, at_most: timedelta = timedelta(minutes=10), patience: float = 60
) -> Iterator[Frozen]:
    """Inside, no client writes, and no write is in progress. Call `check` before relying on it.

    `patience`: seconds for writes in progress. Refused: they did not end; there are other hosts,
    which cannot be frozen from here; nginx still accepts writes.
    """
    if others := other_hosts():
        raise Refused(
            _("A write freeze covers only this host; there are others: %(names)s.")
            % {"names": ", ".join(others)}
        )
    began = time.monotonic()
    one = on(what, by=by, until=datetime.now(UTC) + at_most, pid=os.getpid())
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(one, ended), name="write-freeze", daemon=True)
    beats.start()
    try:
        if not wait(what, seconds=patience):
            raise Refused(
                _("Writes in progress did not finish within %(seconds)d seconds: try again.")
                % {"seconds": patience}
            )
        yield Frozen(one, began)
    finally:
        ended.set()
        beats.join()
        off(one.id)


def other_hosts() -> list[str]:
    """The names of all other hosts that were not forgotten."""
    return [one.name for one in hosts.all_hosts() if one.id != here()]


# -- files -----------------------------------------------------------------------------------------
_OPEN = frozenset(("01", "03", "08"))  # established, just accepted, closed by nginx
_CONNECTING = "02"
_UNDER_WAY = ("02", "03")  # of a Unix socket: not yet accepted, accepted
_NAMELESS = "0"  # all that the registry has not accepted yet


def _connections(what: What) -> list[str]:
    """A name for each connection with a write. Call it twice: the kernel returns its table in
    pieces, and may skip a line while others are removed.

    Always includes the sockets, for a process with another port in its settings than `up`.
    """
    places = [sockets.registry(gate) for gate in GATES[what]]
    places += [sockets.unnamed(place) for place in places]
    found = [*_over_sockets({str(place) for place in places})]
    if settings.REGISTRY_PORT:
        found += _over_tcp({_in_hexadecimal(sockets.SOURCES[gate]) for gate in GATES[what]})
    return found


def _over_sockets(paths: Container[str]) -> list[str]:
    with Path("/proc/net/unix").open(errors="surrogateescape") as table:
        rows = ((*line.rstrip("\n").split(None, 7), "")[5:8] for line in table)
        found = [row for row in rows if row[0] in _UNDER_WAY and row[2] in paths]
    return _without_strangers([(inode, path) for _state, inode, path in found]) if found else []


def _without_strangers(found: Sequence[tuple[str, str]]) -> list[str]:
    """The names of these connections, without those at another user's socket with the same path,
    which could delay us forever. Connections that cannot be distinguished count."""
    paths = {path for _name, path in found}
    try:
        owned = [one for one in socket_owners.owned() if one.path in paths]
    except OSError:
        return [name for name, _path in found]
    strangers = {str(one.inode) for one in owned if one.is_strangers}
    ours = [one for one in owned if not one.is_strangers]
    listening = [one for one in ours if one.state == socket_owners.LISTENS]
    names = {name for name, _path in found if name not in strangers} - {_NAMELESS}
    # What was waiting a moment ago may be accepted now.
    names |= {str(one.inode) for one in ours if one not in listening}
    nameless = [path for name, path in found if name == _NAMELESS]
    known = {one.path for one in listening}
    waiting = min(len(nameless), sum(one.waiting for one in listening))
    unknown = sum(path not in known for path in nameless)
    return [*names, *[_NAMELESS] * (waiting + unknown)]


def _over_tcp(ours: Container[str]) -> Iterator[str]:
    registry = f"0100007F:{settings.REGISTRY_PORT:04X}"
    with Path("/proc/net/tcp").open() as table:
        for line in table:
            _number, local, remote, state = line.split(None, 4)[:4]
            if local == registry and remote[:8] in ours and state in _OPEN:
                yield remote
            elif remote == registry and local[:8] in ours and state == _CONNECTING:
                yield local


def _in_hexadecimal(address: str) -> str:
    """As /proc/net/tcp has it."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def _beat(one: Freeze, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):  # somebody removed it: `check` raises
            os.utime(_record(one.id))


@contextmanager
def _alone() -> Iterator[None]:
    if not folder().is_dir():  # else its creator may be another user
        folder().mkdir(parents=True, exist_ok=True)
        folder().chmod(0o711)
    handle = os.open(folder() / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        locks.take(handle)
        yield
    finally:
        os.close(handle)


def _record(id: str) -> Path:
    return folder() / f"{id}.json"


def _write(one: Freeze) -> None:
    text = {"what": one.what, "by": one.by, "pid": one.pid}
    times = {"since": one.since.isoformat(), "until": one.until.isoformat()}
    # root may start what the worker of another user removes
    files.write(_record(one.id), json.dumps(text | times), mode=0o644)


def _records() -> list[Freeze]:
    """All of them, also those that are over. An unreadable one is ignored."""
    found = []
    for path in folder().glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text())
            heard_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            since, until = (datetime.fromisoformat(told[name]) for name in ("since", "until"))
            what: What = "writes" if told["what"] == "writes" else "manifests"
            by, pid = str(told["by"]), int(told["pid"])
            found.append(Freeze(path.stem, what, by, since, until, pid, heard_at))
    return sorted(found, key=lambda one: one.since)


def _set_gates() -> None:
    """Sets the gates by the records. Under the lock."""
    now = datetime.now(UTC)
    wanted = {gate for one in _records() if not one.is_over(now) for gate in GATES[one.what]}
    for gate in sockets.SOURCES:
        if gate in wanted:
            (folder() / gate).touch()
        else:
            (folder() / gate).unlink(missing_ok=True)


def _prove() -> None:
    """Sends a write to nginx. If nobody listens, writes are frozen, too."""
    try:
        told = proxy.ask("/v2/boathouse/freeze/manifests/proof", {}, method="DELETE").status
    except ConnectionRefusedError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Refused(
            _("The write freeze could not be verified (%(error)s): run ./boathouse doctor.")
            % {"error": error}
        ) from error
    if told != 503:
        raise Refused(
            _(
                "The proxy does not apply the write freeze (it returns %(status)d): run "
                "./boathouse down, then ./boathouse up, so that nginx loads its new configuration."
            )
            % {"status": told}
        )
