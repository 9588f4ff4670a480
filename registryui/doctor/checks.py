"""One function for each part. Each queries the part itself, and a broken part does not affect
others.

Checks that may hang (network, disks) run in threads with a time limit; those that read tables run
here, because a database connection belongs to its thread.
"""

from __future__ import annotations

import http.client
import logging
import os
import pwd
import re
import secrets
import shutil
import ssl
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import yaml
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from registryui import (
    clock,
    database_errors,
    hosts,
    proxy,
    runs,
    sockets,
    space,
    tls,
    write_freeze,
)
from registryui.accounts import drift, htpasswd, publish
from registryui.audit.check import newest_check
from registryui.index.progress import Result
from registryui.models import RegistryEvent, Run, here
from registryui.registry import choose, storages
from registryui.registry.client import RegistryClient
from registryui.registry.errors import RegistryError, Unreachable
from registryui.setup import health

from . import gc
from .backup import check_backup
from .findings import NAMES, Finding, from_json, latest, worker
from .mirrors import check_mirrors
from .quotas import check_quotas
from .retention import check_retention
from .updates import check_updates

log = logging.getLogger(__name__)

Found = TypeVar("Found", Finding, Finding | None)
LIMIT = 5.0  # seconds for one part
MOMENT = 0.5  # seconds until a change of a registry user is in the files
ROUNDS_LATE = 4  # intervals of the schedule: after these it is late


def examine(*, is_thorough: bool = False) -> list[Finding]:
    """The state of each part, in the order of NAMES. Never raises; waits at most LIMIT for parts
    that hang. `is_thorough`: reads the complete database, too."""
    apart: dict[str, Callable[[], Finding | None]] = {
        "registry": check_registry,
        "proxy": check_proxy,
        "htpasswd": check_htpasswd,
        "certificate": check_certificate,
        "store": lambda: check_store(is_thorough=is_thorough),
        "disk": check_disk,
        "mirrors": check_mirrors,
        "packages": check_updates,
    }
    waiting = {name: _start(name, check) for name, check in apart.items()}
    found = _of_tables(is_thorough=is_thorough)
    until = time.monotonic() + LIMIT
    for name, (thread, answers) in waiting.items():
        thread.join(max(0.0, until - time.monotonic()))
        # A list, so that a late thread does not change what was returned.
        if one := answers[0] if answers else _late(name):
            found[name] = one
    if "events" in found:  # the tables can be read
        found["disk"] = _safely("disk", lambda: _with_days(found["disk"]))
        found["disk"] = _safely("disk", lambda: gc.with_gc_estimate(found["disk"]))
        found["htpasswd"] = _safely("htpasswd", lambda: with_tables(found["htpasswd"]))
    return [found[name] for name in NAMES if name in found]


def _of_tables(*, is_thorough: bool) -> dict[str, Finding]:
    """The findings from the tables; only that of the database if it does not respond."""
    found = {}
    database = _safely("database", lambda: check_database(is_thorough=is_thorough))
    if settings.IS_POSTGRESQL or database.state == "bad":
        found["database"] = database
    if database.state == "bad":
        return found
    if several := _safely("hosts", check_hosts):
        found["hosts"] = several
    if jumped := _safely("clock", check_clock):
        found["clock"] = jumped
    if near := _safely("quotas", check_quotas):
        found["quotas"] = near
    if failed := _safely("retention", check_retention):
        found["retention"] = failed
    if saved := _safely("backup", check_backup):
        found["backup"] = saved
    if broken := _safely("integrity", gc.check_integrity):
        found["integrity"] = broken
    if changed := _safely("audit log", check_audit_log):
        found["audit log"] = changed
    return found | {
        "events": _safely("events", check_events),
        "index": _safely("index", check_index),
        "gc": _safely("gc", gc.check_gc),
        "worker": _safely("worker", lambda: worker(latest())),
    }


def _start(
    name: str, check: Callable[[], Finding | None]
) -> tuple[threading.Thread, list[Finding | None]]:
    """A thread that runs `check`, and the list for its answer.

    Daemon: a disk that hangs must not keep the process alive.
    """
    answers: list[Finding | None] = []
    thread = threading.Thread(
        target=lambda: answers.append(_safely(name, check)), name=f"doctor-{name}", daemon=True
    )
    thread.start()
    return thread, answers


def _safely(name: str, check: Callable[[], Found]) -> Found | Finding:
    """What `check` finds; a failing check is itself a finding, and does not end the round."""
    try:
        return check()
    except Exception as error:
        log.warning("doctor %s: %r", name, error)
        if kind := database_errors.kind(error):  # only this check met that part of the tables
            return _database_trouble(name, kind, error)
        return Finding(name, "bad", "broken", {"error": _short(error)})


def _late(name: str) -> Finding | None:
    if name == "packages":
        return None  # apt is slow on a busy machine; the next round has its answer
    return Finding(name, "bad", "late", {"seconds": LIMIT})


# -- registry ------------------------------------------------------------------------------------
def check_registry() -> Finding:
    """Does it respond, and does its configuration have what Boathouse needs?"""
    start = time.monotonic()
    port = settings.REGISTRY_PORT
    writes = [sockets.registry_address(name, port) for name in sockets.registries(port)[1:]]
    for url in (*writes, settings.REGISTRY_URL):
        try:
            with RegistryClient(url, timeout=(1.0, 2.0)) as client:
                version = client.ping()
        except RegistryError as error:
            code = "registry-unreachable" if isinstance(error, Unreachable) else "registry-answer"
            return Finding("registry", "bad", code, {"url": url, "error": _short(error)})
    milliseconds = round((time.monotonic() - start) * 1000)
    path = Path(settings.CONFIG_DIR) / "registry.yml"
    try:
        lacks = configuration_lacks(path.read_text())
    except (OSError, yaml.YAMLError):
        return Finding("registry", "warn", "registry-unconfigured", {"path": str(path)})
    if lacks:
        return Finding("registry", "warn", f"registry-{lacks}", {"path": str(path)})
    if port:
        return Finding("registry", "warn", "registry-open", {"port": port})
    return Finding("registry", "ok", "registry-ok", {"ms": milliseconds, "version": version[:80]})


def configuration_lacks(text: str) -> str:
    """What a registry.yml lacks: "delete", "cache" (has a descriptor cache), "hook", or "".

    Raises yaml.YAMLError for invalid YAML.
    """
    found = yaml.safe_load(text)
    if _within(found, "storage", "delete", "enabled") is not True:
        return "delete"
    if _within(found, "storage", "cache", "blobdescriptor"):
        return "cache"
    hook = f":{settings.HOOK_PORT}/hooks/registry"
    endpoints = _within(found, "notifications", "endpoints") or []
    return "" if any(hook in str(_within(one, "url")) for one in endpoints) else "hook"


def _within(tree: Any, *keys: str) -> Any:
    """The value at that path of nested mappings; None: nothing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


# -- proxy ---------------------------------------------------------------------------------------
def check_proxy() -> Finding:
    """Does nginx present the right certificate, require a login for /v2/, and reach the portal?

    The request has an unknown user: to refuse it, nginx must have read the htpasswd file.
    """
    nobody = proxy.basic(f"doctor-{secrets.token_hex(8)}", "x")
    start = time.monotonic()
    try:
        answer = proxy.ask("/v2/", nobody)
        milliseconds = round((time.monotonic() - start) * 1000)
        portal = proxy.ask("/healthz", {}).status
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message or _short(error)
        return _proxy("bad", "proxy-untrusted", host=settings.HOST, error=reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        address = f"{proxy.address()}:{settings.PORT}"
        return _proxy("bad", "proxy-closed", address=address, error=_short(error))
    if problem := _proxy_problem(answer, portal):
        code, status = problem
        return _proxy("bad", code, status=status)
    shown = tls.read_certificate(tls.server_certificate()).fingerprint.replace(":", "").lower()
    if shown != answer.fingerprint:
        return _proxy("warn", "proxy-old-certificate")
    if held := write_freeze.freezes():
        until = max(one.until for one in held).isoformat()
        return _proxy("warn", "proxy-frozen", what=held[0].what, by=held[0].by, until=until)
    return _proxy("ok", "proxy-ok", ms=milliseconds, protocol=answer.protocol.replace("v", " "))


def _proxy(state: str, code: str, **params: Any) -> Finding:
    return Finding("proxy", state, code, params)


def _proxy_problem(answer: proxy.Answer, portal: int) -> tuple[str, int] | None:
    """(code, status) of what is wrong with the two answers, the more serious one first."""
    if answer.status == 200:
        return "proxy-open", answer.status
    if answer.status in (403, 500):  # nginx: file missing, file unreadable
        return "proxy-no-passwords", answer.status
    if answer.status in (502, 503, 504):
        return "proxy-no-registry", answer.status
    if answer.status == 429:  # somebody guesses from this address: nginx delays us, too
        return ("proxy-no-portal", portal) if portal != 200 else None
    if answer.status != 401 or not answer.challenge.lower().startswith("basic "):
        return "proxy-answer", answer.status
    return ("proxy-no-portal", portal) if portal != 200 else None


# -- database ------------------------------------------------------------------------------------
def check_database(*, is_thorough: bool = False) -> Finding:
    """Does it respond, does it have its tables, and, with `is_thorough`, is SQLite's file intact?
    That reads all of it."""
    start = time.monotonic()
    asks = "SHOW server_version" if settings.IS_POSTGRESQL else "SELECT sqlite_version()"
    try:
        with connection.cursor() as cursor:
            cursor.execute(asks)
            version = cursor.fetchone()[0]
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
            if is_thorough and not settings.IS_POSTGRESQL:
                cursor.execute("PRAGMA quick_check(1)")
                if (said := cursor.fetchone()[0]) != "ok":
                    return _database_trouble("database", "damaged", said)
    except DatabaseError as error:
        connection.close()
        return _database_trouble("database", database_errors.kind(error) or "away", error)
    milliseconds = round((time.monotonic() - start) * 1000)
    return Finding("database", "ok", "database-ok", {"ms": milliseconds, "version": version[:80]})


def _database_trouble(name: str, kind: database_errors.Kind, said: object) -> Finding:
    told = {"error": _short(said), "path": "" if settings.IS_POSTGRESQL else database_errors.path()}
    return Finding(name, "bad", f"database-{kind}", told)


# -- hosts ---------------------------------------------------------------------------------------
def check_hosts() -> Finding | None:
    """Do the other hosts publish changes? None if there is no other."""
    others = [one for one in hosts.all_hosts() if one.id != here()]
    if not others:
        return None
    if any(publish.count_late(one.id) for one in others):
        time.sleep(MOMENT * 3)  # they check four times a second
    late = [one for one in others if publish.count_late(one.id)]
    if late:
        count = max(publish.count_late(one.id) for one in late)
        return _hosts("bad", "hosts-late", late, count=count)
    if silent := [one for one in others if one.is_silent]:
        return _hosts("warn", "hosts-silent", silent)
    return _hosts("ok", "hosts-ok", others)


def _hosts(state: str, code: str, found: Sequence[hosts.Seen], **params: Any) -> Finding:
    seconds = max(round(one.ago.total_seconds()) for one in found)
    params |= {"names": [one.name for one in found[:5]], "count_hosts": len(found)}
    return Finding("hosts", state, code, {"seconds": seconds, **params})


# -- htpasswd ------------------------------------------------------------------------------------
def check_htpasswd() -> Finding:
    """Can nginx's workers read the htpasswd files and rights, and is each line valid? Differences
    from the tables: `with_tables`."""
    path = Path(settings.HTPASSWD_FILE)
    user = nginx_user()
    if blocked := unreadable_part(path, user):
        return _blocked("bad", "htpasswd", path, user, blocked)
    for name in publish.OPEN:
        marker = publish.open_marker(name)
        if blocked := unreadable_part(marker, user):
            return _blocked("bad", "rights", marker, user, blocked)
    users, wrong = read_lines(path.read_bytes())
    if wrong:
        params = {"path": str(path), "lines": wrong[:20], "users": users}
        return Finding("htpasswd", "warn", "htpasswd-lines", params)
    old = Path(settings.OVERLAP_FILE)
    if blocked := unreadable_part(old, user):
        return _blocked("warn", "htpasswd-old", old, user, blocked)
    if not users:
        return Finding("htpasswd", "warn", "htpasswd-empty", {"path": str(path)})
    if (names := _checked_slowly()) and (trouble := health.passwords_trouble()):
        told = {"count": len(names), "names": names[:5], "trouble": trouble}
        return Finding("htpasswd", "bad", "passwords-down", told)
    return Finding("htpasswd", "ok", "htpasswd-ok", {"users": users})


def _blocked(state: str, what: str, path: Path, user: User, blocked: Path) -> Finding:
    code = f"{what}-unreadable" if blocked.exists() else f"{what}-missing"
    told = {"path": str(path), "user": user.name, "blocked": str(blocked)}
    return Finding("htpasswd", state, code, told)


def with_tables(finding: Finding) -> Finding:
    """`finding` of the files, or the worse one that they differ from the tables."""
    if finding.state == "bad":
        return finding
    news = _against_tables()
    if news is not None and news.state == "bad":
        # A change may just be written to the files.
        time.sleep(MOMENT)
        news = _against_tables()
    return news or finding


def _against_tables() -> Finding | None:
    if late := publish.late_names():
        return _names("bad", "htpasswd-pending", late)
    if lacking := publish.names_without_markers():
        return _names("bad", "rights-lost", lacking)
    edits = drift.find()
    lost = [one.name for one in edits if one.what == drift.What.REMOVED]
    if lost and len(lost) == publish.count_lines():
        return _names("bad", "htpasswd-lost", lost)
    if edits:
        return _names("warn", "htpasswd-drift", [one.name for one in edits])
    slow = [name for name, line in publish.lines().items() if htpasswd.takes_longer_than_ours(line)]
    return _names("warn", "htpasswd-slow", slow) if slow else None


def _checked_slowly() -> list[str]:
    """Users with a slow hash, which the passwords process checks."""
    return [n for n, line in publish.lines().items() if not htpasswd.kind(line).is_quick]


def _names(state: str, code: str, names: list[str]) -> Finding:
    return Finding("htpasswd", state, code, {"count": len(names), "names": names[:5]})


def read_lines(content: bytes) -> tuple[int, list[int]]:
    """(users, numbers of lines that allow no login), lines counted from 1."""
    users, wrong = 0, []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip() or line.startswith(b"#"):
            continue
        found = htpasswd.parse(line)
        if any(htpasswd.kind(line_hash) != htpasswd.Kind.UNKNOWN for line_hash in found.values()):
            users += htpasswd.CANARY not in found
        else:
            wrong.append(number)
    return users, wrong


@dataclass(frozen=True, slots=True)
class User:
    """An account of this machine."""

    name: str
    uid: int
    groups: frozenset[int]


def nginx_user() -> User:
    """The user of nginx's workers: `user` in nginx.conf if its master is root, else ourselves."""
    own = os.geteuid()
    if own == 0:
        try:
            text = (Path(settings.CONFIG_DIR) / "nginx.conf").read_text()
            named = re.search(r"^\s*user\s+([^\s;]+)", text, re.MULTILINE)
            row = pwd.getpwnam(named[1] if named else "www-data")
            groups = os.getgrouplist(row.pw_name, row.pw_gid)
            return User(row.pw_name, row.pw_uid, frozenset(groups))
        except (OSError, KeyError):
            pass  # no configuration yet, or no such account: use ourselves
    return User(_user_name(own), own, frozenset({os.getegid(), *os.getgroups()}))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's arbitrary uid
        return str(uid)


def unreadable_part(path: Path, user: User) -> Path | None:
    """The first folder that `user` may not enter, or the file that they may not read; None: fine.

    By the mode bits; access lists are ignored.
    """
    for part in [*reversed(path.resolve().parents), path.resolve()]:
        try:
            status = part.stat()
        except OSError:
            return part
        wanted = stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH
        if status.st_uid == user.uid:
            wanted <<= 6
        elif status.st_gid in user.groups:
            wanted <<= 3
        if user.uid != 0 and not status.st_mode & wanted:
            return part
    return None


# -- certificate ---------------------------------------------------------------------------------
def check_certificate() -> Finding:
    """Does it have the host's name, who else can read its key, and for how many days is it
    valid?"""
    path, key = tls.server_certificate(), tls.server_key()
    try:
        leaf = tls.read_certificate(path)
        authority = tls.ca_certificate()
        ca = tls.read_certificate(authority) if authority else None
    except ValueError as error:
        return _certificate("bad", "certificate-unreadable", error=_short(error))
    days = leaf.days_left()
    ca_days = ca.days_left() if ca else None
    own = authority is None
    if days < 0:
        return _certificate("bad", "certificate-expired", days=-days, own=own)
    try:
        tls.check_pair(path, key)
    except ValueError as error:
        return _certificate("bad", "certificate-wrong", error=_short(error), own=own)
    if ca_days is not None and ca_days < 180:
        state = "bad" if ca_days < 30 else "warn"
        return _certificate(state, "certificate-authority", days=max(ca_days, 0))
    if days < tls.RENEW_DAYS - 2:  # two days of grace for the worker that renews
        return _certificate("bad" if days < 7 else "warn", "certificate-ends", days=days, own=own)
    if key.stat().st_mode & (0o007 if own else 0o077):
        return _certificate("bad", "certificate-key", path=str(key))
    until = leaf.not_after.date().isoformat()
    any_name = ca is not None and not ca.may_sign
    return _certificate(
        "ok", "certificate-ok", days=days, until=until, ca_days=ca_days, any_name=any_name
    )


def _certificate(state: str, code: str, **params: Any) -> Finding:
    return Finding("certificate", state, code, params)


# -- events --------------------------------------------------------------------------------------
def check_events(*, now: datetime | None = None) -> Finding:
    """Do the registry's events arrive, and are they applied in time?"""
    now = now or timezone.now()
    waiting = RegistryEvent.objects.filter(applied_at=None).order_by("id")
    if oldest := waiting.first():
        seconds = int((now - oldest.received_at).total_seconds())
        if seconds > 60:
            params = {"seconds": seconds, "count": waiting.count(), "error": oldest.error}
            state = "bad" if seconds > 300 else "warn"
            return Finding("events", state, "events-late", params)
    newest = RegistryEvent.objects.order_by("-id").values_list("received_at", flat=True).first()
    if untold := changes_without_event(newest):
        return Finding("events", "bad", "events-silent", {"changes": untold})
    if newest is None:
        return Finding("events", "ok", "events-none")
    return Finding("events", "ok", "events-ok", {"at": newest.isoformat()})


def changes_without_event(newest: datetime | None) -> int:
    """Tags that the newest sync found changed although no event came since the sync before it.

    The first sync finds everything by itself, so it does not count.
    """
    syncs = Run.objects.filter(kind=Run.Kind.SYNC, state=Run.State.DONE).order_by("-started_at")
    pair = list(syncs[:2])
    if len(pair) < 2 or pair[1].finished_at is None or (newest and newest >= pair[1].finished_at):
        return 0
    result = Result.of(pair[0])
    return result.added + result.moved


# -- audit log -----------------------------------------------------------------------------------
def check_clock() -> Finding | None:
    """None: no jump of this host's clock is known."""
    known = clock.known()
    if not known.has_jumped:
        return None
    told = {"shown": known.shown_at.isoformat(), "believed": known.believed.isoformat()}
    return Finding("clock", "bad", "clock-jumped", told)


def check_audit_log() -> Finding | None:
    """None: the newest of the worker's daily checks succeeded, or there was none yet."""
    found = newest_check()
    if found is None or not found.count:
        return None
    return Finding("audit log", "bad", "audit-log-changed", {"at": found.at.isoformat()})


# -- index ---------------------------------------------------------------------------------------
def check_index() -> Finding:
    """How long ago was the last complete sync?"""
    now = timezone.now()
    syncs = Run.objects.filter(kind=Run.Kind.SYNC).order_by("-started_at")
    done = syncs.filter(state=Run.State.DONE).values_list("finished_at", flat=True).first()
    last = syncs.defer("result").first()
    params: dict[str, Any] = {"every": settings.SYNC_MINUTES}
    if last and runs.is_alive(last):
        return Finding("index", "ok", "index-running", {"done": last.done})
    if last and last.state == Run.State.FAILED:
        params["error"] = last.log.strip().splitlines()[-1][:200] if last.log.strip() else ""
        params["at"] = done.isoformat() if done else ""
        return Finding("index", "bad", "index-failed", params)
    if done is None:
        return Finding("index", "warn", "index-never", params)
    params["at"] = done.isoformat()
    late = (now - done) / timedelta(minutes=settings.SYNC_MINUTES)
    if late > 2:
        return Finding("index", "bad" if late > ROUNDS_LATE else "warn", "index-old", params)
    return Finding("index", "ok", "index-ok", params)


# -- store ---------------------------------------------------------------------------------------
def check_store(*, is_thorough: bool = False) -> Finding:
    """Is the index built from the store itself, and does it respond; or why not? And can it be
    written: by our user, who usually is the registry's; `is_thorough`: by the registry itself."""
    if is_thorough and (unwritten := _unwritten()):
        return unwritten
    choice = choose.choose()
    if choice.code:
        # HTTP by setting is fine; a store by setting that cannot be read stops every sync.
        is_wish = choice.code == "store-unwanted"
        state = "ok" if is_wish else "bad" if choice.kind == "store" else "warn"
        return Finding("store", state, choice.code, {**choice.params, "user": _own_name()})
    storage = storages.of_settings()
    start = time.monotonic()
    try:
        choose.open_store(storage).ping()
    except RegistryError as error:
        return Finding("store", "bad", "store-silent", {"error": _short(error)})
    if blocked := choose.unwritable():
        told = {"path": blocked, "user": _own_name()}
        return Finding("store", "bad", "store-unwritable", told)
    milliseconds = round((time.monotonic() - start) * 1000)
    syncs = Run.objects.filter(kind=Run.Kind.SYNC, state=Run.State.DONE).order_by("-started_at")
    newest = syncs.first()
    synced = Result.of(newest) if newest else Result()
    for code, links in (
        ("store-links", synced.unfollowed),
        ("store-elsewhere", synced.elsewhere),
    ):
        if links:
            return Finding("store", "warn", code, {"path": links[0], "count": len(links)})
    params = {"place": f"{storage.driver}: {storage.root}", "ms": milliseconds}
    return Finding("store", "ok", "store-ok", params)


def _unwritten() -> Finding | None:
    """The registry's error if it cannot write its store; None if it can, or does not run."""
    try:
        with RegistryClient(settings.REGISTRY_URL, timeout=(1.0, 2.0)) as client:
            client.prove_writes()
    except Unreachable:
        return None  # reported by `check_registry`
    except (RegistryError, ValueError) as error:
        told = {"error": _short(error), "place": storages.of_settings().root}
        return Finding("store", "bad", "store-unwritten", told)
    return None


def _own_name() -> str:
    return _user_name(os.geteuid())


# -- disk ----------------------------------------------------------------------------------------
# Free bytes of a disk, and their share of it, below which it is reported. A small share of
# a huge disk is still enough, and so is most of a small one.
WARN, BAD = (5_000_000_000, 0.10), (1_000_000_000, 0.02)
HUGE, EMPTY = 50_000_000_000, 0.5  # free bytes; free share


def check_disk() -> Finding:
    """Is there enough space? Also inodes: a tag takes a dozen small files."""
    folder = Path(settings.DATA)
    usage = shutil.disk_usage(folder)
    entries = os.statvfs(folder)
    params = {"free": usage.free, "total": usage.total, "path": str(folder)}
    if not os.access(folder, os.W_OK):
        return Finding("disk", "bad", "disk-readonly", params)
    if entries.f_files and entries.f_favail / entries.f_files < BAD[1]:
        return Finding("disk", "bad", "disk-entries", {**params, "entries": entries.f_favail})
    if space.gate().exists():
        return Finding("disk", "bad", "disk-full", params)
    share = usage.free / usage.total if usage.total else 0.0
    for state, (least_bytes, least_share) in (("bad", BAD), ("warn", WARN)):
        few = usage.free < least_bytes and share < EMPTY
        if few or (share < least_share and usage.free < HUGE):
            return Finding("disk", state, "disk-low", params)
    return Finding("disk", "ok", "disk-ok", params)


def _with_days(finding: Finding, *, now: datetime | None = None) -> Finding:
    """`finding` with `days` until the disk is full, by the oldest round of the last month.

    No `days` if nothing was measured for a day, or the disk does not fill up.
    """
    free = finding.params.get("free")
    first = (
        Run.objects.filter(kind=Run.Kind.DOCTOR, state=Run.State.DONE, host=here())
        .order_by("started_at")
        .values_list("started_at", "result")
        .first()
    )
    if first is None or not isinstance(free, int):
        return finding
    then = next((one for one in from_json(first[1].get("findings")) if one.name == "disk"), None)
    before = then.params.get("free") if then else None
    days = ((now or timezone.now()) - first[0]) / timedelta(days=1)
    if days < 1 or not isinstance(before, int) or before <= free:
        return finding
    left = int(free / ((before - free) / days))
    state, code = finding.state, finding.code
    if finding.state == "ok" and left < 14:
        state, code = "warn", "disk-soon"
    return Finding("disk", state, code, {**finding.params, "days": left})


def _short(error: object) -> str:
    """An error in one line of limited length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
