"""`./boathouse operator …`: the people who log in to the portal."""

import json
import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui import operators
from registryui.models import Operator, Role
from registryui.refused import Refused

BY = "command line"


class Command(BaseCommand):
    help = "Add, list and change operators, the people who log in to the portal."

    requires_system_checks = []  # noqa: RUF012 (Django's own form); nothing here needs them

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        acts.add_parser("list", help="everybody").add_argument("--json", action="store_true")
        add = acts.add_parser("add", help="a new operator; prints the password once")
        _with_name(add)
        add.add_argument("--role", choices=Role.values, default=Role.VIEWER.value)
        _with_password(add)
        role = acts.add_parser("role", help="give another role")
        _with_name(role)
        role.add_argument("role", choices=Role.values)
        password = acts.add_parser("password", help="a new password; prints it once")
        _with_name(password)
        _with_password(password)
        _with_name(acts.add_parser("disable", help="switch off; sessions end at once"))
        _with_name(acts.add_parser("enable", help="switch on again"))
        _with_name(acts.add_parser("remove", help="forget for good"))

    def run_from_argv(self, argv: list[str]) -> None:
        logging.disable(logging.CRITICAL)  # what the log would say is what is printed here
        super().run_from_argv(["./boathouse", *argv[1:]])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(_ACTS[options["act"]](options))
        except Refused as error:
            raise CommandError(str(error)) from error


def _with_name(parser: Any) -> None:
    parser.add_argument("name", metavar="NAME")


def _with_password(parser: Any) -> None:
    parser.add_argument(
        "--password-stdin", action="store_true", help="read it from the first line of the input"
    )
    parser.add_argument("--json", action="store_true", help="print the same for programs")


def _list(options: dict[str, Any]) -> str:
    rows = list(Operator.objects.order_by("username"))
    if options["json"]:
        return json.dumps([_facts(row) for row in rows], indent=2)
    width = max((len(row.username) for row in rows), default=4)
    return "\n".join(
        f"{row.username:<{width}}  {row.role:<10}  {'on' if row.is_active else 'off'}"
        for row in rows
    )


def _facts(row: Operator) -> dict[str, Any]:
    seen = row.last_login.isoformat() if row.last_login else None
    return {"name": row.username, "role": row.role, "active": row.is_active, "last_login": seen}


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
    operators.set_role(_find(options["name"]), Role(options["role"]), by=BY)
    return f"{options['name']} is {options['role']} now."


def _disable(options: dict[str, Any]) -> str:
    operators.set_active(_find(options["name"]), is_active=False, by=BY)
    return f"{options['name']} is switched off."


def _enable(options: dict[str, Any]) -> str:
    operators.set_active(_find(options["name"]), is_active=True, by=BY)
    return f"{options['name']} is switched on."


def _remove(options: dict[str, Any]) -> str:
    operators.remove(_find(options["name"]), by=BY)
    return f"{options['name']} is removed."


_ACTS = {
    "list": _list,
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
        raise CommandError("The input holds no password.")
    return password


def _with_secret(row: Operator, password: str, options: dict[str, Any]) -> str:
    """Who was added or changed; the password only if it was generated."""
    if options["json"]:
        facts = {"name": row.username, "role": row.role}
        return json.dumps({**facts, "password": password} if password else facts)
    lines = [f"Operator  {row.username} ({row.role})"]
    return "\n".join([*lines, f"Password  {password}"] if password else lines)
