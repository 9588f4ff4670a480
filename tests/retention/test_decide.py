"""What a policy takes away, decided on plain values: also what other tools got wrong here."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.deletion.protection import Protections
from registryui.models import UNKNOWN, Protection
from registryui.retention.decide import FIRST, MOST_DAYS, Code, Fate, Known, Policy, decide

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NONE = Protections([])


def day(age: float) -> datetime:
    """That many days ago."""
    return NOW - timedelta(days=age)


def known(name: str, pushed: float | datetime = 100, **fields: object) -> Known:
    tagged_at = pushed if isinstance(pushed, datetime) else day(pushed)
    values = {
        "repository": "team/api",
        "name": name,
        "digest": f"sha256:{name}",
        "tagged_at": tagged_at,
        "pulled_at": UNKNOWN,
    }
    return Known(**{**values, **fields})  # type: ignore[arg-type]


def policy(**fields: object) -> Policy:
    return Policy(**{"name": "mine", "repositories": "team/*", **fields})  # type: ignore[arg-type]


def fates(
    mine: Policy,
    tags: Sequence[Known],
    *,
    protections: Protections = NONE,
    others: Sequence[Policy] = (),
    now: datetime = NOW,
    watched_since: datetime = FIRST,
) -> dict[str, Fate]:
    found = decide(mine, tags, now, protections, others=others, watched_since=watched_since)
    assert [fate.tag for fate in found] == list(tags)
    return {fate.tag.name: fate for fate in found}


def going(mine: Policy, tags: Sequence[Known], **rest: object) -> set[str]:
    return {name for name, fate in fates(mine, tags, **rest).items() if fate.goes}  # type: ignore[arg-type]


# -- what a policy is for ------------------------------------------------------------------------
def test_the_newest_are_those_pushed_last_not_those_with_the_highest_names() -> None:
    """keep-N kept the wrong N: by name, v9 stays and v10 goes."""
    tags = [known("v8", 1), known("v9", 40), known("v10", 30), known("a", 2)]
    assert going(policy(keep_newest=2), tags) == {"v9", "v10"}


def test_the_newest_are_counted_in_each_repository_and_among_the_named_only() -> None:
    tags = [
        known("pr-1", 10),
        known("pr-2", 5),
        known("1.0", 1),
        known("pr-3", 90, repository="team/web"),
    ]
    found = fates(policy(tags="pr-*", keep_newest=1), tags)
    assert {name for name, fate in found.items() if fate.goes} == {"pr-1"}
    assert found["1.0"].reason.code is Code.UNNAMED
    assert found["pr-1"].reason.number == 2  # its place


def test_tags_pushed_at_the_same_moment_as_the_last_to_keep_are_all_kept() -> None:
    """A store that was copied has one time for many: nobody knows which of them is older."""
    tags = [known("a", 5), known("b", 5), known("c", 5), known("d", 6)]
    assert going(policy(keep_newest=2), tags) == {"d"}


def test_days_count_from_the_push_and_the_edge_is_kept() -> None:
    tags = [known("a", 29.9), known("b", 30), known("c", 30.1)]
    assert going(policy(keep_pushed_days=30), tags) == {"c"}


def test_what_was_pulled_lately_is_kept_and_called_an_exception() -> None:
    tags = [known("a", pulled_at=day(3)), known("b", pulled_at=day(91))]
    found = fates(policy(keep_pulled_days=90), tags)
    assert (found["a"].reason.code, found["a"].is_exception) == (Code.PULLED, True)
    assert found["b"].goes


def test_each_tag_that_the_policy_names_to_keep_stays() -> None:
    tags = [known("v1"), known("v1-lts"), known("pr-v1-lts")]
    assert going(policy(keep_newest=0, keep_tags="v1-lts, latest"), tags) == {"v1", "pr-v1-lts"}


# -- defects of others: each was read in their code ----------------------------------------------
@pytest.mark.parametrize(
    "pushed",
    [UNKNOWN, datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)],
    ids=["not known", "year one", "a clock that was not set"],
)
def test_an_unknown_date_is_not_an_old_one(pushed: datetime) -> None:
    found = fates(policy(keep_newest=1), [known("a", pushed), known("b", 1), known("c", 2)])
    assert (found["a"].reason.code, found["a"].is_exception) == (Code.UNDATED, True)
    assert found["c"].goes  # and it took nobody's place


@pytest.mark.parametrize("pattern", ["pr-", "r-1", "PR-1"])
def test_a_pattern_means_the_full_name(pattern: str) -> None:
    assert (
        going(policy(tags=pattern, keep_pushed_days=1), [known("pr-1"), known("my-pr-1")]) == set()
    )
    named = policy(tags="pr-*", keep_pushed_days=1)
    assert going(named, [known("pr-1"), known("my-pr-1")]) == {"pr-1"}


def test_a_policy_for_other_repositories_deletes_nothing() -> None:
    """No policy matched, and all was deleted."""
    found = fates(policy(repositories="shop/*", keep_newest=1), [known("a"), known("b")])
    assert {fate.reason.code for fate in found.values()} == {Code.UNNAMED}


def test_what_is_newer_than_a_kept_tag_is_never_deleted() -> None:
    tags = [known(str(age), age) for age in range(50)]
    found = fates(policy(keep_newest=7), tags)
    oldest_kept = min(fate.tag.tagged_at for fate in found.values() if not fate.goes)
    assert all(fate.tag.tagged_at < oldest_kept for fate in found.values() if fate.goes)


# -- clocks and odd numbers ----------------------------------------------------------------------
def test_a_push_in_the_future_stays_and_takes_nobodys_place() -> None:
    """The registry's clock was wrong for a week: these would be the newest for ever."""
    tags = [known("a", -300), known("b", -299), known("c", 1), known("d", 2)]
    found = fates(policy(keep_newest=1), tags)
    assert [found[name].reason.code for name in "abcd"] == [
        Code.FUTURE,
        Code.FUTURE,
        Code.NEWEST,
        Code.GOES,
    ]


def test_a_clock_that_is_a_minute_ahead_is_not_the_future() -> None:
    found = fates(policy(keep_newest=1), [known("a", NOW + timedelta(minutes=1)), known("b", 1)])
    assert found["a"].reason.code is Code.NEWEST
    assert found["b"].goes


def test_if_our_own_clock_was_not_set_nothing_goes() -> None:
    tags = [known("a"), known("b", 1)]
    assert going(policy(keep_pushed_days=1), tags, now=datetime(1970, 1, 1, tzinfo=UTC)) == set()


@pytest.mark.parametrize("days", [MOST_DAYS, 2**31 - 1])
def test_so_many_days_that_time_has_no_such_date_keep_all(days: int) -> None:
    assert going(policy(keep_pushed_days=days), [known("a", 4000)]) == set()


def test_more_to_keep_than_there_are_keep_all() -> None:
    assert going(policy(keep_newest=2**31 - 1), [known("a", 4000)]) == set()


def test_zero_keeps_nothing_and_such_a_policy_says_so() -> None:
    assert not policy(keep_newest=0, keep_pushed_days=0, keep_pulled_days=0).keeps_something
    assert not policy(keep_tags=" , ").keeps_something
    assert policy(keep_newest=1).keeps_something


# -- pulls that nobody could have noted ----------------------------------------------------------
def test_a_tag_younger_than_the_days_for_pulls_stays() -> None:
    """Pushed a minute ago and never pulled: that is not "unused for 90 days"."""
    found = fates(policy(keep_pulled_days=90), [known("a", 0), known("b", 89)])
    assert {fate.reason.code for fate in found.values()} == {Code.TOO_NEW}


def test_before_pulls_were_noted_for_so_long_none_is_called_unused() -> None:
    mine, tags = policy(keep_pulled_days=90), [known("a", 400)]
    early = fates(mine, tags, watched_since=day(89))["a"]
    assert (early.reason.code, early.is_exception) == (Code.UNWATCHED, True)
    assert going(mine, tags, watched_since=day(90)) == {"a"}


# -- who objects ---------------------------------------------------------------------------------
def test_protected_tags_stay() -> None:
    protections = Protections([Protection(repositories="team/*", tags="v*")])
    found = fates(policy(keep_pushed_days=1), [known("v1"), known("pr-1")], protections=protections)
    assert (found["v1"].reason.code, found["v1"].reason.note) == (Code.PROTECTED, "team/*:v*")
    assert found["pr-1"].goes


def test_another_policy_keeps_what_it_would_keep_and_takes_nothing() -> None:
    other = Policy("releases", "*", "v*", keep_newest=1, keep_tags="pr-1")
    tags = [known("v1", 20), known("v2", 10), known("pr-1", 30), known("pr-2", 30)]
    found = fates(policy(keep_pushed_days=5), tags, others=[other])
    assert {name for name, fate in found.items() if fate.goes} == {"v1", "pr-2"}
    kept = found["v2"].reason
    assert (kept.code, kept.policy, kept.number) == (Code.NEWEST, "releases", 1)
    assert found["v2"].is_exception
    assert found["pr-1"].reason.policy == "releases"


def test_a_policy_beside_itself_does_not_object() -> None:
    mine = policy(keep_newest=1)
    assert going(mine, [known("a", 1), known("b", 2)], others=[mine]) == {"b"}


def test_broken_tags_stay_and_take_nobodys_place() -> None:
    tags = [known("a", 1, problem="incomplete"), known("b", 2, digest=""), known("c", 3)]
    found = fates(policy(keep_newest=1), tags)
    assert found["a"].reason.code is found["b"].reason.code is Code.BROKEN
    assert found["c"].reason.code is Code.NEWEST


def test_referrer_tags_follow_their_image_and_are_never_judged() -> None:
    tags = [known("sha256-aa.sig", 400, refers_to="sha256:aa"), known("a", 400)]
    found = fates(policy(keep_pushed_days=1), tags)
    assert found["sha256-aa.sig"].reason.code is Code.REFERRER
    assert found["a"].goes


def test_a_tag_whose_image_another_tag_keeps_says_that_only_the_name_goes() -> None:
    protections = Protections([Protection(repositories="*", tags="stable")])
    tags = [
        known("build-7", 30, digest="sha256:same"),
        known("stable", 60, digest="sha256:same"),
        known("build-8", 30),
    ]
    found = fates(policy(tags="*", keep_pushed_days=5), tags, protections=protections)
    assert (found["build-7"].goes, found["build-7"].beside) == (True, "stable")
    assert (found["build-8"].goes, found["build-8"].beside) == (True, "")


# -- whatever is written into policies -----------------------------------------------------------
_numbers = st.none() | st.integers(0, 8) | st.just(2**31 - 1)
_patterns = st.sampled_from(["*", "a*", "*1", "b-1 c-1", "zz", "a-1"])
_policies = st.builds(
    Policy,
    name=st.sampled_from(["mine", "one", "two"]),
    repositories=st.sampled_from(["*", "team/*", "team/a", "shop/*"]),
    tags=_patterns,
    keep_newest=_numbers,
    keep_pushed_days=_numbers,
    keep_pulled_days=_numbers,
    keep_tags=st.just("") | _patterns,
)
_times = st.one_of(
    st.just(UNKNOWN),
    st.integers(-20, 20).map(lambda n: NOW - timedelta(hours=12 * n)),
)
_tags = st.lists(
    st.builds(
        Known,
        repository=st.sampled_from(["team/a", "team/b", "shop/c"]),
        name=st.sampled_from(["a-1", "a-2", "b-1", "b-2", "c-1", "d"]),
        digest=st.sampled_from(["", "sha256:1", "sha256:2", "sha256:3"]),
        tagged_at=_times,
        pulled_at=_times,
        refers_to=st.sampled_from(["", "", "", "sha256:1"]),
        problem=st.sampled_from(["", "", "dangling"]),
    ),
    unique_by=lambda tag: (tag.repository, tag.name),
    max_size=12,
)
_protections = st.lists(
    st.builds(Protection, repositories=st.sampled_from(["*", "team/a"]), tags=_patterns),
    max_size=2,
).map(Protections)
_since = st.integers(0, 20).map(lambda n: NOW - timedelta(hours=12 * n))


def taken(
    mine: Policy, tags: list[Known], others: list[Policy], guard: Protections, since: datetime
) -> set[tuple[str, str]]:
    found = decide(mine, tags, NOW, guard, others=others, watched_since=since)
    return {(fate.tag.repository, fate.tag.name) for fate in found if fate.goes}


@given(_policies, st.lists(_policies, max_size=3), _tags, _protections, _since)
def test_what_anything_keeps_never_goes(
    mine: Policy, others: list[Policy], tags: list[Known], guard: Protections, since: datetime
) -> None:
    gone = taken(mine, tags, others, guard, since)
    for other in others:
        if other.name == mine.name:
            continue
        keeping = decide(other, tags, NOW, Protections([]), watched_since=since)
        kept = {Code.NEWEST, Code.PUSHED, Code.PULLED, Code.TOO_NEW, Code.UNWATCHED, Code.NAMED}
        assert not gone & {
            (fate.tag.repository, fate.tag.name) for fate in keeping if fate.reason.code in kept
        }
    for tag in tags:
        if (tag.repository, tag.name) in gone:
            assert guard.of(tag.repository, tag.name) is None
            assert FIRST < tag.tagged_at <= NOW + timedelta(minutes=5)
            assert not tag.refers_to
            assert tag.digest
            assert not tag.problem


@given(_policies, st.lists(_policies, max_size=2), _tags, _protections, _since)
def test_what_other_policies_and_protections_say_only_keeps_more(
    mine: Policy, others: list[Policy], tags: list[Known], guard: Protections, since: datetime
) -> None:
    alone = taken(mine, tags, [], Protections([]), FIRST)
    assert taken(mine, tags, others, guard, since) <= alone


@given(_policies, _tags, st.integers(1, 6), st.integers(1, 6))
def test_a_greater_number_keeps_all_that_a_smaller_one_keeps(
    mine: Policy, tags: list[Known], fewer: int, more: int
) -> None:
    for field in ("keep_newest", "keep_pushed_days", "keep_pulled_days"):
        values = {name: getattr(mine, name) for name in Policy.__slots__}
        less = Policy(**{**values, field: min(fewer, more)})
        greater = Policy(**{**values, field: max(fewer, more)})
        none = Protections([])
        assert taken(greater, tags, [], none, FIRST) <= taken(less, tags, [], none, FIRST)


@given(_policies, _tags, st.randoms())
def test_the_order_in_which_tags_are_read_does_not_matter(
    mine: Policy, tags: list[Known], random: Random
) -> None:
    mixed = list(tags)
    random.shuffle(mixed)
    none = Protections([])
    assert taken(mine, tags, [], none, FIRST) == taken(mine, mixed, [], none, FIRST)


@given(_policies, _tags, _protections)
def test_at_least_the_newest_n_of_each_repository_stay(
    mine: Policy, tags: list[Known], guard: Protections
) -> None:
    gone = taken(mine, tags, [], guard, FIRST)
    for repository, name in gone:
        there = [tag for tag in tags if tag.repository == repository]
        one = next(tag for tag in there if tag.name == name)
        newer = [
            tag
            for tag in there
            if tag.tagged_at > one.tagged_at and (repository, tag.name) not in gone
        ]
        assert len(newer) >= (mine.keep_newest or 0)
