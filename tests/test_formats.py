"""How sizes and lists are written."""

from __future__ import annotations

import pytest

from registryui import formats


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (84_600_000, "84.6 MB"),
        (99_949_999, "99.9 MB"),
        (99_960_000, "100 MB"),
        (999_499_999, "999 MB"),
        (999_600_000, "1.0 GB"),
        (188 * 10**9, "188 GB"),
        (5 * 10**21, "5,000 EB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_sizes_have_three_digits(size: int | None, words: str) -> None:
    assert formats.size(size) == words


def test_a_difference_has_its_sign() -> None:
    assert [formats.difference(one) for one in (2_300_000, -2_300_000, 0)] == [
        "+2.3 MB",
        "−2.3 MB",
        "0 B",
    ]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert formats.columns([["A", "B", "C"], ["long", "", "x"]]) == "A     B  C\nlong     x"


def test_a_cell_shows_no_control_characters() -> None:
    values = ("a\x1b[31m\nb", True, False, ["a", "b"], "", [], 7)
    shown = ["a?[31m?b", "yes", "no", "a, b", "-", "-", "7"]
    assert [formats.cell(one) for one in values] == shown
    assert formats.cell("x" * 9, most=4) == "xxxx"
