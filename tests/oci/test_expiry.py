"""Durations as `quay.expires-after` has them, written by strangers."""

import pytest

from registryui.oci import expiry

DAY = 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1h", 3600),
        (" 2D ", 2 * DAY),
        ("3 w", 21 * DAY),
        ("1y", 365 * DAY),
        ("3650d", 3650 * DAY),
        *(
            (text, None)
            for text in ("", "0h", "h", "2", "-1d", "1.5d", "2 weeks", "3651d", "9999999999s")
        ),
        *((text, None) for text in ("٢d", "1d1h", "1d\n2d", "never", "w" * 10_000, "9" * 5000)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int | None) -> None:
    assert expiry.seconds_in(text) == seconds


def test_seconds_are_said_in_the_largest_unit_that_fits() -> None:
    said = {text: expiry.in_text(expiry.seconds_in(text) or 0) for text in ("90s", "48h", "14d")}
    assert said == {"90s": "90s", "48h": "2d", "14d": "2w"}


def test_the_label_counts_before_the_annotation() -> None:
    assert expiry.stated({expiry.LABEL: "1h"}, {expiry.LABEL: "2h"}) == 7200
    assert expiry.stated({expiry.LABEL: "1h"}, {}) == 3600
    assert expiry.stated({expiry.LABEL: "1h"}, {expiry.LABEL: "soon"}) is None
    assert expiry.stated({}, {"other": "1h"}) is None
