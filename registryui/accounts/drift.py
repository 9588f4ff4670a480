"""Manual edits of the htpasswd file: where it differs from the tables.

Nothing is done automatically. An administrator sees each difference and accepts it into the tables,
reverts it, or ignores it; a change to another user leaves the line alone.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import TextChoices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from registryui import audit
from registryui.models import LineLeftAlone, RegistryUser, new_generation
from registryui.models.registry_user import RegistryUserQuerySet
from registryui.refused import Refused

from . import grants, htpasswd, publish, users

# The actions in the audit log, on a line and on the file.
TAKE_OVER, REVERT, LEAVE = "line.take_over", "line.put_back", "line.leave"
RESTORE = "file.restore"


class What(TextChoices):
    """The manual change of a line."""

    ADDED = "added", gettext_lazy("line added")
    CHANGED = "changed", gettext_lazy("hash changed")
    REMOVED = "removed", gettext_lazy("line removed")


@dataclass(frozen=True, slots=True)
class Difference:
    """One line that differs from the tables."""

    name: str
    what: What
    line_hash: str  # in the file; "" if the line is missing


def find(*, with_left_alone: bool = False) -> list[Difference]:
    """Every difference, by name. Two queries; none while only we have changed the file.

    Takes the files' lock, so not inside a transaction.
    """
    if publish.is_as_written() and not with_left_alone:
        return []
    if not settings.HTPASSWD_FILE.parent.is_dir():
        return []  # the data folder is missing: not a manual edit, and the doctor reports it
    with publish.lock():  # else an unfinished write of ours looks like a manual edit
        seen = publish.stamp() if settings.HTPASSWD_FILE.exists() else None
        found = _differences(publish.lines())
        news = _news(found)
        if seen and not news and not publish.is_as_written():
            publish.remember(seen)
    return found if with_left_alone else news


def _news(differences: Iterable[Difference]) -> list[Difference]:
    """Those that are not ignored."""
    if not (found := list(differences)):
        return []
    left = dict(LineLeftAlone.objects.values_list("name", "line_hash"))
    return [one for one in found if left.get(_short(one.name, 255)) != _short(one.line_hash)]


def _short(text: str, most: int = 512) -> str:
    """The text, if it fits in a column; else its digest."""
    if len(text) <= most and "\0" not in text:
        return text
    return hashlib.sha256(text.encode()).hexdigest()


def _differences(lines: dict[str, str]) -> list[Difference]:
    ours = publish.lines_of_users()
    # Pending rows are written soon, and lines of users removed elsewhere are deleted anyway.
    pending = {name for name, line in ours.items() if line is None}
    if strange := lines.keys() - ours.keys():
        pending |= publish.published(strange).keys()
    found = []
    for name in sorted((lines.keys() | ours.keys()) - pending):
        line, published = lines.get(name, ""), ours.get(name)
        if published is None:
            found.append(Difference(name, What.ADDED, line))
        elif line != published:
            what = What.CHANGED if line and published else What.ADDED if line else What.REMOVED
            found.append(Difference(name, what, line))
    return found


def take_over(differences: Sequence[Difference], *, by: str) -> publish.Proof:
    """Changes the tables to match the file. New names get no rights.

    A user whose line is missing is disabled; a disabled one with a line is enabled. Raises Refused,
    and nothing has changed, for a line that cannot be a row and if the file cannot be written.
    """
    grants.only_administrators(TAKE_OVER, [one.name for one in differences], by=by)
    if odd := sorted(one.name for one in differences if not _can_be_taken(one)):
        raise Refused(
            _("These lines cannot be accepted because of their name or hash: %(names)s")
            % {"names": ", ".join(repr(name) for name in odd[:10])}
        )
    followed, undo = _follow(differences, by=by)
    names = [one.name for one in differences]
    return _write([row.pk for row in followed], undo=undo, act=TAKE_OVER, names=names, by=by)


def _can_be_taken(one: Difference) -> bool:
    return one.what == What.REMOVED or users.can_adopt(one.name, one.line_hash)


def _follow(
    differences: Sequence[Difference], *, by: str
) -> tuple[list[RegistryUser], Callable[[], None]]:
    """Changes and creates rows to match these lines; those rows, and how to undo it."""
    lines = {one.name: one.line_hash for one in differences}
    try:
        with transaction.atomic():
            known = list(_rows(lines).select_for_update().order_by("pk"))
            before = [users.snapshot(row) for row in known]
            for row in known:
                line_hash = lines.pop(row.name)
                row.is_active = bool(line_hash)
                # One who is only enabled has the secret that we know.
                if line_hash and line_hash != row.secret_hash:
                    row.secret_hash, row.is_generated = users.safe_hash(line_hash), False
                row.generation = new_generation()
                row.save()
            after = [users.snapshot(row) for row in known]
            audit.record_each(TAKE_OVER, [row.name for row in known], by=by)
            made = users.adopt(lines, by=by)
    except IntegrityError as error:  # a row of that name was created meanwhile
        raise users.changed_meanwhile() from error

    def undo() -> None:
        users.restore(before, after)
        users.forget(made)

    return known + made, undo


def restore_lines(differences: Sequence[Difference], *, by: str) -> publish.Proof:
    """Changes the file to match the tables; its last version has the manual edit. Raises
    Refused."""
    grants.only_administrators(REVERT, [one.name for one in differences], by=by)
    rows = _rows(one.name for one in differences)
    strange = {one.name for one in differences} - set(rows.values_list("name", flat=True))
    names, pks = [one.name for one in differences], rows.values_list("pk", flat=True)
    proof = _write(pks, without=strange, act=REVERT, names=names, by=by)
    with transaction.atomic():
        LineLeftAlone.objects.filter(name__in=[_short(name, 255) for name in strange]).delete()
        audit.record_each(REVERT, names, by=by)
    return proof


@transaction.atomic
def _note_left_alone(differences: Sequence[Difference], *, by: str) -> None:
    for one in differences:
        LineLeftAlone.objects.update_or_create(
            name=_short(one.name, 255), defaults={"line_hash": _short(one.line_hash)}
        )
    audit.record_each(LEAVE, [one.name for one in differences], by=by)


def leave_alone(differences: Sequence[Difference], *, by: str) -> None:
    """Ignores the line until it changes. Raises Refused."""
    grants.only_administrators(LEAVE, [one.name for one in differences], by=by)
    _note_left_alone(differences, by=by)
    find()


def restore(version: Path, *, by: str) -> publish.Proof:
    """Restores a version of the file, and changes the tables to match. Raises Refused.

    Lines that cannot be rows are restored as well, and are differences then.
    """
    grants.only_administrators(RESTORE, [version.name], by=by)
    try:
        content = version.read_bytes()
    except OSError as error:  # 20 newer ones have replaced it meanwhile
        raise users.not_written(error) from error
    news = [one for one in _news(_differences(_users_of(content))) if _can_be_taken(one)]
    followed, undo = _follow(news, by=by)
    pks, names = [row.pk for row in followed], [version.name]
    proof = _write(pks, instead=content, undo=undo, act=RESTORE, names=names, by=by)
    audit.record(RESTORE, version.name, by=by, details={"users": len(followed)})
    return proof


def compare(version: Path) -> list[Difference]:
    """What restoring that version would change in the file as it is now."""
    now, then = publish.lines(), _users_of(version.read_bytes())
    return [
        Difference(
            name,
            What.REMOVED if name not in then else What.CHANGED if name in now else What.ADDED,
            then.get(name, ""),
        )
        for name in sorted(now.keys() | then.keys())
        if now.get(name) != then.get(name)
    ]


def _users_of(content: bytes) -> dict[str, str]:
    found = htpasswd.parse(content)
    found.pop(htpasswd.CANARY, None)
    return found


def _rows(names: Iterable[str]) -> RegistryUserQuerySet:
    # A database may refuse a query for a name with NUL, which no row has.
    return RegistryUser.objects.filter(name__in=[name for name in names if "\0" not in name])


def _write(
    pks: Iterable[int],
    *,
    act: str,
    names: Sequence[str],
    by: str,
    without: Collection[str] = (),
    instead: bytes | None = None,
    undo: Callable[[], None] = lambda: None,
) -> publish.Proof:
    try:
        canary = publish.write(list(pks), without=without, instead=instead, undo=undo)
    except OSError as error:
        users.record_failure(act, names, by=by, error=error)
        raise users.not_written(error) from error
    with contextlib.suppress(OSError):  # done is done
        find()
    return publish.prove(canary)
