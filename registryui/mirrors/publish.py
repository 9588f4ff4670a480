"""The only writer of the files that nginx and the mirror service read, from the table of mirrors.

    DATA/mirrors/NAME/                is there if NAME is a mirror: nginx then refuses writes to it
    DATA/mirrors/NAME/refusal.json    what a client is told then
    DATA/mirrors/NAME/upstream.json   0600: what the service needs, the password encrypted
    DATA/mirrors/NAME/active          is there if the upstream may be asked
    DATA/mirrors/NAME/state.json      written by the service: state.py
    DATA/mirrors/rows.json            0600: the rows themselves, for a database that was lost

nginx looks at every request and the service at least once a second, so a change counts from then
on, also on hosts where the portal is down. On each of several hosts the worker writes them, four
times a second if something changed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings
from django.db import transaction

from registryui import audit, files, locks
from registryui.models import Mirror
from registryui.oci import names, patterns

# Of a row, in rows.json.
_KEPT = (
    *("name", "url", "user", "secret", "allow", "deny", "fresh_minutes", "keep_days", "keep_bytes"),
    *("pins", "ca", "proxy", "is_library", "is_active", "open_port", "networks", "made_by"),
)

_written: list[tuple[object, ...]] = []  # the mirrors that this process wrote last


def folder() -> Path:
    """Where the files are; nginx's configuration names it."""
    return Path(settings.MIRRORS_DIR)


def catch_up() -> bool:
    """Writes the files if the mirrors are others than this process has written: on several hosts
    somebody else changes them. One small query; True if it wrote."""
    if _written == _key(rows := _rows()) and (rows or not _removable(set())):
        return False
    write()
    return True


def write() -> None:
    """Makes the files say what the table says. OSError; not to be called in a transaction."""
    _written.clear()  # if it fails halfway, the next one writes all again
    _make(folder())
    with _alone():
        rows = _rows()  # of two writers the later one has the later rows
        for row in rows:
            _write(row)
        for gone in _removable({row.name for row in rows}):
            _remove(gone)
        kept = [{name: getattr(row, name) for name in _KEPT} for row in rows]
        _put(_rows_file(), json.dumps(kept).encode(), mode=0o600)
    _written[:] = _key(rows)


def adopt_lost() -> int:
    """Adds the mirrors of a database that was lost to one that has never been used, as the caller
    knows; returns how many. To be called before `write`: a mirror that no row has becomes an
    ordinary namespace."""
    if Mirror.objects.exists():
        return 0
    try:
        found = [Mirror(**facts) for facts in json.loads(_rows_file().read_bytes())]
    except (OSError, ValueError, TypeError):
        return 0
    with transaction.atomic():
        Mirror.objects.bulk_create(found)
        for row in found:
            audit.record("mirror.add", row.name, by="command line", details={"url": row.url})
    return len(found)


def _rows_file() -> Path:
    return folder() / "rows.json"


def _write(row: Mirror) -> None:
    """`active` goes first and comes last: the service never asks an upstream that is half written,
    and no client can push before it is refused."""
    place = folder() / row.name
    active = place / "active"
    if not row.is_active:
        active.unlink(missing_ok=True)
    _make(place)
    _put(place / "refusal.json", refusal(row), mode=0o644)
    _put(place / "upstream.json", json.dumps(upstream(row)).encode(), mode=0o600)
    if row.is_active:
        _put(active, b"", mode=0o644)


def upstream(row: Mirror) -> dict[str, object]:
    """What the mirror service reads."""
    return {
        "name": row.name,
        "url": row.url,
        "user": row.user,
        "secret": row.secret,
        "allow": list(patterns.parse(row.allow)) if row.allow else [],
        "deny": list(patterns.parse(row.deny)) if row.deny else [],
        "fresh_seconds": row.fresh_minutes * 60,
        "is_library": row.is_library,
        "ca": row.ca,
        "proxy": row.proxy,
    }


def refusal(row: Mirror) -> bytes:
    """What docker prints for a push: an error of distribution-spec."""
    message = f"{row.name} is a mirror of {row.url}: nothing can be pushed or deleted here"
    error = {"code": "UNSUPPORTED", "message": message, "detail": None}
    return json.dumps({"errors": [error]}).encode()


def _rows() -> list[Mirror]:
    return list(Mirror.objects.order_by("name"))


def _key(rows: Sequence[Mirror]) -> list[tuple[object, ...]]:
    """What the files depend on."""
    return [tuple(getattr(row, name) for name in _KEPT) for row in rows]


def _removable(kept: set[str]) -> list[Path]:
    """Folders of mirrors that no row has."""
    if not folder().is_dir():
        return []
    found = (one for one in folder().iterdir() if one.is_dir() and one.name not in kept)
    return [one for one in found if names.is_part(one.name)]


def _remove(place: Path) -> None:
    """The folder last: while it is there, nobody can push. The service may still write to it."""
    (place / "active").unlink(missing_ok=True)
    (place / "upstream.json").unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        shutil.rmtree(place)


@contextmanager
def _alone() -> Iterator[None]:
    handle = os.open(folder() / ".lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        locks.take(handle)
        yield
    finally:
        os.close(handle)


def _make(place: Path) -> None:
    """That folder, which nginx can pass but not list."""
    place.mkdir(parents=True, exist_ok=True)
    if place.stat().st_mode & 0o777 != 0o711:  # whatever the umask
        place.chmod(0o711)


def _put(path: Path, content: bytes, *, mode: int) -> None:
    with suppress(OSError):
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return
    files.write(path, content, mode=mode)
