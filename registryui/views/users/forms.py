"""What the forms of registry users say: rights, ends, owners. Every mistake is a Refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import QuerySet
from django.forms import ModelChoiceField, RegexField
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui.accounts import grants, rights
from registryui.models import NEVER, Operator, RegistryUser, Right, Role
from registryui.refused import Refused
from registryui.views.access import Request
from registryui.views.form import choice, day, read, text

MOST_SCOPES = 200  # in one form: each is a file that nginx may look for
OVERLAPS = ("0", "1", "24", "168")  # hours that old and new secret both work


# -- rights --------------------------------------------------------------------------------------
def rights_from(post: QueryDict) -> rights.Rights:
    """What the create form gives: a preset, or scopes for each action. Raises Refused."""
    presets = ("pull", "push", "namespace", "custom")
    asked = read(post, preset=choice(presets, _("Choose what the user may do.")), namespace=text())
    match asked["preset"]:
        case "pull":
            return rights.parse([(Right.Action.PULL, "*")])
        case "push":
            return rights.parse([(Right.Action.PULL, "*"), (Right.Action.PUSH, "*")])
        case "namespace":
            return _namespace(asked["namespace"])
        case _:
            return scopes_from(post)


def _namespace(typed: str) -> rights.Rights:
    name = typed.removesuffix("*").strip("/")
    if not name:
        raise Refused(_("Enter the namespace that the user may push to and pull from."))
    actions = (Right.Action.PULL, Right.Action.PUSH)
    return _parsed((action, f"{name}/*") for action in actions)


def scopes_from(post: QueryDict) -> rights.Rights:
    """The fields `pull`, `push` and `delete`, one scope a line. Raises Refused."""
    asked = read(post, **{action: text() for action in Right.Action.values})
    pairs = [
        (action, line)
        for action, lines in asked.items()
        for line in lines.splitlines()
        if line.strip()
    ]
    if len(pairs) > MOST_SCOPES:
        raise Refused(
            _("At most %(most)d scopes; use a namespace such as team/* for many repositories.")
            % {"most": MOST_SCOPES}
        )
    return _parsed(pairs)


def actions(
    request: Request, may: rights.Rights, *, is_typed: bool
) -> list[tuple[str, str, str, str]]:
    """For each action: name of its field, label, its scopes one a line, what it allows."""
    hints = {
        Right.Action.PULL: _("read tags, manifests and layers"),
        Right.Action.PUSH: _("write them, change tags"),
        Right.Action.DELETE: _("delete manifests and tags"),
    }
    return [
        (
            action.value,
            str(action.label),
            request.POST.get(action.value, "")
            if is_typed
            else "\n".join(sorted(scope for one, scope in may if one == action)),
            hint,
        )
        for action, hint in hints.items()
    ]


def _parsed(pairs: Iterable[tuple[str, str]]) -> rights.Rights:
    """The rights, or all that is wrong with them at once."""
    found, wrong = [], []
    for action, scope in pairs:
        try:
            found.append((action, rights.parse_scope(scope)))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise Refused(" ".join(dict.fromkeys(wrong[:5])))
    return rights.parse(found)


# -- when access ends ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class End:
    """A choice: what the form sends, what people read, the day it means (None: not known yet)."""

    value: str
    label: str
    day: datetime | None = None


def ends(giver: grants.Giver) -> list[End]:
    """The choices that this operator has, the default first."""
    now = timezone.now()
    choices = [
        End("183", _("in 6 months"), now + timedelta(days=183)),
        End("30", _("in 30 days"), now + timedelta(days=30)),
        End("365", _("in 1 year"), now + timedelta(days=365)),
        End("never", _("never expires")),
        End("date", _("after a date of your choice")),
    ]
    if giver.is_unlimited or giver.longest is None:
        return choices
    last = now + giver.longest
    return [one for one in choices if one.value == "date" or (one.day and one.day <= last)]


def end_from(post: QueryDict) -> datetime:
    """The end that was chosen: a time to come, NEVER, or now for `now`. Raises Refused."""
    ends = ("never", "now", "date", "30", "183", "365")
    match read(post, end=choice(ends, _("Choose an expiry date.")))["end"]:
        case "never":
            return NEVER
        case "now":
            return timezone.now()
        case "date":
            return _end_of_day(read(post, day=day(_("Choose the last day of access.")))["day"])
        case days:
            return timezone.now() + timedelta(days=int(days))


def _end_of_day(last_day: date) -> datetime:
    here = timezone.get_current_timezone()
    last = datetime.combine(last_day + timedelta(days=1), time.min, tzinfo=here)
    if last <= timezone.now():
        raise Refused(_("This date is in the past: choose a later one, or end the access now."))
    return last


# -- what a maintainer may give ------------------------------------------------------------------
def given_words(giver: grants.Giver) -> str:
    """What this operator may give, as a sentence; "" for everything, for ever."""
    if giver.is_unlimited:
        return ""
    if not giver.may:
        return _(
            "You cannot grant any rights yet: an administrator can allow it on your operator page."
        )
    granted = {"granted": grants.words(giver.may)}
    if giver.longest is None:
        return _("You can grant: %(granted)s.") % granted
    days = giver.longest.days
    return ngettext(
        "You can grant, for at most %(days)d day: %(granted)s.",
        "You can grant, for at most %(days)d days: %(granted)s.",
        days,
    ) % {**granted, "days": days}


def longests(now: int | None) -> list[tuple[str, str]]:
    """The longest times that can be granted; `now` is among them."""
    days = sorted({30, 90, 183, 365, *([now] if now else [])})
    words = [(str(one), ngettext("%(n)d day", "%(n)d days", one) % {"n": one}) for one in days]
    return [*words, ("never", _("never expires"))]


def longest_from(post: QueryDict) -> int | None:
    """For how many days at most; None: for ever. Raises Refused."""
    wrong = _("Choose the maximum duration of access.")
    messages = {"required": wrong, "invalid": wrong}
    asked = read(post, longest=RegexField(r"\A(never|[0-9]{1,5})\Z", error_messages=messages))
    return None if asked["longest"] == "never" else int(asked["longest"])


# -- the rest ------------------------------------------------------------------------------------
def overlap_from(post: QueryDict) -> timedelta:
    """How long the old secret works beside the new one. Raises Refused."""
    field = choice(OVERLAPS, _("Choose how long the old secret stays valid."), int)
    return timedelta(hours=read(post, overlap=field)["overlap"])


def overlaps() -> list[tuple[str, str]]:
    """The choices of a rotation, the strictest first."""
    words = (
        _("the old secret ends immediately"),
        _("both stay valid for 1 hour"),
        _("both stay valid for 1 day"),
        _("both stay valid for 7 days"),
    )
    return list(zip(OVERLAPS, words, strict=True))


def owners() -> QuerySet[Operator]:
    """Those who can manage a registry user of their own."""
    managers = Operator.objects.filter(role__in=(Role.MAINTAINER, Role.ADMIN), is_active=True)
    return managers.order_by("username")


def owner_from(request: Request, row: RegistryUser | None = None) -> Operator | None:
    """Whose the user is to be: an administrator chooses, a maintainer keeps. Raises Refused."""
    if not request.user.has_role(Role.ADMIN):
        return request.user
    known = owners()
    if row is not None:  # its owner may stay, even disabled meanwhile
        known |= Operator.objects.filter(pk=row.owner_id or 0)
    return chosen_operator(request.POST, "owner", known, _("Choose an owner from the list."))


def chosen_operator(
    post: QueryDict, name: str, known: QuerySet[Operator], wrong: str
) -> Operator | None:
    """One of these, None if nobody was chosen. Raises Refused with that sentence."""
    field = ModelChoiceField(known, required=False, error_messages={"invalid_choice": wrong})
    found: Operator | None = read(post, **{name: field})[name]
    return found


def empty(giver: grants.Giver) -> dict[str, Any]:
    """The create form before anybody has typed."""
    preset = "push" if giver.is_unlimited else "namespace"
    return {"preset": preset, "end": "183", "secret": "generated"}
