"""`./boathouse operator …`: the people who log in to the portal."""

import json
import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui import offboarding, operators
from registryui.accounts import grants
from registryui.management import user_arguments, user_facts
from registryui.models import Operator, Right, Role
from registryui.refused import Refused

BY = "command line"
_ASKED = "Add --registry-users disable, --registry-users keep, or --hand-over-to OPERATOR."


class Command(BaseCommand):
    help = "Add, list and change operators, the people who log in to the portal."

    requires_system_checks = []  # noqa: RUF012 (Django's own form); nothing here needs them

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        acts.add_parser("list", help="list all operators").add_argument(
            "--json", action="store_true"
        )
        add = acts.add_parser("add", help="add an operator; prints the password once")
        _with_name(add)
        add.add_argument("--role", choices=Role.values, default=Role.VIEWER.value)
        _with_password(add)
        show = acts.add_parser("show", help="show an operator: grants and registry users")
        _with_name(show)
        show.add_argument("--json", action="store_true")
        role = acts.add_parser("role", help="change the role")
        _with_name(role)
        role.add_argument("role", choices=Role.values)
        _with_answer(role)
        grant = acts.add_parser(
            "grant", help="the most that a maintainer can grant to registry users"
        )
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
        password = acts.add_parser("password", help="set a new password; prints it once")
        _with_name(password)
        _with_password(password)
        disable = acts.add_parser("disable", help="disable; sessions end immediately")
        _with_name(disable)
        _with_answer(disable)
        _with_name(acts.add_parser("enable", help="enable"))
        remove = acts.add_parser("remove", help="remove permanently")
        _with_name(remove)
        _with_answer(remove)

    def run_from_argv(self, argv: list[str]) -> None:
        logging.disable(logging.CRITICAL)  # what the log would say is what is printed here
        super().run_from_argv(["./boathouse", *argv[1:]])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(_ACTS[options["act"]](options))
        except offboarding.Ask as error:
            raise CommandError(f"{error} {_ASKED}") from error
        except Refused as error:
            raise CommandError(str(error)) from error


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
    parser.add_argument("--json", action="store_true", help="print the same for programs")


def _list(options: dict[str, Any]) -> str:
    rows = list(Operator.objects.prefetch_related("grants").order_by("username"))
    if options["json"]:
        return json.dumps([_facts(row) for row in rows], indent=2)
    width = max((len(row.username) for row in rows), default=4)
    return "\n".join(
        f"{row.username:<{width}}  {row.role:<10}  {'enabled' if row.is_active else 'disabled'}"
        for row in rows
    )


def _facts(row: Operator) -> dict[str, Any]:
    seen = row.last_login.isoformat() if row.last_login else None
    facts = {"name": row.username, "role": row.role, "active": row.is_active, "last_login": seen}
    if row.role != Role.MAINTAINER:
        return facts
    may: dict[str, list[str]] = {action: [] for action in Right.Action.values}
    for one in row.grants.all():
        may[one.action].append(one.scope)
    return {**facts, "may_give": may, "longest_days": row.longest_days}


def _show(options: dict[str, Any]) -> str:
    row = _find(options["name"])
    working = [one.name for one in offboarding.working(row)]
    others = [one.name for one in offboarding.made_for_others(row)]
    if options["json"]:
        facts = {"registry_users": working, "made_for_others": others}
        return json.dumps({**_facts(row), **facts}, indent=2)
    giver = grants.of(row)
    longest = f"for at most {giver.longest.days} days" if giver.longest else "without expiry"
    gives = "everything, without expiry" if giver.is_unlimited else "nothing"
    if giver.may:
        gives = f"{grants.words(giver.may)}, {longest}"
    return user_facts.columns(
        [
            ["Operator", row.username],
            ["Role", f"{row.role}, {'enabled' if row.is_active else 'disabled'}"],
            ["May grant", gives],
            ["Registry users", ", ".join(working) or "-"],
            ["Created for others", ", ".join(others) or "-"],
        ]
    )


def _grant(options: dict[str, Any]) -> str:
    row = _find(options["name"])
    may = user_arguments.rights_in(options)
    if bool(may) == options["none"]:
        raise CommandError("Give --pull, --push or --delete, or --none alone.")
    operators.set_grant(row, may, longest_days=options["longest"], by=BY)
    lines = [f"{row.username} may grant: {grants.words(may)}."]
    if row.role != Role.MAINTAINER:
        lines.append(
            f"This applies once {row.username} is a maintainer; the role is {row.role} now."
        )
    return "\n".join(lines)


def _add(options: dict[str, Any]) -> str:
    given = _given_password(options)
    row, password = operators.add(
        options["name"], role=Role(options["role"]), by=BY, password=given
    )
    return _with_secret(row, "" if given else password, options)


def _password(options: dict[str, Any]) -> str:
    given = _given_password(options)
    row = _find(options["name"])
    password = operators.set_password(row, by=BY, password=given)
    return _with_secret(row, "" if given else password, options)


def _role(options: dict[str, Any]) -> str:
    row, role = _find(options["name"]), Role(options["role"])
    settled = offboarding.set_role(row, role, by=BY, answer=_answer(options))
    lines = [f"Changed the role of {row.username} to {role}."]
    if role == Role.MAINTAINER and not row.grants.exists():
        lines.append(
            f"{row.username} cannot grant rights to registry users yet: "
            f"./boathouse operator grant {row.username} --push 'team/*' --pull 'team/*'"
        )
    return _with(lines, settled)


def _disable(options: dict[str, Any]) -> str:
    row = _find(options["name"])
    settled = offboarding.disable(row, by=BY, answer=_answer(options))
    return _with([f"Disabled {row.username}."], settled)


def _enable(options: dict[str, Any]) -> str:
    operators.set_active(_find(options["name"]), is_active=True, by=BY)
    return f"Enabled {options['name']}."


def _remove(options: dict[str, Any]) -> str:
    row = _find(options["name"])
    settled = offboarding.remove(row, by=BY, answer=_answer(options))
    return _with([f"Removed {row.username}."], settled)


def _answer(options: dict[str, Any]) -> offboarding.Answer | None:
    if to := options["hand_over_to"]:
        return offboarding.Answer("hand over", _find(to))
    what = options["registry_users"]
    return offboarding.Answer(what) if what else None


def _with(lines: list[str], settled: offboarding.Settled) -> str:
    """The lines, and what became of the registry users."""
    names = ", ".join(one.name for one in settled.users)
    if settled.answer is None or not names:
        return "\n".join(lines)
    to = settled.answer.to.username if settled.answer.to else ""
    did = {
        "disable": f"Disabled: {names}.",
        "hand over": f"Transferred to {to}, who should create new secrets: {names}.",
        "keep": f"Remain active: {names}.",
    }
    lines = [*lines, did[settled.answer.what]]
    if settled.proof is not None:
        lines.append(f"Proxy: {user_facts.proof_words(settled.proof)}.")
    return "\n".join(lines)


_ACTS = {
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


def _find(name: str) -> Operator:
    row = Operator.objects.filter(username=name).first()
    if row is None:
        raise CommandError(f"There is no operator {name}.")
    return row


def _given_password(options: dict[str, Any]) -> str:
    """The password on the input, "" if one is to be made. An empty line is a mistake."""
    if not options["password_stdin"]:
        return ""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("The input contains no password.")
    return password


def _with_secret(row: Operator, password: str, options: dict[str, Any]) -> str:
    """Who was added or changed; the password only if it was generated."""
    if options["json"]:
        facts = {"name": row.username, "role": row.role}
        return json.dumps({**facts, "password": password} if password else facts)
    lines = [f"Operator  {row.username} ({row.role})"]
    return "\n".join([*lines, f"Password  {password}"] if password else lines)
