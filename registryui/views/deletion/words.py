"""The plan of a delete in sentences: what goes, what stays and why, what hangs on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from registryui.deletion.execute import Going, LeftOut, Plan, Staying
from registryui.models import UNKNOWN
from registryui.oci.digest import short
from registryui.views.activity.actors import actor_words
from registryui.views.catalogue import image

SHOWN = 6  # names before the fold
MOST_SHOWN = 1000  # behind it
STAYING_SHOWN = 5
RECENT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Names:
    """Names of tags (or short digests): the first ones, those behind a fold, and the rest."""

    first: tuple[str, ...]
    more: tuple[str, ...]
    unshown: int

    @property
    def folded(self) -> int:
        return len(self.more) + self.unshown


@dataclass(frozen=True, slots=True)
class Pulled:
    name: str
    at: datetime
    by: str
    is_recent: bool
    others: int  # of what goes, that were pulled in the same time


@dataclass(frozen=True, slots=True)
class StayingRow:
    digest: str
    count: int  # of names that go
    going: str
    staying: str
    listed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    names: Names
    tags: int
    untagged: int
    images: int  # that have no name left
    staying: tuple[StayingRow, ...]
    staying_more: int
    referrer_tags: str
    referrer_tag_size: int
    protected: Names
    rules: tuple[int, ...]  # keys of what protects them
    missing: Names
    busy: Names
    used_by_others: int  # bytes of what goes that other images need, or that go twice
    pulled: Pulled | None


def plan_words(plan: Plan) -> Words:
    """All that the dialog says about that plan. No query."""
    staying = {one.digest for one in plan.staying}
    return Words(
        names=_names([one.tag or short(one.digest) for one in plan.going]),
        tags=sum(one.tag != "" for one in plan.going),
        untagged=sum(one.tag == "" for one in plan.going),
        images=len({one.digest for one in plan.going if one.tag and one.digest} - staying),
        staying=tuple(_staying(one) for one in plan.staying[:STAYING_SHOWN]),
        staying_more=max(len(plan.staying) - STAYING_SHOWN, 0),
        referrer_tags=_referrer_tags(plan.referrer_tags),
        referrer_tag_size=sum(one.size for one in plan.referrer_tags),
        protected=_left_out(plan.left_out, "protected"),
        rules=tuple({one.protection: 0 for one in plan.left_out if one.protection is not None}),
        missing=_left_out(plan.left_out, "missing"),
        busy=_left_out(plan.left_out, "busy"),
        used_by_others=max(plan.size - plan.freed, 0),
        pulled=_pulled(plan.going),
    )


def _names(names: list[str]) -> Names:
    """One name alone behind a fold would take more room than the fold."""
    first = SHOWN if len(names) > SHOWN + 1 else SHOWN + 1
    more = names[first : first + MOST_SHOWN]
    return Names(tuple(names[:first]), tuple(more), max(len(names) - first - MOST_SHOWN, 0))


def _left_out(left_out: tuple[LeftOut, ...], reason: str) -> Names:
    return _names([short(one.tag) or one.tag for one in left_out if one.reason == reason])


def _staying(one: Staying) -> StayingRow:
    return StayingRow(
        one.digest, len(one.going), _list(one.going), _list(one.staying), one.listed_by[:3]
    )


def _referrer_tags(referrer_tags: tuple[Going, ...]) -> str:
    """`2 × signature, 1 × SBOM`."""
    kinds = Counter(image.referrer_words(one.tag) or _("Referrer tag") for one in referrer_tags)
    words = [f"{count} × {kind}" for kind, count in kinds.most_common()]
    return pgettext("between names in a list", ", ").join(words)


def _pulled(going: tuple[Going, ...]) -> Pulled | None:
    """The newest pull of what goes; None: no pull of it is known."""
    pulled = [one for one in going if one.pulled_at > UNKNOWN]
    if not pulled:
        return None
    newest = max(pulled, key=lambda one: one.pulled_at)
    start = timezone.now() - RECENT
    is_recent = newest.pulled_at > start
    others = sum(one.pulled_at > start for one in pulled) - is_recent
    return Pulled(
        newest.tag or short(newest.digest),
        newest.pulled_at,
        actor_words(newest.pulled_by),
        is_recent,
        others,
    )


def _list(names: tuple[str, ...]) -> str:
    words = pgettext("between names in a list", ", ").join(names[:SHOWN])
    rest = len(names) - SHOWN
    return (
        _("%(names)s and %(count)d more") % {"names": words, "count": rest} if rest > 0 else words
    )
