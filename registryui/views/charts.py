"""Geometry of the overview's drawings: numbers in, coordinates out. Templates draw, CSS colours.

Bars start at 0; pulls and pushes are two charts on one time axis, each with its own scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from squarify import normalize_sizes, squarify

LEFT = 38.0  # room for the labels of the scale
TOP = 18.0  # room for the title of a band
GAP = 30.0  # between the bands: the title of the lower one
BOTTOM = 22.0  # dates below the axis
DATE_WIDTH = 40.0  # of the longest
PULLS_SHARE = 0.66  # of the height: there are more pulls than pushes, and they vary more


@dataclass(frozen=True, slots=True)
class Day:
    day: date
    pulls: int
    pushes: int


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str  # "23 Nov: 12 pulls"


@dataclass(frozen=True, slots=True)
class Mark:
    """A grid line with its label, or a date below the axis."""

    at: float
    text_at: float
    label: str


@dataclass(frozen=True, slots=True)
class Band:
    """One chart of the two: bars over a common axis."""

    title: str
    title_y: float
    hue: int
    base: float  # y of 0
    grid: list[Mark]
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class ActivityChart:
    width: float
    height: float
    left: float
    label_x: float
    dates_y: float
    bands: list[Band]
    weekends: list[Bar]
    dates: list[Mark]


@dataclass(frozen=True, slots=True)
class SizeMark:
    """A grid line; the template writes its bytes."""

    at: float
    text_at: float
    size: int


@dataclass(frozen=True, slots=True)
class SizeChart:
    """Bytes over days as an area from 0."""

    width: float
    height: float
    left: float
    label_x: float
    base: float
    dates_y: float
    line: str  # a path
    area: str  # the same, closed along the base
    grid: list[SizeMark]
    dates: list[Mark]


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a tree map. label is "" where it would not fit."""

    name: str
    size: int
    x: float
    y: float
    width: float
    height: float
    label: str
    has_room_for_size: bool

    @property
    def text_x(self) -> float:
        return round(self.x + 10, 1)

    @property
    def text_y(self) -> float:
        return round(self.y + 21, 1)

    @property
    def second_y(self) -> float:
        return round(self.y + 37, 1)


def days_until(last: date, count: int, known: Iterable[Day]) -> list[Day]:
    """`count` days up to `last`, oldest first; those nobody counted are 0."""
    by_day = {day.day: day for day in known}
    dates = [last - timedelta(days=back) for back in range(count - 1, -1, -1)]
    return [by_day.get(day, Day(day, 0, 0)) for day in dates]


def activity_chart(days: Sequence[Day], *, width: float, height: float) -> ActivityChart:
    """Pulls above, pushes below. Needs at least one day."""
    room = height - TOP - GAP - BOTTOM
    upper = round(room * PULLS_SHARE)
    lower = room - upper
    step = (width - LEFT) / len(days)
    second = TOP + upper + GAP
    pulls = [(day.pulls, ngettext("%(count)d pull", "%(count)d pulls", day.pulls)) for day in days]
    pushes = [
        (day.pushes, ngettext("%(count)d push", "%(count)d pushes", day.pushes)) for day in days
    ]
    return ActivityChart(
        width=width,
        height=height,
        left=LEFT,
        label_x=LEFT - 6,
        dates_y=height - 4,
        bands=[
            _band(_("Pulls per day"), 1, days, pulls, top=TOP, height=upper, step=step),
            _band(_("Pushes per day"), 6, days, pushes, top=second, height=lower, step=step),
        ],
        weekends=[
            Bar(round(LEFT + place * step, 1), TOP, round(step, 1), second + lower - TOP, "")
            for place, day in enumerate(days)
            if day.day.weekday() >= 5
        ],
        dates=_dates(days, step, every=7 if width > 500 else 14),
    )


def size_chart(days: Sequence[tuple[date, int]], *, width: float, height: float) -> SizeChart:
    """Bytes on each day, oldest first. Needs at least two days."""
    left, top = 58.0, 10.0
    base = height - BOTTOM
    scale = nice_bytes(max(size for _day, size in days))
    step = (width - left) / (len(days) - 1)
    points = "L".join(
        f"{left + place * step:.1f},{base - size / scale * (base - top):.1f}"
        for place, (_day, size) in enumerate(days)
    )
    lines = [(scale, top), (scale / 2, (top + base) / 2)]
    every = max(round(len(days) * 90 / (width - left)), 1)
    dates = [
        Mark(x, min(max(x, left + DATE_WIDTH / 2), width - DATE_WIDTH / 2), day_in_words(day))
        for place, (day, _size) in list(enumerate(days))[::-1][::every]
        for x in [round(left + place * step, 1)]
    ][::-1]
    return SizeChart(
        width,
        height,
        left,
        left - 6,
        base,
        height - 4,
        f"M{points}",
        f"M{points}L{width:.1f},{base:.1f}L{left:.1f},{base:.1f}Z",
        [SizeMark(round(y, 1), round(y + 4, 1), round(value)) for value, y in lines],
        dates,
    )


def nice_bytes(highest: int) -> float:
    """The upper end of a scale of bytes: 2, 4, 10, 20 … kB, MB, GB, so that its half reads well."""
    unit = 1
    while highest >= 1000 * unit:
        unit *= 1000
    return nice_top(-(-highest // unit)) * unit


def nice_top(highest: int) -> int:
    """The upper end of a scale with a whole number at its half: 2, 4, 10, 20, 40, 100 …"""
    top = 2
    while top < highest:
        top = top * 5 // 2 if str(top).startswith("4") else top * 2
    return top


def day_in_words(day: date) -> str:
    """The day without its year as the language writes it: 26 Oct."""
    # Translators: a day without its year, in Django's date format, such as "j M" or "n月j日"
    return date_format(day, _("j M"))


def spark_line(values: Sequence[int]) -> str:
    """A path over 100 × 30 through two values or more: a small line, its own scale from 0."""
    top = max(values) or 1
    step = 100 / (len(values) - 1)
    points = (
        f"{place * step:.1f},{28 - value / top * 26:.1f}" for place, value in enumerate(values)
    )
    return "M" + "L".join(points)


def tree_map(
    sizes: Iterable[tuple[str, int]], *, width: float = 560, height: float = 330
) -> list[Tile]:
    """Areas are true, tiles nearly square.

    `sizes` biggest first; those of 0 are left out, they have no area.
    """
    items = [(name, size) for name, size in sizes if size > 0]
    areas = normalize_sizes([size for _name, size in items], width, height)
    places = squarify(areas, 0, 0, width, height)
    return [
        _tile(name, size, place["x"], place["y"], place["dx"], place["dy"])
        for (name, size), place in zip(items, places, strict=True)
    ]


def _band(
    title: str,
    hue: int,
    days: Sequence[Day],
    values: Sequence[tuple[int, str]],
    *,
    top: float,
    height: float,
    step: float,
) -> Band:
    scale = nice_top(max(value for value, _words in values))
    base = top + height
    thick = round(step * 0.72, 1)
    bars = []
    for place, (value, words) in enumerate(values):
        bar = round(value / scale * height, 1)
        x = round(LEFT + place * step + (step - thick) / 2, 1)
        title_of_bar = f"{day_in_words(days[place].day)}: {words % {'count': value}}"
        bars.append(Bar(x, round(base - bar, 1), thick, bar, title_of_bar))
    lines = [(scale, top), (scale // 2, top + height / 2)]
    grid = [Mark(round(y, 1), round(y + 4, 1), f"{value:,}") for value, y in lines]
    return Band(title, top - 7, hue, base, grid, bars)


def _dates(days: Sequence[Day], step: float, *, every: int) -> list[Mark]:
    """Dates counted back from the last day, which people look for first."""
    marks = []
    for place in range(len(days) - 1, -1, -every):
        x = LEFT + (place + 0.5) * step
        # The last one keeps within the drawing, and with it within the panel.
        x = round(min(x, LEFT + len(days) * step - DATE_WIDTH / 2), 1)
        marks.append(Mark(x, x, day_in_words(days[place].day)))
    return marks[::-1]


def _tile(name: str, size: int, x: float, y: float, width: float, height: float) -> Tile:
    last = name.rpartition("/")[2]
    fitting = (text for text in (name, last) if len(text) * 7.4 < width - 16)
    label = next(fitting, "") if height >= 28 else ""
    return Tile(
        name,
        size,
        round(x, 1),
        round(y, 1),
        round(width, 1),
        round(height, 1),
        label,
        has_room_for_size=height > 46 and bool(label),
    )
