"""What `./boathouse user …` prints of registry users: facts for programs, lines for people.

Never a hash; a secret only where it was just made.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from registryui import formats
from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.accounts.users import Done
from registryui.models import NEVER, UNKNOWN, RegistryUser, Right, actor_name, portal_actor

_ACTIONS = Right.Action.values


# -- facts ---------------------------------------------------------------------------------------
def of(row: RegistryUser) -> dict[str, Any]:
    """One user; times are ISO 8601 or null."""
    may = users.rights_of(row)
    return {
        "name": row.name,
        "state": row.state.value,
        "rights": {action: rights.scopes(may, action) for action in _ACTIONS},
        "note": row.note,
        "owner": row.owner.username if row.owner else None,
        "expires_at": _time(row.expires_at),
        "secret": {
            "generated": row.is_generated,
            "hash": htpasswd.kind(row.secret_hash).value,
            "set_at": _time(row.secret_at),
            "old_works_until": _time(row.old_until) if row.wanted_old else None,
        },
        "made_at": _time(row.made_at),
        "made_by": actor_name(row.made_by),
        "used_at": _time(row.used_at),
        "used_from": row.used_from,
        "used_with": row.used_with,
        "pending": row.is_pending,
    }


def of_proof(proof: publish.Proof) -> dict[str, Any]:
    """What a login through the proxy returned."""
    return {
        "proved": proof.is_proved,
        "ms": round(proof.seconds * 1000, 1) if proof.is_proved else None,
        "reason": proof.reason,
    }


def of_done(done: Done) -> dict[str, Any]:
    """What came of an act on one user."""
    found: dict[str, Any] = {"user": of(done.user), "proof": of_proof(done.proof)}
    found |= {"warning": done.warning} if done.warning else {}
    return found | ({"secret": done.secret} if done.secret else {})


def of_differences(found: Iterable[drift.Difference]) -> list[dict[str, str]]:
    """Lines that a hand has changed."""
    return [
        {"name": one.name, "what": one.what.value, "hash": htpasswd.kind(one.line_hash).value}
        for one in found
    ]


def _time(when: datetime) -> str | None:
    return None if when in (NEVER, UNKNOWN) else when.isoformat(timespec="seconds")


# -- lines ---------------------------------------------------------------------------------------
def table(rows: Sequence[RegistryUser]) -> str:
    """One line a user."""
    if not rows:
        return "No registry users."
    lines = [["NAME", "STATE", "PULL", "PUSH", "DELETE", "LAST USED", "EXPIRES", "NOTE"]]
    for row in rows:
        fact = of(row)
        lines.append(
            [
                row.name,
                fact["state"],
                *(", ".join(fact["rights"][action]) or "-" for action in _ACTIONS),
                _day(row.used_at),
                _day(row.expires_at),
                row.note,
            ]
        )
    return formats.columns(lines)


def block(row: RegistryUser) -> str:
    """Everything about one user, a line for each fact."""
    fact = of(row)
    secret = fact["secret"]
    kind = "generated" if secret["generated"] else "user-chosen or imported"
    lines = [["Registry user", row.name], ["State", fact["state"]]]
    lines += [["May " + action, ", ".join(fact["rights"][action]) or "-"] for action in _ACTIONS]
    lines += [
        ["Note", row.note or "-"],
        ["Owner", fact["owner"] or "-"],
        ["Expires", _when(row.expires_at)],
        ["Secret", f"{kind}, {secret['hash'] or 'unknown hash'}, {_when(row.secret_at)}"],
        ["Created", f"{_when(row.made_at)} by {portal_actor(row.made_by)}"],
        ["Last used", _used(row)],
    ]
    if row.wanted_old:
        lines.append(["Old secret", f"valid until {_when(row.old_until)}"])
    if row.is_pending:
        lines.append(["Files", "not up to date yet: ./boathouse user publish writes them"])
    return formats.columns(lines)


def done_lines(done: Done) -> str:
    """What came of an act on one user, with the secret if one was made."""
    lines = [["Registry user", done.user.name]]
    if done.secret:
        lines.append(["Secret", f"{done.secret}   (shown only once)"])
    lines += [["State", done.user.state.value], ["Rights", _rights(done.user)]]
    if done.user.expires_at != NEVER:
        lines.append(["Expires", _when(done.user.expires_at)])
    if done.user.wanted_old:
        lines.append(["Old secret", f"works until {_when(done.user.old_until)}"])
    lines.append(["Proxy", proof_words(done.proof)])
    if done.warning:
        lines.append(["Warning", done.warning])
    return formats.columns(lines)


def state_words(row: RegistryUser) -> str:
    """Whether the user may log in now, and until when."""
    until = f", until {_when(row.expires_at)}" if row.expires_at != NEVER else ""
    return f"{row.name} is {row.state.label.lower()}{until}."


def proof_words(proof: publish.Proof) -> str:
    """Whether a login through the proxy proved it."""
    if proof.is_proved:
        return f"verified with a login in {proof.seconds * 1000:.0f} ms"
    return f"the files are written, but not verified with a login ({proof.reason})"


def _rights(row: RegistryUser) -> str:
    may = users.rights_of(row)
    said = (f"{action} {', '.join(rights.scopes(may, action))}" for action in _ACTIONS)
    return "; ".join(one for one in said if not one.endswith(" ")) or "none: login only"


def _used(row: RegistryUser) -> str:
    if row.used_at == UNKNOWN:
        return "never"
    return f"{_when(row.used_at)} from {row.used_from or '?'} with {row.used_with or '?'}"


def _when(when: datetime) -> str:
    return _time(when) or "never"


def _day(when: datetime) -> str:
    return "never" if when in (NEVER, UNKNOWN) else when.date().isoformat()
