"""Geometry of charts, made here because the pages allow no inline style; colours come from CSS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

LEFT, TOP, WIDTH, HEIGHT = 34.0, 12.0, 288.0, 100.0  # the drawing's own units


@dataclass(frozen=True, slots=True)
class Bar:
    """Texts, because an SVG attribute must not follow the language's decimal comma."""

    x: str
    y: str
    width: str
    height: str
    day: date
    value: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A labelled line across the chart."""

    y: str
    text_y: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    rules: tuple[Rule, ...]
    total: int
    most: int  # of one day


def daily_chart(values: Mapping[date, int], *, today: date, days: int) -> Chart:
    """Bars of the last `days` days up to today, from 0; days without a value are 0."""
    every = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    top = _round_up(max((values.get(day, 0) for day in every), default=0))
    step = WIDTH / days
    bars = []
    for at, day in enumerate(every):
        value = values.get(day, 0)
        height = value / top * HEIGHT
        bars.append(
            Bar(
                f"{LEFT + at * step + step * 0.14:.1f}",
                f"{TOP + HEIGHT - height:.1f}",
                f"{step * 0.72:.1f}",
                f"{height:.1f}",
                day,
                value,
            )
        )
    steps = (0.5, 1.0) if top % 2 == 0 else (1.0,)
    rules = tuple(
        Rule(f"{y:.1f}", f"{y + 4:.1f}", f"{int(top * share):,}")
        for share in steps
        for y in [TOP + HEIGHT * (1 - share)]
    )
    counts = [bar.value for bar in bars]
    return Chart(tuple(bars), rules, sum(counts), max(counts))


def _round_up(value: int) -> int:
    """The next 1, 2, 4, 6, 8 or 10 times a power of ten: a scale people can read."""
    power = 1
    while value > 10 * power:
        power *= 10
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if value <= step * power)
