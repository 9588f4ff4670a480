"""`./boathouse operator …`: the people who log in to the portal."""

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError

from registryui import formats, offboarding, operators
from registryui.accounts import grants
from registryui.management import user_arguments, user_facts
from registryui.management.command import (
    BY,
    BoathouseCommand,
    Options,
    Usage,
    add_act,
    add_yes,
    find_operator,
    given_password,
)
from registryui.models import Operator, Right, Role

Said = tuple[str, Any]  # lines for people, facts for programs
_ASKED = "Add --registry-users disable, --registry-users keep, or --hand-over-to OPERATOR."


class Command(BoathouseCommand):
    help = "Add, list and change operators, the people who log in to the portal."

    def add_arguments(self, parser: Any) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        add_act(acts, "list", "list all operators")
        add = add_act(acts, "add", "add an operator; prints the password once")
        _with_name(add)
        add.add_argument("--role", choices=Role.values, default=Role.VIEWER.value)
        _with_password(add)
        show = add_act(acts, "show", "show an operator: grants and registry users")
        _with_name(show)
        role = add_act(acts, "role", "change the role")
        _with_name(role)
        role.add_argument("role", choices=Role.values)
        _with_answer(role)
        grant = add_act(acts, "grant", "the most that a maintainer can grant to registry users")
        _with_name(grant)
        user_arguments.add_rights(grant)
        grant.add_argument("--none", action="store_true", help="no rights")
        grant.add_argument(
            "--longest",
            type=user_arguments.days,
            default=365,
            metavar="TIME",
            help="maximum duration: 90d, 1y, or never to expire (1y)",
        )
        password = add_act(acts, "password", "set a new password; prints it once")
        _with_name(password)
        _with_password(password)
        disable = add_act(acts, "disable", "disable; sessions end immediately")
        _with_name(disable)
        _with_answer(disable)
        _with_name(add_act(acts, "enable", "enable"))
        remove = add_act(acts, "remove", "remove permanently")
        _with_name(remove)
        _with_answer(remove)
        add_yes(remove)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["act"] == "remove":
            name = find_operator(options["name"]).username
            question = f"Remove {name}? This cannot be undone; disabling can."
            self.confirm([question], word="yes", options=options)
        try:
            lines, facts = _ACTS[options["act"]](options)
        except offboarding.Ask as error:
            raise CommandError(f"{error} {_ASKED}") from error
        self.say(facts, lines)


def _with_name(parser: Any) -> None:
    parser.add_argument("name", metavar="NAME")


def _with_answer(parser: Any) -> None:
    """For those who go: what becomes of their registry users."""
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument(
        "--registry-users",
        choices=("disable", "keep"),
        help="what happens to the registry users of this operator",
    )
    answer.add_argument(
        "--hand-over-to", default="", metavar="OPERATOR", help="the new owner of the registry users"
    )


def _with_password(parser: Any) -> None:
    parser.add_argument(
        "--password-stdin", action="store_true", help="read it from the first line of the input"
    )


def _list(options: Options) -> Said:
    rows = list(Operator.objects.prefetch_related("grants").order_by("username"))
    lines = [[row.username, row.role, "on" if row.is_active else "off"] for row in rows]
    return formats.columns(lines), [_facts(row) for row in rows]


def _facts(row: Operator) -> dict[str, Any]:
    seen = row.last_login.isoformat() if row.last_login else None
    facts = {"name": row.username, "role": row.role, "active": row.is_active, "last_login": seen}
    if row.role != Role.MAINTAINER:
        return facts
    may: dict[str, list[str]] = {action: [] for action in Right.Action.values}
    for one in row.grants.all():
        may[one.action].append(one.scope)
    return {**facts, "may_give": may, "longest_days": row.longest_days}


def _show(options: Options) -> Said:
    row = find_operator(options["name"])
    working = [one.name for one in offboarding.working(row)]
    others = [one.name for one in offboarding.made_for_others(row)]
    giver = grants.of(row)
    longest = f"for at most {giver.longest.days} days" if giver.longest else "without expiry"
    gives = "everything, without expiry" if giver.is_unlimited else "nothing"
    if giver.may:
        gives = f"{grants.words(giver.may)}, {longest}"
    lines = [
        ["Operator", row.username],
        ["Role", f"{row.role}, {'enabled' if row.is_active else 'disabled'}"],
        ["May grant", gives],
        ["Registry users", ", ".join(working) or "-"],
        ["Created for others", ", ".join(others) or "-"],
    ]
    facts = {"registry_users": working, "made_for_others": others}
    return formats.columns(lines), {**_facts(row), **facts}


def _grant(options: Options) -> Said:
    row = find_operator(options["name"])
    may = user_arguments.rights_in(options)
    if bool(may) == options["none"]:
        raise Usage("Give --pull, --push or --delete, or --none alone.")
    operators.set_grant(row, may, longest_days=options["longest"], by=BY)
    lines = [f"{row.username} may grant: {grants.words(may)}."]
    if row.role != Role.MAINTAINER:
        lines.append(
            f"This applies once {row.username} is a maintainer; the role is {row.role} now."
        )
    return "\n".join(lines), _facts(row)


def _add(options: Options) -> Said:
    given = given_password(options)
    row, password = operators.add(
        options["name"], role=Role(options["role"]), by=BY, password=given
    )
    return _with_secret(row, "" if given else password)


def _password(options: Options) -> Said:
    given = given_password(options)
    row = find_operator(options["name"])
    password = operators.set_password(row, by=BY, password=given)
    return _with_secret(row, "" if given else password)


def _role(options: Options) -> Said:
    row, role = find_operator(options["name"]), Role(options["role"])
    handover = offboarding.set_role(row, role, by=BY, answer=_answer(options))
    lines = [f"Changed the role of {row.username} to {role}."]
    if role == Role.MAINTAINER and not row.grants.exists():
        lines.append(
            f"{row.username} cannot grant rights to registry users yet: "
            f"./boathouse operator grant {row.username} --push 'team/*' --pull 'team/*'"
        )
    return _with(lines, handover), _facts(row)


def _disable(options: Options) -> Said:
    row = find_operator(options["name"])
    handover = offboarding.disable(row, by=BY, answer=_answer(options))
    return _with([f"Disabled {row.username}."], handover), _facts(row)


def _enable(options: Options) -> Said:
    row = find_operator(options["name"])
    operators.set_active(row, is_active=True, by=BY)
    return f"{row.username} is enabled.", _facts(row)


def _remove(options: Options) -> Said:
    row = find_operator(options["name"])
    handover = offboarding.remove(row, by=BY, answer=_answer(options))
    return _with([f"Removed {row.username}."], handover), {"removed": row.username}


def _answer(options: Options) -> offboarding.Answer | None:
    if to := options["hand_over_to"]:
        return offboarding.Answer("hand over", find_operator(to))
    what = options["registry_users"]
    return offboarding.Answer(what) if what else None


def _with(lines: list[str], handover: offboarding.Handover) -> str:
    """The lines, and what became of the registry users."""
    names = ", ".join(one.name for one in handover.users)
    if handover.answer is None or not names:
        return "\n".join(lines)
    to = handover.answer.to.username if handover.answer.to else ""
    did = {
        "disable": f"Disabled: {names}.",
        "hand over": f"Transferred to {to}, who should create new secrets: {names}.",
        "keep": f"Remain active: {names}.",
    }
    lines = [*lines, did[handover.answer.what]]
    if handover.proof is not None:
        lines.append(f"Proxy: {user_facts.proof_words(handover.proof)}.")
    return "\n".join(lines)


_ACTS: dict[str, Callable[[Options], Said]] = {
    "list": _list,
    "show": _show,
    "grant": _grant,
    "add": _add,
    "role": _role,
    "password": _password,
    "disable": _disable,
    "enable": _enable,
    "remove": _remove,
}


def _with_secret(row: Operator, password: str) -> Said:
    """Who was added or changed; the password only if it was generated."""
    lines = [f"Operator  {row.username} ({row.role})"]
    facts = {"name": row.username, "role": row.role}
    if password:
        return "\n".join([*lines, f"Password  {password}"]), {**facts, "password": password}
    return lines[0], facts
