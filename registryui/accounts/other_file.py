"""Another htpasswd file, whose users become registry users here. Every hash is kept: nobody needs
a new password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from django.db import IntegrityError

from registryui.models import RegistryUser

from . import htpasswd, publish, rights, users


class Verdict(Enum):
    """What becomes of a line."""

    TAKEN = "taken"
    THERE = "there"  # the same name with the same hash
    CLASH = "clash"  # a registry user of that name has another hash
    FOREIGN = "foreign"  # the file here has a line of that name that is nobody's
    UNKNOWN_HASH = "unknown hash"  # nginx accepts no login with it
    BAD_NAME = "bad name"  # it cannot be a registry user's
    OWN = "own"  # Boathouse's own line, of another instance


@dataclass(frozen=True, slots=True)
class Line:
    """A user of the other file."""

    name: str
    line_hash: str
    verdict: Verdict
    like: str = ""  # a registry user whose name differs only in case

    @property
    def kind(self) -> htpasswd.Kind:
        """Of its hash."""
        return htpasswd.kind(self.line_hash)

    @property
    def may_have_rights(self) -> bool:
        """Whether nginx can look up rights of that name."""
        return rights.can_have(self.name)


def plan(content: bytes) -> list[Line]:
    """What would become of each user of that file, in its order. Three queries."""
    known = dict(RegistryUser.objects.values_list("name", "secret_hash"))
    folded = {name.casefold(): name for name in known}
    here = publish.lines()
    found = []
    for raw, raw_hash in htpasswd.parse_bytes(content).items():
        name, line_hash = raw.decode(errors="replace"), raw_hash.decode(errors="replace")
        verdict = Verdict.TAKEN
        if name == htpasswd.CANARY:
            verdict = Verdict.OWN
        elif name in known:
            verdict = Verdict.THERE if _is_same(known[name], line_hash) else Verdict.CLASH
        elif name.encode() != raw or not users.can_adopt(name, "{SHA}x"):
            verdict = Verdict.BAD_NAME
        elif htpasswd.kind(line_hash) is htpasswd.Kind.UNKNOWN:
            verdict = Verdict.UNKNOWN_HASH
        elif name in here:
            verdict = Verdict.FOREIGN
        elif not users.can_adopt(name, line_hash):
            verdict = Verdict.UNKNOWN_HASH
        like = folded.get(name.casefold(), "")
        found.append(Line(name, line_hash, verdict, like if like != name else ""))
    return found


def _is_same(known: str, line_hash: str) -> bool:
    """Whether that is the same secret; one in clear was hashed when it came here."""
    clear = line_hash.removeprefix("{PLAIN}")
    return known == line_hash or (clear != line_hash and htpasswd.verify(known, clear))


def take(lines: Sequence[Line], may: rights.Rights, *, by: str) -> publish.Proof | None:
    """Makes registry users of those that can be; None if there is none. Refused."""
    taken = {one.name: one.line_hash for one in lines if one.verdict is Verdict.TAKEN}
    if not taken:
        return None
    try:
        rows = users.adopt(taken, by=by, may=may)
    except IntegrityError as error:  # a row of that name was created meanwhile
        raise users.changed_meanwhile() from error
    return users.written(rows, undo=lambda: users.forget(rows), act="user.adopt", by=by)
