"""The numbers of docs/benchmarks.md, measured on this machine; takes some minutes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from types import ModuleType

import psutil

from tests.support.product import ROOT

from .measure import Row, noise, table

REPORT = ROOT / "docs" / "benchmarks.md"
# In the order of the table. A new part is a module of this name in bench/ with
# measure() -> Iterable[Row], whose docstring begins with the line that --help shows.
PARTS = (
    *("start", "push", "memory", "first_sync", "pages", "browser", "proxy", "guessing"),
    *("mirror", "import", "import_v1", "archive", "gc", "backup"),
)
ON_DEMAND = "million"  # with --tags: it takes long
ALONE = ("adopt", ON_DEMAND)  # only if they are asked for
LARGER = ("million", "gc", "pages", "backup")  # take a number of tags
ON_BOTH = ("adopt", "million", "pages")  # take a database
FAILED = "failed"
HEAD = """# Benchmarks

`./boathouse bench --write` wrote this page. All figures are from one run; these machines
are noisy, so compare the ratios. Two figures are p50 / p95.
"""


def main() -> int:
    """Prints the table or JSON; 1 if a part could not be measured."""
    options = _arguments()
    measured = list(_measured(options.only or PARTS, options.tags, options.postgresql))
    rows = [row for _part, row in measured]
    is_complete = not any(row.figure == FAILED for row in rows)
    if options.json:
        print(_as_json(measured))
    else:
        print(f"{_machine()}\n\n{table(rows)}")
    if options.write and is_complete:
        REPORT.write_text(f"{HEAD}\n{_machine()}\n\n{table(rows)}\n")
    return 0 if is_complete else 1


def _arguments() -> argparse.Namespace:
    lines = [
        f"  {name:<12} {(_module(name).__doc__ or '').splitlines()[0]}" for name in (*PARTS, *ALONE)
    ]
    parser = argparse.ArgumentParser(
        prog="./boathouse bench",
        description=__doc__,
        epilog="\n".join(("parts:", *lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=(*PARTS, *ALONE),
        metavar="PART",
        help="this part; repeatable",
    )
    parser.add_argument(
        "--tags",
        type=int,
        default=0,
        help="also the index of a store of so many tags; with --only gc, its garbage collection;"
        " with --only pages, the pages at this size alone",
    )
    parser.add_argument(
        "--postgresql", action="store_true", help="that index, and pages, in PostgreSQL"
    )
    parser.add_argument("--json", action="store_true", help="print the rows for programs")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write needs a complete run, without --only")
    return options


def _measured(parts: Sequence[str], tags: int, is_postgresql: bool) -> Iterator[tuple[str, Row]]:
    """Each row with the name of its part, the machine's noise before and after."""
    yield "noise", noise("before")
    is_asked = tags and not any(name in LARGER for name in parts if parts is not PARTS)
    for name in (*parts, *([ON_DEMAND] if is_asked else [])):
        print(f"{name} …", file=sys.stderr)
        measure = _module(name).measure
        is_larger = name == ON_DEMAND or (name in LARGER and parts is not PARTS)
        if tags and is_larger:
            measure = partial(measure, tags)
        if name in ON_BOTH:
            measure = partial(measure, is_postgresql=is_postgresql)
        for row in _rows(measure):
            yield name, row
    yield "noise", noise("after")


def _rows(measure: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """The part's rows; "failed" if it raises. The other parts are still measured."""
    try:
        yield from measure()
    except Exception as error:
        traceback.print_exc()
        inner = measure.func if isinstance(measure, partial) else measure
        yield Row(
            inner.__module__.rpartition(".")[2], FAILED, f"{type(error).__name__}: {error}"[:200]
        )


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"bench.{name}")


def _machine() -> str:
    memory = round(psutil.virtual_memory().total / 2**30)
    day = datetime.now(UTC).date()
    return f"{day}, {os.cpu_count()} cores, {memory} GiB, Python {platform.python_version()}."


def _as_json(measured: Iterable[tuple[str, Row]]) -> str:
    rows = [
        {
            "part": part,
            "what": row.what,
            "figure": row.figure,
            "note": row.note,
            **({"numbers": dict(row.numbers)} if row.numbers else {}),
        }
        for part, row in measured
    ]
    return json.dumps({"machine": _machine(), "rows": rows}, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is cleaned up
    sys.exit(main())
