"""`up` on a prepared machine: its packages and .venv are there, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.product import Product, free_port

from .instance import LOOPBACK, folder
from .measure import Row, timed


def measure() -> Iterator[Row]:
    """Three starts: the first, one after `down`, and one while it runs."""
    with folder() as place:
        one = Product(place / "data", LOOPBACK, LOOPBACK, free_port(LOOPBACK))
        try:
            yield _row("`up` on a prepared machine, first time", timed(one.up))
            one.down()
            yield _row("`up` again after `down`", timed(one.up))
            yield _row("`up` again while it is up", timed(one.up))
        finally:
            one.boathouse("down", check=False)


def _row(what: str, seconds: float) -> Row:
    return Row(what, f"{seconds:.1f} s", "until every part answers", {"seconds": seconds})
