"""Which tags a policy takes away, and why each other one stays. Pure: no database, no clock.

A policy speaks of the tags that its `tags` name, in its `repositories`. It keeps of them the newest
N, those pushed and those pulled within some days; and in its repositories whatever `keep_tags`
names. What is left goes, but never if

    we cannot know     its push time is unknown, before any registry was, or in the future; it is
                       broken; pulls were not watched for as long as the policy looks back
    somebody objects   it is protected, or another active policy keeps it
    it is not a tag    referrer tags follow their image (deletion.py)

Only names go. An image that another tag stays on stays complete, and the fate says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from registryui.oci import patterns

FIRST = datetime(2013, 1, 1, tzinfo=UTC)  # no registry pushed before: a clock that was not set
SKEW = timedelta(minutes=5)  # clocks differ so much, and nobody calls it the future
MOST_DAYS = 36500  # a policy that looks back further looks at everything


class Code(StrEnum):
    """Why. The words are made by words.py."""

    GOES = "goes"
    EXPIRED = "expired"  # tags that have expired (expiry.py)
    # -- as the policy was meant
    UNNAMED = "unnamed"  # its tags do not name it
    REFERRER = "attached"
    NEWEST = "newest"
    PUSHED = "pushed"
    # -- exceptions: it would go, but …
    NAMED = "named"  # keep_tags
    PULLED = "pulled"
    TOO_NEW = "young"  # pushed within the days for pulls: it had no time to be pulled
    UNWATCHED = "unwatched"  # no pull is known, but we have not listened for so long
    PROTECTED = "protected"
    UNDATED = "undated"
    FUTURE = "future"
    BROKEN = "broken"


EXCEPTIONS = frozenset(list(Code)[list(Code).index(Code.NAMED) :])


@dataclass(frozen=True, slots=True)
class Policy:
    """RetentionPolicy, as plain values. None: it does not keep by that."""

    name: str
    repositories: str  # patterns
    tags: str = "*"
    keep_newest: int | None = None
    keep_pushed_days: int | None = None
    keep_pulled_days: int | None = None
    keep_tags: str = ""

    @property
    def keeps_something(self) -> bool:
        """False: all that it names would go. Such a policy is refused when it is saved."""
        counts = (self.keep_newest, self.keep_pushed_days, self.keep_pulled_days)
        return any(counts) or bool(self.keep_tags.strip(" ,"))


@dataclass(frozen=True, slots=True)
class Known:
    """A tag as the index knows it."""

    repository: str
    name: str
    digest: str  # "": broken
    tagged_at: datetime
    pulled_at: datetime  # UNKNOWN: no pull was told of
    size: int = 0
    refers_to: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    code: Code
    policy: str = ""  # another policy that keeps it
    number: int = 0  # newest: how many; days; goes: its place by push time among those named
    note: str = ""  # named: the patterns; protected: whom the protection names


@dataclass(frozen=True, slots=True)
class Fate:
    tag: Known
    reason: Reason
    beside: str = ""  # it goes, but this tag stays on its image

    @property
    def goes(self) -> bool:
        return self.reason.code is Code.GOES

    @property
    def is_exception(self) -> bool:
        """True if only an exception, or another policy, keeps it."""
        return self.reason.code in EXCEPTIONS or bool(self.reason.policy)


class Protections(Protocol):
    """deletion/protection.py has it."""

    def of(self, repository: str, tag: str) -> object | None: ...


def decide(
    policy: Policy,
    tags: Iterable[Known],
    now: datetime,
    protections: Protections,
    *,
    others: Sequence[Policy] = (),
    watched_since: datetime = FIRST,
) -> list[Fate]:
    """The fate of each tag, in the given order, if `policy` ran now.

    `tags`: all tags of some repositories; of half a repository the newest N would be wrong.
    `others`: the other active policies, which can only keep. `watched_since`: before that nobody
    told us of pulls.
    """
    known = list(tags)
    together: dict[str, list[Known]] = defaultdict(list)
    for tag in known:
        if not tag.refers_to:
            together[tag.repository].append(tag)
    moment = _Moment(now, protections, watched_since)
    found: dict[tuple[str, str], Fate] = {}
    for repository, there in together.items():
        found |= {
            (repository, fate.tag.name): fate
            for fate in _decide_in(repository, there, policy, others, moment)
        }
    referrer = Reason(Code.REFERRER)
    return [
        Fate(tag, referrer) if tag.refers_to else found[tag.repository, tag.name] for tag in known
    ]


@dataclass(frozen=True, slots=True)
class _Moment:
    now: datetime
    protections: Protections
    watched_since: datetime


@dataclass(frozen=True, slots=True)
class _Here:
    """A policy in one repository."""

    policy: Policy
    names: Callable[[str], bool]
    keeps_by_name: Callable[[str], bool]
    edge: datetime | None  # pushed then or later: among the newest; None: it keeps none so
    pushed_since: datetime | None
    pulled_since: datetime | None


def _decide_in(
    repository: str,
    there: Sequence[Known],
    policy: Policy,
    others: Iterable[Policy],
    moment: _Moment,
) -> list[Fate]:
    if not patterns.matcher(policy.repositories)(repository):
        return [Fate(tag, Reason(Code.UNNAMED)) for tag in there]
    mine = _here(policy, there, moment)
    rest = [
        _here(other, there, moment)
        for other in others
        if other.name != policy.name and patterns.matcher(other.repositories)(repository)
    ]
    places = _places(mine, there, moment)
    reasons = [
        _why_it_stays(tag, mine, rest, moment) or Reason(Code.GOES, number=places[tag.name])
        for tag in there
    ]
    staying = {
        tag.digest: tag.name
        for tag, reason in zip(there, reasons, strict=True)
        if reason.code is not Code.GOES and tag.digest
    }
    return [
        Fate(tag, reason, staying.get(tag.digest, "") if reason.code is Code.GOES else "")
        for tag, reason in zip(there, reasons, strict=True)
    ]


def _here(policy: Policy, there: Iterable[Known], moment: _Moment) -> _Here:
    names = patterns.matcher(policy.tags)
    edge = None
    if policy.keep_newest:
        times = sorted(
            tag.tagged_at for tag in there if _has_place(tag, moment) and names(tag.name)
        )
        # Several may have been pushed at the same moment as the Nth: nobody can say which of them
        # is older, so all of them are kept.
        edge = times[-policy.keep_newest] if policy.keep_newest < len(times) else FIRST
    return _Here(
        policy,
        names,
        patterns.matcher(policy.keep_tags) if policy.keep_tags.strip(" ,") else lambda name: False,
        edge,
        _days_before(moment.now, policy.keep_pushed_days),
        _days_before(moment.now, policy.keep_pulled_days),
    )


def _days_before(now: datetime, days: int | None) -> datetime | None:
    """None: the policy does not keep by days. FIRST at the earliest, however many days."""
    if not days:
        return None
    return max(now - timedelta(days=min(days, (now - FIRST).days + 1)), FIRST)


def _has_place(tag: Known, moment: _Moment) -> bool:
    """False for those that are kept anyway, whatever N is: they take nobody's place."""
    return _has_known_times(tag) and FIRST <= tag.tagged_at <= moment.now + SKEW


def _has_known_times(tag: Known) -> bool:
    return bool(tag.digest) and not tag.problem


def _places(mine: _Here, there: Iterable[Known], moment: _Moment) -> dict[str, int]:
    """The place of each named tag by push time, the newest is 1."""
    named = [tag for tag in there if mine.names(tag.name) and _has_place(tag, moment)]
    named.sort(key=lambda tag: tag.tagged_at, reverse=True)
    return {tag.name: place for place, tag in enumerate(named, 1)}


def _why_it_stays(tag: Known, mine: _Here, rest: Iterable[_Here], moment: _Moment) -> Reason | None:
    """None: it goes. What the policy is for comes first, then exceptions."""
    if not mine.names(tag.name):
        return Reason(Code.UNNAMED)
    if not _has_known_times(tag):
        return Reason(Code.BROKEN)
    if tag.tagged_at < FIRST:
        return Reason(Code.UNDATED)
    if tag.tagged_at > moment.now + SKEW:
        return Reason(Code.FUTURE)
    if kept := _keeps(mine, tag, moment):
        return kept
    protection = moment.protections.of(tag.repository, tag.name)
    if protection is not None:
        return Reason(Code.PROTECTED, note=str(protection))
    for other in rest:
        if kept := _keeps(other, tag, moment, policy=other.policy.name):
            return kept
    return None


def _keeps(here: _Here, tag: Known, moment: _Moment, *, policy: str = "") -> Reason | None:
    """Why the policy keeps a tag with a known date; `policy`: its name, if it is another one."""
    facts = here.policy
    if here.names(tag.name):
        if here.edge is not None and tag.tagged_at >= here.edge:
            return Reason(Code.NEWEST, policy, facts.keep_newest or 0)
        if here.pushed_since is not None and tag.tagged_at >= here.pushed_since:
            return Reason(Code.PUSHED, policy, facts.keep_pushed_days or 0)
        days = facts.keep_pulled_days or 0
        if here.pulled_since is not None and tag.pulled_at >= here.pulled_since:
            return Reason(Code.PULLED, policy, days)
        if here.pulled_since is not None and tag.tagged_at >= here.pulled_since:
            return Reason(Code.TOO_NEW, policy, days)
        if here.pulled_since is not None and moment.watched_since > here.pulled_since:
            return Reason(Code.UNWATCHED, policy, days)
    if here.keeps_by_name(tag.name):
        return Reason(Code.NAMED, policy, note=facts.keep_tags)
    return None
