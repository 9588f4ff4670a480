"""Words and signs of the design system."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from registryui.models import UNKNOWN
from registryui.views import filters as tags

HOSTILE = '<script>alert("1")</script>&'


@pytest.mark.parametrize(
    ("total", "part", "words"),
    [
        (30_910_000, 15_360_000, "15.5 MB"),  # 30.9 and 15.4 are shown; the rest is 15.55
        (30_910_000, 45_600, "30.9 MB"),
        (425 * 10**6, 0, "425 MB"),
        (7_000, 7_000, "0 B"),
        (12, 5, "7 B"),
        (0, 0, "0 B"),
    ],
)
def test_what_is_shown_of_a_sum_and_its_parts_adds_up(total: int, part: int, words: str) -> None:
    assert tags.rest(total, part) == words


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=-30), "just now"),
        (timedelta(seconds=1), "just now"),
        (timedelta(seconds=59.9), "59 s ago"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=13), "13 d ago"),
        (timedelta(days=14), "2 w ago"),
        (timedelta(days=60), "2 mo ago"),
        (timedelta(days=800), "2 y ago"),
    ],
)
def test_ages_are_rounded_down(age: timedelta, words: str) -> None:
    assert tags.age_in_words(age.total_seconds()) == words


def test_a_time_has_its_exact_form_on_hover() -> None:
    when = datetime(2026, 11, 23, 12, 5, 13, tzinfo=UTC)
    assert 'title="2026-11-23 12:05:13 UTC"' in tags.ago(when)
    assert 'datetime="2026-11-23T12:05:13Z"' in tags.ago(when)
    assert tags.ago(timezone.now()).endswith(">just now</time>")


def test_a_time_that_nobody_knows_is_said_so() -> None:
    assert tags.ago(UNKNOWN) == '<span class="soft">unknown</span>'
    assert tags.ago(None, "never") == '<span class="soft">never</span>'


@given(st.text(), st.text(max_size=5))
def test_highlighting_keeps_the_text_and_escapes_it(text: str, query: str) -> None:
    marked = tags.highlight(text, query)
    plain = marked.replace("<mark>", "").replace("</mark>", "")
    assert "<" not in plain
    assert plain == tags.escape(text) or query


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("team/api", "API", "team/<mark>api</mark>"),
        ("aXaxa", "x", "a<mark>X</mark>a<mark>x</mark>a"),
        ("a.b", ".", "a<mark>.</mark>b"),
        ("abc", "", "abc"),
        ("<b>", "b", "&lt;<mark>b</mark>&gt;"),
        ("a", "(", "a"),
    ],
)
def test_hits_are_marked(text: str, query: str, marked: str) -> None:
    assert tags.highlight(text, query) == marked


def test_the_last_part_of_a_name_stands_out() -> None:
    assert tags.repository_name("a/b/c") == "<span>a/b/</span>c"
    assert tags.repository_name("c") == "<span></span>c"
    assert tags.repository_name("a/b", "a/b") == "<mark>a/b</mark>"


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: tags.repository_name(HOSTILE, "alert"),
        lambda: tags.repository_name(HOSTILE),
        lambda: tags.flag(HOSTILE, HOSTILE),
        lambda: tags.icon("search", HOSTILE),
        lambda: tags.namespace_legend([HOSTILE]),
    ],
)
def test_what_comes_from_outside_is_escaped(drawn) -> None:
    assert "<script" not in drawn()
    assert '"1"' not in drawn()


def test_one_namespace_flies_one_colour() -> None:
    assert tags.hue("team/a") == tags.hue("team/b/c") == tags.hue("team")
    assert tags.hue("") == 0
    assert {tags.hue(f"n{number}") for number in range(100)} == {1, 2, 3, 4, 5, 6}
    assert tags.flag("team/a") == tags.flag("team/a")


def test_one_colour_of_several_namespaces_stands_once_in_a_legend() -> None:
    names = [f"n{number}" for number in range(5)]
    legend = tags.namespace_legend(names)
    assert legend.count("swatch") == len({tags.hue(name) for name in names})
    assert all(name in legend for name in names)


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("ci-platform", "CP"),
        ("jana", "JA"),
        ("a.b.c", "AB"),
        ("", "?"),
        ("--", "?"),
        ("王小明", "王小"),
    ],
)
def test_initials_are_two_letters_at_most(name: str, letters: str) -> None:
    assert tags.initials(name) == letters


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(seconds=50), "in 1 minute"),
        (timedelta(minutes=59), "in 59 minutes"),
        (timedelta(hours=23), "in 23 hours"),
        (timedelta(days=6), "in 6 days"),
        (timedelta(days=183), "in 6 months"),
        (timedelta(days=800), "in 2 years"),
        (timedelta(days=-3, seconds=-1), "3 d ago"),
    ],
)
def test_the_future_is_in_words(left: timedelta, words: str) -> None:
    shown = tags.until(timezone.now() + left)
    assert f">{words}</time>" in shown
    assert 'title="' in shown


def test_long_text_is_cut() -> None:
    assert tags.cut("a" * 10, 5) == "aaaa…"
    assert tags.cut("abc", 5) == "abc"


def test_an_icon_is_not_for_screen_readers() -> None:
    assert 'aria-hidden="true"' in tags.icon("search")
    assert "stroke=" not in tags.icon("search")  # portal.css draws
