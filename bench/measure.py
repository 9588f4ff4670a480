"""Small tools of measuring: percentiles, a table, the noise of the machine."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what, the figure with its unit, and what it is held against."""

    what: str
    figure: str
    note: str = ""


def p(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-percent * len(ranked) // 100) - 1))]


def timed(act: Callable[[], object]) -> float:
    """Seconds that `act` takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def milliseconds(values: Sequence[float]) -> str:
    """`p50 / p95` of seconds, in milliseconds."""
    return f"{p(values, 50) * 1000:.1f} / {p(values, 95) * 1000:.1f} ms"


def noise() -> Row:
    """The same work of one core, thirty times: how far apart the machine's own answers lie."""
    block = b"boathouse" * 100_000
    runs = [timed(lambda: hashlib.sha256(block * 5).digest()) for _ in range(30)]
    spread = p(runs, 95) / statistics.median(runs)
    return Row("noise of the machine: p95 of fixed work / its median", f"{spread:.2f}×")


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| what | figure | note |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.what} | {row.figure} | {row.note} |" for row in rows)])
