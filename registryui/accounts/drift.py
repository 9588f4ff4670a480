"""Where the htpasswd file says something else than the tables: somebody edited it by hand.

Nothing is done about it by itself. An operator sees each difference and takes it over into the
tables, puts the tables' line back, or lets it be; a change to another user leaves the line alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.db.models import TextChoices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from registryui.models import LineLeftAlone, RegistryUser
from registryui.refused import Refused

from . import htpasswd, publish, users


class What(TextChoices):
    """What a hand did to a line."""

    ADDED = "added", gettext_lazy("line added")
    CHANGED = "changed", gettext_lazy("hash changed")
    REMOVED = "removed", gettext_lazy("line removed")


@dataclass(frozen=True, slots=True)
class Difference:
    """One line that is not as the tables say."""

    name: str
    what: What
    line_hash: str  # as the file has it; "" if the line is gone


def find(*, with_left_alone: bool = False) -> list[Difference]:
    """Every difference, by name. Two queries; none while nobody else touched the file."""
    if publish.is_as_written() and not with_left_alone:
        return []
    found = _differences(publish.lines())
    left = dict(LineLeftAlone.objects.values_list("name", "line_hash"))
    news = [one for one in found if left.get(one.name) != one.line_hash]
    if not news:
        publish.remember()
    return found if with_left_alone else news


def _differences(lines: dict[str, str]) -> list[Difference]:
    # A pending row is written soon, whatever stands there.
    rows = dict(RegistryUser.objects.values_list("name", "published"))
    pending = set(RegistryUser.objects.filter(is_pending=True).values_list("name", flat=True))
    found = []
    for name in sorted((lines.keys() | rows.keys()) - pending):
        line, published = lines.get(name, ""), rows.get(name)
        if published is None:
            found.append(Difference(name, What.ADDED, line))
        elif line != published:
            what = What.CHANGED if line and published else What.ADDED if line else What.REMOVED
            found.append(Difference(name, what, line))
    return found


def take_over(differences: Sequence[Difference], *, by: str) -> publish.Proof:
    """The tables follow the file. New names get no right: what they may do is another decision.

    A user whose line is gone is switched off; one who was off and has a line is on again.
    Raises Refused if the file cannot be written, and for lines that no row can stand for: all
    others are taken over then.
    """
    with transaction.atomic():
        known = {
            row.name: row
            for row in RegistryUser.objects.select_for_update().filter(
                name__in=[one.name for one in differences]
            )
        }
        new = {one.name: one.line_hash for one in differences if one.name not in known}
        made = users.adopt(new, by=by)
        for one in differences:
            if (row := known.get(one.name)) is not None:
                row.is_active = bool(one.line_hash)
                # One who is only on again has the secret that we know.
                if one.line_hash and one.line_hash != row.secret_hash:
                    row.secret_hash, row.is_generated = users.safe_hash(one.line_hash), False
                row.is_pending = True
                row.save()
        LineLeftAlone.objects.filter(name__in=known).delete()
    proof = _write([row.pk for row in (*made, *known.values())])
    _refuse_leftovers(new.keys() - {row.name for row in made})
    return proof


def _refuse_leftovers(names: Iterable[str]) -> None:
    if odd := sorted(names):
        raise Refused(
            _("These lines cannot be taken over, because of their name or hash: %(names)s")
            % {"names": ", ".join(repr(name) for name in odd[:10])}
        )


def put_back(differences: Sequence[Difference]) -> publish.Proof:
    """The file follows the tables; what the hand wrote is in its last version. Raises Refused."""
    names = [one.name for one in differences]
    rows = RegistryUser.objects.filter(name__in=names)
    strange = set(names) - set(rows.values_list("name", flat=True))
    try:
        publish.take(strange)
    except (OSError, ValueError) as error:
        raise users.not_written(error) from error
    return _write(rows.values_list("pk", flat=True))


def leave_alone(differences: Sequence[Difference]) -> None:
    """The line stays as it is, and nobody is told again until it changes."""
    for one in differences:
        LineLeftAlone.objects.update_or_create(
            name=one.name, defaults={"line_hash": one.line_hash[:512]}
        )
    find()


def restore(version: Path, *, by: str) -> publish.Proof:
    """Puts a version of the file back, and the tables follow it. Raises Refused."""
    try:
        publish.put_version(version)
    except OSError as error:
        raise users.not_written(error) from error
    return take_over(find(with_left_alone=True), by=by)


def compare(version: Path) -> list[Difference]:
    """What putting that version back would do, seen from the file as it is now."""
    now, then = publish.lines(), htpasswd.parse(version.read_bytes())
    then.pop(htpasswd.CANARY, None)
    return [
        Difference(
            name,
            What.REMOVED if name not in then else What.CHANGED if name in now else What.ADDED,
            then.get(name, ""),
        )
        for name in sorted(now.keys() | then.keys())
        if now.get(name) != then.get(name)
    ]


def _write(pks: Iterable[int]) -> publish.Proof:
    try:
        canary = publish.write(list(pks))
    except OSError as error:
        raise users.not_written(error) from error
    find()
    return publish.prove(canary)
