"""Patterns of names: what they match, and how long an evil one takes."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registryui.oci import patterns

ANY = st.text(alphabet="ab.", max_size=8)
PATTERN = st.text(alphabet="ab.*", min_size=1, max_size=8)


@settings(max_examples=500)
@given(pattern=PATTERN, name=ANY)
def test_a_star_is_any_text_and_all_else_itself(pattern: str, name: str) -> None:
    plain = "".join(".*" if letter == "*" else re.escape(letter) for letter in pattern)
    assert patterns.matcher(pattern)(name) == (re.fullmatch(plain, name) is not None)


@pytest.mark.parametrize(
    "pattern", ["a*" * 60 + "b", "*a" * 255 + "*b", "a" * 128 + "*" + "a" * 128, "*" * 512]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    began = time.process_time()
    patterns.matcher(pattern)("a" * 255)
    assert time.process_time() - began < 5  # or for ever


def test_names_are_matched_in_full_and_one_of_several_is_enough() -> None:
    is_meant = patterns.matcher("pr-*, nightly")
    assert is_meant("pr-1")
    assert is_meant("nightly")
    assert not is_meant("my-pr-1")
    assert not is_meant("nightly-2")


@pytest.mark.parametrize("text", ["", " , ", "a b é", "a?", "[ab]", "x" * 513, "a\nb\0"])
def test_text_that_is_no_pattern_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|character"):
        patterns.parse(text)
