"""What `./boathouse user denials` prints: who was refused, and what to do about it."""

from collections.abc import Sequence
from typing import Any

from registryui import formats
from registryui.accounts import rights, users
from registryui.denials.found import Denied
from registryui.models import Denial, RegistryUser, Right

_Reason = Denial.Reason
_ADVICE = {
    _Reason.WRONG_PASSWORD: "log in with the current secret, or ./boathouse user rotate {user}",
    _Reason.UNKNOWN_USER: "check the client's user name: ./boathouse user list shows all",
    _Reason.DISABLED: "./boathouse user enable {user}",
    _Reason.EXPIRED: "./boathouse user expire {user} 90d",
    _Reason.PROTECTED: "push another tag, or see ./boathouse protect list",
    _Reason.QUOTA: "delete tags there, or raise the quota",
    _Reason.FROZEN: "try again after the freeze: ./boathouse freeze status",
    _Reason.RATE_LIMITED: "look for a client with a wrong password at that address",
    _Reason.DISK_FULL: "free disk space: ./boathouse gc",
    _Reason.MIRROR: "push to a repository outside of the mirror",
}


def of(one: Denied) -> dict[str, Any]:
    """Facts for programs; times are ISO 8601, null where denials were not told apart."""
    return {
        "user": one.actor or None,
        "action": one.action or None,
        "repository": one.repository or None,
        "reason": one.reason,
        "count": one.count,
        "first_at": one.first_at.isoformat(timespec="seconds"),
        "last_at": one.at.isoformat(timespec="seconds"),
        "addresses": one.addresses,
        "address": one.address or None,
        "client": one.client or None,
        "told_apart": not one.is_others,
    }


def lines(found: Sequence[Denied]) -> str:
    """A line for each, then what helps, once for each user and reason."""
    if not found:
        return "Nobody was refused in the last 30 days."
    head = ["LAST", "TIMES", "USER", "ACTION", "REPOSITORY", "REASON", "FROM", "CLIENT"]
    advice = dict.fromkeys(filter(None, map(_advice, found)))
    return "\n".join(
        [formats.columns([head, *map(_cells, found)]), *(["", *advice] if advice else [])]
    )


def _cells(one: Denied) -> list[str]:
    at = one.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    more = f" (+{one.addresses - 1})" if one.addresses > 1 else ""
    user = one.actor or "(unknown)"
    where = "(not told apart)" if one.is_others else one.repository
    cells = [at, one.count, user, one.action, where, one.reason, one.address + more, one.client]
    return [formats.cell(cell, most=100) for cell in cells]


def _advice(one: Denied) -> str:
    if one.reason == _Reason.NO_RIGHT:
        return _right(one)
    words = _ADVICE.get(_Reason(one.reason), "")
    if "{user}" in words and not one.actor:
        return ""
    return f"{one.reason}: {words.format(user=one.actor)}" if words else ""


def _right(one: Denied) -> str:
    """The command that gives the right, with the rights that the user has."""
    row = RegistryUser.objects.filter(name=one.actor).prefetch_related("rights").first()
    if row is None or one.action not in Right.Action.values:
        return ""
    scope = one.repository or rights.EVERYWHERE
    may = users.rights_of(row)
    if rights.may(may, one.action, scope):
        return f"{one.actor} may {one.action} {scope} by now."
    wanted = may | {(one.action, scope)}
    options = [
        f"--{action} '{allowed}'"
        for action in Right.Action
        for allowed in rights.scopes(wanted, action)
    ]
    return (
        f"To let {one.actor} {one.action} {scope}: "
        f"./boathouse user rights {one.actor} {' '.join(options)}"
    )
