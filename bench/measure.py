"""Small tools of measuring: percentiles, rows of the table, the noise of the machine."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what, the figure with its unit, and the comparison.

    `numbers` is the same for programs: a name that ends in its unit, and the number.
    """

    what: str
    figure: str
    note: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


def p(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-percent * len(ranked) // 100) - 1))]


def timed(act: Callable[[], object]) -> float:
    """Seconds that `act` takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def times(what: str, seconds: Sequence[float], note: str = "") -> Row:
    """A row with p50 and p95 of many short times, in milliseconds."""
    p50, p95 = p(seconds, 50) * 1000, p(seconds, 95) * 1000
    return Row(what, f"{p50:.1f} / {p95:.1f} ms", note, {"p50_ms": p50, "p95_ms": p95})


def noise(when: str) -> Row:
    """How much the machine's own times vary, and how busy others keep it."""
    busy = psutil.cpu_percent(interval=1)
    block = b"boathouse" * 500_000
    runs = [timed(lambda: hashlib.sha256(block).digest()) for _ in range(50)]
    spread = p(runs, 95) / statistics.median(runs)
    return Row(
        f"noise {when}: p95 of the same work 50 times / its median",
        f"{spread:.2f}×",
        f"1.00× on an idle machine; others used {busy:.0f} % of the processor",
        {"spread_ratio": spread, "busy_percent": busy},
    )


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| what | figure | note |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.what} | {row.figure} | {row.note} |" for row in rows)])
