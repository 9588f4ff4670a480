"""What a form sends, by Django's fields: what is wrong with it is one Refused."""

from __future__ import annotations

from datetime import date

import pytest
from django.http import QueryDict

from registryui.refused import Refused
from registryui.views.form import (
    LONGEST,
    MOST,
    Number,
    Words,
    both_ways,
    choice,
    day,
    one_of,
    read,
    read_or_default,
    text,
)


def test_what_was_sent_comes_clean() -> None:
    sent = QueryDict("name=+ci+&word=+x+&hours=24&other=1")
    asked = read(sent, name=text(), word=text(strip=False), hours=choice((1, 24), "Choose.", int))
    assert asked == {"name": "ci", "word": " x ", "hours": 24}
    assert read(QueryDict(""), name=text()) == {"name": ""}


@pytest.mark.parametrize("sent", ["", "hours=2", "hours=x", "hours=%00"])
def test_another_choice_and_none_are_the_same_sentence(sent: str) -> None:
    with pytest.raises(Refused, match=r"\AChoose the hours\.\Z"):
        read(QueryDict(sent), hours=choice((1, 24), "Choose the hours.", int))


def test_all_that_is_wrong_is_told_at_once_each_thing_once() -> None:
    fields = {f"f{number}": choice("ab", f"Wrong {number // 2}.") for number in range(20)}
    with pytest.raises(Refused) as refused:
        read(QueryDict(""), **fields)
    assert str(refused.value) == " ".join(f"Wrong {number}." for number in range(MOST))


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("", ["", "new", 7, None]),
        ("q=+a%00b+&sort=old&number=+5&since=2026-11-23", ["ab", "old", 5, date(2026, 11, 23)]),
        ("q=%00&sort=x&number=x&since=11/23/2026", ["", "new", 7, None]),
        ("q=&sort=&number=&since=", ["", "new", 7, None]),
        ("number=0&since=0202-11-23", ["", "new", 0, None]),
        ("sort=%00&since=9999-12-31", ["", "new", 7, None]),
        (f"q={'x' * 300}&sort=new&sort=old&since=%00", ["x" * LONGEST, "old", 7, None]),
    ],
)
def test_a_filter_refuses_nothing(sent: str, found: list[object]) -> None:
    fields = {"q": Words(), "sort": one_of(["new", "old"], "new"), "number": Number(initial=7)}
    fields["since"] = day(first=date(1970, 1, 1))
    assert list(read_or_default(QueryDict(sent), **fields).values()) == found


def test_a_column_sorts_both_ways() -> None:
    assert both_ways(pushed="pushed_at") == {"pushed": "pushed_at", "-pushed": "-pushed_at"}
