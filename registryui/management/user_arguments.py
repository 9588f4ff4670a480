"""The words of `./boathouse user …`: its arguments, and what people write for a scope or a time."""

import argparse
import calendar
import re
from datetime import datetime, time, timedelta
from typing import Any

from django.utils import timezone

from registryui.accounts import rights, users
from registryui.management.command import add_act, add_yes
from registryui.models import NEVER, Right, State

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


# -- what people write ---------------------------------------------------------------------------
def scope(text: str) -> str:
    """A scope in its one form."""
    try:
        return rights.parse_scope(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def overlap(text: str) -> timedelta:
    """`30m`, `1h`, `7d`; `0` for none."""
    found = re.fullmatch(r"(\d{1,6})([mhd])|0", text)
    if not found:
        raise argparse.ArgumentTypeError(f"“{text}” is not a duration: enter 1h, 1d or 7d.")
    return int(found[1]) * _UNITS[found[2]] if found[1] else timedelta(0)


def end(text: str) -> datetime:
    """When access ends: `12h`, `30d`, `6mo`, `1y` from now, a day (to its end), a time, `never`,
    `now`."""
    now = timezone.now()
    if text in ("never", "now"):
        return NEVER if text == "never" else now
    if found := re.fullmatch(r"(\d{1,4})(h|d|mo|y)", text):
        count, unit = int(found[1]), found[2]
        try:
            if unit in _UNITS:
                return now + count * _UNITS[unit]
            return _months_later(now, count * (12 if unit == "y" else 1))
        except (OverflowError, ValueError) as error:
            raise argparse.ArgumentTypeError(
                f"“{text}” is too far in the future: enter never."
            ) from error
    return _moment(text)


def days(text: str) -> int | None:
    """`90d`, `6mo`, `1y` as days; `never`, for no limit, as None."""
    if text == "never":
        return None
    if not re.fullmatch(r"\d{1,4}(d|mo|y)", text):
        raise argparse.ArgumentTypeError(
            f"“{text}” is not a duration: enter 90d, 6mo, 1y or never."
        )
    return max(1, round((end(text) - timezone.now()) / timedelta(days=1)))


def rights_in(options: dict[str, Any]) -> rights.Rights:
    """What the arguments of `add_rights` say."""
    return frozenset((action, one) for action in Right.Action.values for one in options[action])


def _months_later(when: datetime, months: int) -> datetime:
    year, month = divmod(when.year * 12 + when.month - 1 + months, 12)
    day = min(when.day, calendar.monthrange(year, month + 1)[1])
    return when.replace(year=year, month=month + 1, day=day)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):  # that day is the last one
            found = datetime.combine(found.date() + timedelta(days=1), time())
    except (OverflowError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"“{text}” is not an expiry date: enter 30d, 6mo, 1y, 2027-05-23 or never."
        ) from error
    return found if timezone.is_aware(found) else timezone.make_aware(found)


# -- the arguments -------------------------------------------------------------------------------
def add_to(parser: Any) -> None:
    """Every act with its arguments."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    _users(acts)
    _changes(acts)
    _file(acts)


def _users(acts: Any) -> None:
    one = add_act(acts, "add", "add a registry user; prints the secret once")
    one.add_argument("name", metavar="NAME")
    add_rights(one)
    one.add_argument("--note", default="", metavar="TEXT", help="purpose")
    one.add_argument(
        "--expires", type=end, default=NEVER, metavar="WHEN", help="30d, 6mo, 1y, 2027-05-23, never"
    )
    one.add_argument("--owner", default="", metavar="OPERATOR", help="the responsible operator")
    _password(one, required=False)
    many = add_act(acts, "list", "list registry users")
    many.add_argument("--state", choices=State.values, help="only users with this state")
    many.add_argument(
        "--unused", type=int, metavar="DAYS", help="only users unused for this many days"
    )
    add_act(acts, "show", "show a registry user").add_argument("name", metavar="NAME")
    many = add_act(acts, "denials", "who was refused what in the last 30 days, and why")
    many.add_argument("name", nargs="?", default="", metavar="NAME", help="only this user")
    many.add_argument("--repository", default="", metavar="NAME", help="only in this repository")
    many.add_argument("--limit", type=int, default=50, metavar="N", help="50")


def _changes(acts: Any) -> None:
    one = add_act(acts, "rights", "replace the rights")
    one.add_argument("name", metavar="NAME")
    add_rights(one)
    one.add_argument("--none", action="store_true", help="no rights")
    one = add_act(acts, "rotate", "create a new secret; prints it once")
    one.add_argument("name", metavar="NAME")
    one.add_argument(
        "--overlap",
        type=overlap,
        default=timedelta(0),
        metavar="TIME",
        help="the old secret stays valid for 1h, 1d, 7d",
    )
    one = add_act(acts, "password", "set a user-chosen password instead of the secret")
    one.add_argument("name", metavar="NAME")
    _password(one, required=True)
    for name, words in {
        "disable": "disable: rejected from the next request, everything else is kept",
        "enable": "enable",
        "remove": "remove; their pushes stay in the history under their name",
    }.items():
        several = add_act(acts, name, words)
        several.add_argument("names", nargs="+", metavar="NAME")
        if name == "remove":
            add_yes(several)
    many = add_act(acts, "expire", "set the expiry date")
    many.add_argument("names", nargs="+", metavar="NAME")
    many.add_argument("when", type=end, metavar="WHEN", help="30d, 6mo, 1y, 2027-05-23, never, now")
    one = add_act(acts, "note", "set the note")
    one.add_argument("name", metavar="NAME")
    one.add_argument("text", metavar="TEXT")
    one = add_act(acts, "owner", "set the owner: a maintainer manages only their own users")
    one.add_argument("name", metavar="NAME")
    one.add_argument("operator", metavar="OPERATOR", help="'' for nobody")


def _file(acts: Any) -> None:
    drift = add_act(
        acts, "drift", "list manual edits of the htpasswd file, and accept, revert or ignore them"
    )
    does = drift.add_mutually_exclusive_group()
    for option, words in {
        "--accept": "adopt the edit in the database",
        "--revert": "write the line again from the database",
        "--ignore": "keep the edit and do not report it again",
    }.items():
        does.add_argument(option, nargs="*", metavar="NAME", help=words)
    drift.add_argument("--all", action="store_true", help="all lines, with one of these three")
    add_act(acts, "versions", "list the htpasswd history")
    one = add_act(acts, "restore", "restore a version of the htpasswd file")
    one.add_argument("version", metavar="VERSION", help="its number or name in `versions`")
    one.add_argument("--dry-run", action="store_true", help="only show who can log in afterwards")
    add_act(acts, "publish", "write all files again from the database")


def add_rights(parser: Any) -> None:
    """--pull, --push and --delete, as `rights_in` reads them."""
    for action in Right.Action.values:
        parser.add_argument(
            f"--{action}",
            action="append",
            default=[],
            type=scope,
            metavar="SCOPE",
            help=f"may {action} in *, team/* or team/api; repeatable",
        )


def _password(parser: Any, *, required: bool) -> None:
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        required=required,
        help="the person's own, from the first line of the input: hashed at the first login in ten "
        "minutes, which guesses from the same address delay; a generated secret is not delayed",
    )
    parser.add_argument(
        "--cost",
        type=int,
        default=users.COST,
        metavar="N",
        help="bcrypt cost, 5 to 8; each step doubles the time of a first login (%(default)s)",
    )
