"""Retention in words, for pages and commands, in the active language: a rule as a sentence, why a
tag goes or stays, what became of a run. Plain text: whoever shows it escapes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from registryui import schedules
from registryui.models import RetentionFate

from .decide import FIRST, Code


# -- a rule --------------------------------------------------------------------------------------
def sentence(policy: Mapping[str, Any]) -> str:
    """`rule`: rules.facts(…)."""
    keeps = _joined(_keeps(policy))
    names = {"repositories": policy["repositories"], "tags": policy["tags"], "keeps": keeps}
    if policy["tags"] == "*":
        return _("In %(repositories)s, keep %(keeps)s; delete all other tags.") % names
    return _("Of the tags %(tags)s in %(repositories)s, keep %(keeps)s; delete the others.") % names


def _keeps(policy: Mapping[str, Any]) -> list[str]:
    found = []
    if n := policy["keep_newest"]:
        found.append(_("the newest %(n)d") % {"n": n})
    if n := policy["keep_pushed_days"]:
        found.append(
            ngettext(
                "what was pushed in the last %(n)d day", "what was pushed in the last %(n)d days", n
            )
            % {"n": n}
        )
    if n := policy["keep_pulled_days"]:
        found.append(
            ngettext(
                "what was pulled in the last %(n)d day", "what was pulled in the last %(n)d days", n
            )
            % {"n": n}
        )
    if names := policy["keep_tags"]:
        found.append(_("what is named %(names)s") % {"names": names})
    return found


def _joined(parts: list[str]) -> str:
    """ "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return _("%(first)s and %(last)s") % {
        "first": pgettext("between names in a list", ", ").join(parts[:-1]),
        "last": parts[-1],
    }


def when(policy: Mapping[str, Any]) -> str:
    """When it runs: "every Sunday at 04:00", "only by hand"."""
    return schedules.words(policy["schedule"]) if policy["schedule"] else _("only by hand")


# -- a tag ---------------------------------------------------------------------------------------
def because(fate: RetentionFate, policy: Mapping[str, Any], at: datetime) -> str:
    """Why it goes, stays or did not go. `at`: the moment of the run, from which days are counted;
    `rule`: rules.facts(…) of then."""
    if fate.kind == RetentionFate.Kind.FAILED:
        return _failed(fate.note)
    if fate.reason == Code.GOES:
        return pgettext("between clauses", "; ").join(_why_it_goes(fate, policy, at))
    why = _why_it_stays(fate, at)
    if fate.policy:
        return _("the rule %(rule)s keeps it: %(why)s") % {"rule": fate.policy, "why": why}
    return why


def _why_it_goes(fate: RetentionFate, policy: Mapping[str, Any], at: datetime) -> list[str]:
    parts = [_pushed(fate, at)]
    if n := policy["keep_newest"]:
        place = {"n": n, "place": fate.number}
        parts.append(_("place %(place)d by push time, only the newest %(n)d stay") % place)
    parts.append(_pulled(fate, at))
    if fate.beside:
        parts.append(_("only the name goes: %(tag)s stays on its image") % {"tag": fate.beside})
    return parts


def _pushed(fate: RetentionFate, at: datetime) -> str:
    n = max((at - fate.tagged_at).days, 0)
    if n == 0:
        return _("pushed less than a day before")
    return ngettext("pushed %(n)d day before", "pushed %(n)d days before", n) % {"n": n}


def _pulled(fate: RetentionFate, at: datetime) -> str:
    if fate.pulled_at < FIRST:
        return _("no pull is known")
    n = max((at - fate.pulled_at).days, 0)
    if n == 0:
        return _("pulled less than a day before")
    return ngettext("last pulled %(n)d day before", "last pulled %(n)d days before", n) % {"n": n}


def _why_it_stays(fate: RetentionFate, at: datetime) -> str:
    n = {"n": fate.number}
    match fate.reason:
        case Code.UNNAMED:
            return _("the rule does not name it")
        case Code.REFERRER:
            return _("it is attached to an image and follows it")
        case Code.NEWEST:
            return _("among the newest %(n)d") % n
        case Code.PUSHED:
            said = ngettext(
                "pushed within the last %(n)d day", "pushed within the last %(n)d days", fate.number
            )
            return said % n
        case Code.PULLED:
            said = ngettext(
                "pulled within the last %(n)d day", "pulled within the last %(n)d days", fate.number
            )
            return said % n
        case Code.TOO_NEW:
            said = ngettext(
                "too young to know if it is pulled: pushed within the last %(n)d day",
                "too young to know if it is pulled: pushed within the last %(n)d days",
                fate.number,
            )
            return said % n
        case Code.UNWATCHED:
            said = ngettext(
                "no pull is known, but pulls have not been noted for %(n)d day yet",
                "no pull is known, but pulls have not been noted for %(n)d days yet",
                fate.number,
            )
            return said % n
        case Code.NAMED:
            return _("to be kept by its name: %(names)s") % {"names": fate.note}
        case Code.PROTECTED:
            return _("protected: %(protection)s") % {"protection": fate.note}
        case Code.UNDATED:
            return _("nobody knows when it was pushed")
        case Code.FUTURE:
            return _("its push time lies in the future: a clock was wrong")
        case Code.BROKEN:
            return _("it is broken: look at it before it is deleted")
    return str(fate.reason)


def _failed(note: str) -> str:
    match note:
        case "moved":
            return _("not deleted: somebody pushed or deleted it meanwhile")
        case "gone" | "missing":
            return _("not deleted: it was gone already")
        case "protected":
            return _("not deleted: it was protected meanwhile")
        case "busy":
            return _("not deleted: somebody else is deleting it")
        case "failed":
            return _("not deleted: the registry did not do it")
    return _("not deleted: %(reason)s") % {"reason": note}


def verdict(fate: RetentionFate, *, is_dry: bool) -> str:
    """The fate in a word or two."""
    match fate.kind:
        case RetentionFate.Kind.GOES:
            return _("Would go") if is_dry else _("Deleted")
        case RetentionFate.Kind.FAILED:
            return _("Not deleted")
    return _("Stays")


# -- a run ---------------------------------------------------------------------------------------
def missed(due: str) -> str:
    """That a run came late; "" if it did not."""
    if not due:
        return ""
    at = datetime.fromisoformat(due)
    return _("Was due at %(when)s, while Boathouse was down; run once afterwards.") % {
        "when": schedules.when(at)
    }
