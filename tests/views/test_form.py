"""What a form sends, by Django's fields: what is wrong with it is one Refused."""

from __future__ import annotations

import pytest
from django.http import QueryDict

from registryui.refused import Refused
from registryui.views.form import MOST, choice, read, text


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
