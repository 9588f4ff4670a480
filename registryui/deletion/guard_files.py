"""Where nginx has to ask before it lets a client delete or push: files that it looks for.

    DATA/guard/delete/…   there may be protected tags      each has in it what a client is told
    DATA/guard/push/…     there may be immutable tags      while the portal cannot be asked
    DATA/guard/rules.json 0600: the protections themselves, for a database that was lost

`…` is `@all`, `team/@all` (below team/) or `team/api/@one`, as in DATA/rights (accounts/rights.py).
A pattern is made coarser where a place cannot say it: `team/v*-x` is below team/. So a file only
sends a request to the portal (guard.py), which knows exactly. nginx looks at every request: a file
counts from the next one on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import transaction

from registryui import audit, marker_files
from registryui.accounts import rights
from registryui.models import AuditEvent, Protection
from registryui.models.patterns import ANY
from registryui.oci import patterns
from registryui.oci.names import check_repository

_KEPT = ("repositories", "tags", "is_immutable", "note", "by")  # of a row, in rules.json
SPOKEN = 8  # rules that one answer names
_WORDS = {
    "delete": "tags are protected here ({rules}), and the portal, which knows which, does not "
    "answer; try again when it does",
    "push": "tags are immutable here ({rules}), and the portal, which knows which, does not "
    "answer; try again when it does",
}

_written: list[tuple[object, ...]] = []  # the protections that this process wrote last


def folder() -> Path:
    """Where the files are; nginx's configuration names it."""
    return Path(settings.DATA / "guard")


def catch_up() -> None:
    """Writes the files if the protections are others than this process has written: on several
    hosts somebody else changes them. One small query."""
    if _written != _key(rows := list(Protection.objects.order_by("id"))):
        _write(rows)


def write() -> None:
    """Makes the files say what the tables say. OSError; not to be called in a transaction."""
    _write(list(Protection.objects.order_by("id")))


def _write(rows: list[Protection]) -> None:
    with marker_files.alone(folder()):
        rows = list(Protection.objects.order_by("id"))  # of two writers the later has the later
        wanted = _wanted(rows)
        for path, content in wanted.items():
            marker_files.put(folder(), path, content)
        kept = json.dumps([_facts(row) for row in rows]).encode()
        marker_files.put(folder(), _rules_file(), kept, mode=0o600)
        marker_files.remove_others(folder(), {*wanted, _rules_file()})
    _written[:] = _key(rows)


def adopt_lost() -> int:
    """Adds the protections of a database that was lost to one that has never been used: without a
    row of the audit log; returns how many. To be called before anything else writes."""
    if AuditEvent.objects.exists() or Protection.objects.exists():
        return 0
    try:
        found = [Protection(**facts) for facts in json.loads(_rules_file().read_bytes())]
    except (OSError, ValueError, TypeError):
        return 0
    # Older versions had the same patterns twice, once as immutable, which is the stronger.
    immutable = {str(row) for row in found if row.is_immutable}
    found = [row for row in found if row.is_immutable or str(row) not in immutable]
    with transaction.atomic():
        Protection.objects.bulk_create(found, ignore_conflicts=True)
        for row in found:
            audit.record("protection.add", str(row), by="command line", details={"note": row.note})
    return len(found)


def _rules_file() -> Path:
    return folder() / "rules.json"


def _facts(row: Protection) -> dict[str, object]:
    return {name: getattr(row, name) for name in _KEPT}


def _key(rows: Iterable[Protection]) -> list[tuple[object, ...]]:
    return [(row.repositories, row.tags, row.is_immutable) for row in rows]


def _wanted(rows: Iterable[Protection]) -> dict[Path, bytes]:
    """Path to content of each file."""
    rules: dict[Path, list[str]] = defaultdict(list)
    for row in rows:
        for place in places(row.repositories):
            rules[folder() / "delete" / place].append(str(row))
            if row.is_immutable:
                rules[folder() / "push" / place].append(str(row))
    return {path: _said(path, some) for path, some in rules.items()}


def _said(path: Path, rules: list[str]) -> bytes:
    words = _WORDS[path.relative_to(folder()).parts[0]]
    more = f" and {len(rules) - SPOKEN} more" if len(rules) > SPOKEN else ""
    message = words.format(rules=", ".join(rules[:SPOKEN]) + more)
    error = {"code": "DENIED", "message": message, "detail": None}
    return json.dumps({"errors": [error]}).encode()


def places(repositories: str) -> set[str]:
    """The files that stand for these patterns: each repository that matches is within one."""
    return {place for one in patterns.parse(repositories) for place in _place(one)}


def _place(pattern: str) -> Iterator[str]:
    head, star, _rest = pattern.partition(ANY)
    name = head.rpartition("/")[0] if star else head
    if star and "/" not in head:
        yield "@all"
        return
    with suppress(ValueError):  # no repository is called so: nothing matches
        check_repository(name)
        if star:
            yield f"{'/'.join(name.split('/')[: rights.MOST_PARTS])}/@all"
        else:
            yield f"{name}/@one"
