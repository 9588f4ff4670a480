"""Geometry: bars start at zero, areas are true, nothing leaves the drawing."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.views.charts import (
    Day,
    activity_chart,
    days_until,
    nice_bytes,
    nice_top,
    size_chart,
    spark_line,
    tree_map,
)

TODAY = date(2026, 11, 23)  # a Monday
counts = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=40)


def _days(values: list[tuple[int, int]]) -> list[Day]:
    first = TODAY - timedelta(days=len(values) - 1)
    return [Day(first + timedelta(days=at), *value) for at, value in enumerate(values)]


@given(counts, st.sampled_from([(720, 300), (340, 230)]))
def test_bars_stand_on_zero_and_stay_inside(values: list[tuple[int, int]], size) -> None:
    chart = activity_chart(_days(values), width=size[0], height=size[1])
    for band in chart.bands:
        top = min(line.at for line in band.grid)
        for bar in band.bars:
            assert bar.y + bar.height == pytest.approx(band.base, abs=0.06)
            assert bar.y >= top - 0.06
            assert chart.left - 0.1 <= bar.x
            assert bar.x + bar.width <= chart.width + 0.1
    assert chart.bands[1].base < chart.dates_y


def test_the_height_of_a_bar_is_its_share_of_the_scale() -> None:
    chart = activity_chart(_days([(5, 0), (10, 1)]), width=720, height=300)
    pulls, pushes = chart.bands
    assert pulls.bars[1].height == pytest.approx(2 * pulls.bars[0].height, abs=0.1)
    assert pulls.bars[1].title == "23 Nov: 10 pulls"
    assert pushes.bars[1].title == "23 Nov: 1 push"
    assert pushes.bars[0].height == 0
    assert [line.label for line in pulls.grid] == ["10", "5"]


def test_weekends_are_shaded_and_the_last_day_is_named() -> None:
    chart = activity_chart(_days([(1, 1)] * 30), width=720, height=300)
    assert len(chart.weekends) == 9  # from a Sunday on
    assert chart.dates[-1].label == "23 Nov"
    assert chart.dates[0].label == "26 Oct"


def test_days_that_nobody_counted_are_zero() -> None:
    days = days_until(TODAY, 3, [Day(TODAY, 7, 1), Day(TODAY - timedelta(days=9), 1, 1)])
    assert [(day.pulls, day.pushes) for day in days] == [(0, 0), (0, 0), (7, 1)]


@given(st.integers(0, 10**12))
def test_a_scale_is_round_and_has_an_integer_half(highest: int) -> None:
    top = nice_top(highest)
    assert top >= highest
    assert top % 2 == 0
    assert top <= max(2, highest * 2.5)
    assert str(top).rstrip("0") in ("2", "4", "1")


@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=30))
def test_areas_of_a_tree_map_are_true(sizes: list[int]) -> None:
    tiles = tree_map([(f"r{at}", size) for at, size in enumerate(sorted(sizes, reverse=True))])
    assert len(tiles) == len(sizes)
    for tile in tiles:
        share = tile.size / sum(sizes)
        # sides are rounded to a tenth
        error = 0.1 * (tile.width + tile.height + 1)
        assert tile.width * tile.height == pytest.approx(share * 560 * 330, abs=error)
        assert tile.x + tile.width <= 560.2
        assert tile.y + tile.height <= 330.2


def test_a_tile_is_labelled_only_where_the_words_fit() -> None:
    big, small = tree_map([("team/a-long-name", 10**6), ("team/other", 1)])
    assert (big.label, big.has_room_for_size) == ("team/a-long-name", True)
    assert (small.label, small.has_room_for_size) == ("", False)


def test_nothing_has_no_tile() -> None:
    assert tree_map([]) == []
    assert tree_map([("empty", 0)]) == []


def test_a_small_line_starts_at_zero() -> None:
    assert spark_line([0, 5, 10]) == "M0.0,28.0L50.0,15.0L100.0,2.0"
    assert spark_line([0, 0]) == "M0.0,28.0L100.0,28.0"


@given(st.lists(st.integers(0, 2**62), min_size=2, max_size=90), st.sampled_from([340.0, 720.0]))
def test_a_line_of_bytes_stays_within_its_drawing(sizes: list[int], width: float) -> None:
    first = date(2026, 1, 1)
    days = [(first + timedelta(days=n), size) for n, size in enumerate(sizes)]
    chart = size_chart(days, width=width, height=200)
    points = [tuple(map(float, one.split(","))) for one in chart.line[1:].split("L")]
    assert len(points) == len(sizes)
    assert all(chart.left <= x <= width and 9.9 <= y <= chart.base for x, y in points)
    assert chart.grid[0].size >= max(sizes)
    assert chart.dates
    assert all(40 < mark.text_at <= width - 20 for mark in chart.dates)


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 2), (3, 4), (999, 1000), (1500, 2000), (3_100_000_000, 4_000_000_000)]
)
def test_a_scale_of_bytes_ends_at_a_number_that_halves_well(highest: int, top: int) -> None:
    assert nice_bytes(highest) == top
