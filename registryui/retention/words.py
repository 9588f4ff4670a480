"""Retention in words, for pages and commands, in the active language: a policy as a sentence, why a
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
from .work import OTHER_POLICY


# -- a policy ------------------------------------------------------------------------------------
def sentence(policy: Mapping[str, Any]) -> str:
    """`policy`: policies.facts(…)."""
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
            ngettext("tags pushed in the last %(n)d day", "tags pushed in the last %(n)d days", n)
            % {"n": n}
        )
    if n := policy["keep_pulled_days"]:
        found.append(
            ngettext("tags pulled in the last %(n)d day", "tags pulled in the last %(n)d days", n)
            % {"n": n}
        )
    if names := policy["keep_tags"]:
        found.append(_("tags named %(names)s") % {"names": names})
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
    return schedules.words(policy["schedule"]) if policy["schedule"] else _("manual only")


# -- a tag ---------------------------------------------------------------------------------------
def because(fate: RetentionFate, policy: Mapping[str, Any], at: datetime) -> str:
    """Why it goes, stays or did not go. `at`: the moment of the run, from which days are counted;
    `policy`: policies.facts(…) of then."""
    if fate.kind == RetentionFate.Kind.FAILED:
        return _failed(fate.note)
    if fate.reason == Code.EXPIRED:
        return _why_it_expired(fate.note)
    if fate.reason == Code.GOES:
        return pgettext("between clauses", "; ").join(_why_it_goes(fate, policy, at))
    why = _why_it_stays(fate, at)
    if fate.policy:
        return _("kept by the policy “%(policy)s”: %(why)s") % {"policy": fate.policy, "why": why}
    return why


def _why_it_goes(fate: RetentionFate, policy: Mapping[str, Any], at: datetime) -> list[str]:
    parts = [_pushed(fate, at)]
    if n := policy["keep_newest"]:
        place = {"n": n, "place": fate.number}
        parts.append(_("number %(place)d by push time, only the newest %(n)d are kept") % place)
    parts.append(_pulled(fate, at))
    if fate.beside:
        parts.append(
            _("only the tag is removed: %(tag)s still points to its image") % {"tag": fate.beside}
        )
    return parts


def _why_it_expired(note: str) -> str:
    """`note`: "set" or "label", and when."""
    source, _blank, told = note.partition(" ")
    when = {"when": schedules.when(datetime.fromisoformat(told)) if told else ""}
    if source == "label":
        return _("expired %(when)s, by its label quay.expires-after") % when
    return _("expired %(when)s, as set for this tag") % when


def _pushed(fate: RetentionFate, at: datetime) -> str:
    n = max((at - fate.tagged_at).days, 0)
    if n == 0:
        return _("pushed less than a day earlier")
    return ngettext("pushed %(n)d day earlier", "pushed %(n)d days earlier", n) % {"n": n}


def _pulled(fate: RetentionFate, at: datetime) -> str:
    if fate.pulled_at < FIRST:
        return _("no pull recorded")
    n = max((at - fate.pulled_at).days, 0)
    if n == 0:
        return _("pulled less than a day earlier")
    return ngettext("last pulled %(n)d day earlier", "last pulled %(n)d days earlier", n) % {"n": n}


def _why_it_stays(fate: RetentionFate, at: datetime) -> str:
    n = {"n": fate.number}
    match fate.reason:
        case Code.UNNAMED:
            return _("not selected by the policy")
        case Code.REFERRER:
            return _("attached to an image and handled with it")
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
                "too new to know whether it is pulled: pushed within the last %(n)d day",
                "too new to know whether it is pulled: pushed within the last %(n)d days",
                fate.number,
            )
            return said % n
        case Code.UNWATCHED:
            said = ngettext(
                "no pull recorded, but pulls have been recorded for less than %(n)d day",
                "no pull recorded, but pulls have been recorded for less than %(n)d days",
                fate.number,
            )
            return said % n
        case Code.NAMED:
            return _("kept by name: %(names)s") % {"names": fate.note}
        case Code.PROTECTED:
            return _("protected: %(protection)s") % {"protection": fate.note}
        case Code.UNDATED:
            return _("push time unknown")
        case Code.FUTURE:
            return _("push time in the future: a clock was wrong")
        case Code.BROKEN:
            return _("incomplete: check it before it is deleted")
    return str(fate.reason)


def _failed(note: str) -> str:
    match note:
        case "moved":
            return _("not deleted: it was pushed or deleted in the meantime")
        case "gone" | "missing":
            return _("not deleted: it no longer existed")
        case "protected":
            return _("not deleted: it was protected in the meantime")
        case "busy":
            return _("not deleted: another operation is deleting it")
        case "failed":
            return _("not deleted: the registry did not delete it")
    return _("not deleted: %(reason)s") % {"reason": note}


def verdict(fate: RetentionFate, *, is_dry: bool) -> str:
    """The fate in a word or two."""
    match fate.kind:
        case RetentionFate.Kind.GOES:
            return _("Would be deleted") if is_dry else _("Deleted")
        case RetentionFate.Kind.FAILED:
            return _("Not deleted")
    return _("Kept")


def exceptions(reasons: Mapping[str, int]) -> list[tuple[int, str]]:
    """How many tags an exception keeps, and which, the most first. `reasons`: Result.reasons."""
    known = {
        OTHER_POLICY: _("kept by another policy"),
        Code.NAMED: _("kept by name"),
        Code.PULLED: _("pulled recently"),
        Code.TOO_NEW: _("too new to know whether they are pulled"),
        Code.UNWATCHED: _("pulls not recorded for long enough"),
        Code.PROTECTED: _("protected"),
        Code.UNDATED: _("push time unknown"),
        Code.FUTURE: _("push time in the future: a clock was wrong"),
        Code.BROKEN: _("incomplete"),
    }
    counted = [(n, known.get(reason, reason)) for reason, n in reasons.items()]
    return sorted(counted, reverse=True)


# -- a run ---------------------------------------------------------------------------------------
def missed(due: str) -> str:
    """That a run came late; "" if it did not."""
    if not due:
        return ""
    at = datetime.fromisoformat(due)
    return _("Due at %(when)s, when Boathouse was not running; run once afterwards.") % {
        "when": schedules.when(at)
    }
