"""./boathouse bench [--write]: prints the table; --write keeps it in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

from registryui.registry.client import RegistryClient

from . import first_sync
from .measure import Row, milliseconds, noise, p, table, timed
from .product import ROOT, Product, product

PUSHES = 60
REPORT = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    options = _arguments()
    rows = [noise(), *_with_a_product(), *first_sync.measure(), *_pages(), noise()]
    text = f"{_machine()}\n\n{table(rows)}\n"
    print(text)
    if options.write:
        REPORT.write_text(f"{_HEAD}\n{text}")


_HEAD = """# Benchmarks

`./boathouse bench --write` made this page. All figures are from one run; these machines
are noisy, so read the ratios. p50 / p95 where two figures stand.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./boathouse bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    return parser.parse_args()


def _machine() -> str:
    memory = psutil.virtual_memory().total // 2**30
    day = datetime.now(UTC).date()
    return f"{day}, {os.cpu_count()} cores, {memory} GiB, Python {platform.python_version()}."


def _with_a_product() -> Iterator[Row]:
    start = time.perf_counter()
    with product() as one:
        yield Row("`up` on a prepared machine, first time", f"{time.perf_counter() - start:.1f} s")
        again = timed(lambda: one.run("up", "--background", "--json"))
        yield Row("`up` again while it is up", f"{again:.1f} s")
        yield _push_to_row(one)
        yield from _memory(one)


def _push_to_row(one: Product) -> Row:
    """From the answer to the manifest's PUT, where Docker prints "digest:", to the row."""
    user = one.facts["user"]
    waits = []
    with RegistryClient(
        one.facts["url"],
        username=user["name"],
        password=user["secret"],
        ca=Path(one.facts["ca"]),
    ) as client:
        for number in range(PUSHES):
            first_sync.push(client, number, repository="bench/app", tags=(f"v{number}",))
            waits.append(_wait_for(one.data / "index.sqlite3", f"v{number}"))
    return Row(
        f"push → row in the index, {PUSHES} pushes",
        milliseconds(waits),
        f"aim: p95 under 1 s; slowest {p(waits, 100) * 1000:.0f} ms",
    )


def _wait_for(database: Path, tag: str) -> float:
    """Seconds until the index has the tag; looked at every 2 ms."""
    start = time.perf_counter()
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    query = "SELECT 1 FROM registryui_tag WHERE name = ?"
    while connection.execute(query, (tag,)).fetchone() is None:
        if time.perf_counter() - start > 30:
            raise SystemExit(f"{tag} did not reach the index within 30 s")
        time.sleep(0.002)
    connection.close()
    return time.perf_counter() - start


def _memory(one: Product) -> Iterator[Row]:
    for name, part in one.facts["parts"].items():
        family = [psutil.Process(part["pid"])]
        family += family[0].children(recursive=True)
        shared = sum(process.memory_full_info().pss for process in family)
        yield Row(f"memory of {name}", f"{shared / 2**20:.0f} MiB", "proportional share (PSS)")


def _pages() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="boathouse-bench-") as folder:
        command = [sys.executable, "-m", "bench.pages", folder]
        done = subprocess.run(  # noqa: S603  (our own command)
            command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
    for line in done.stdout.splitlines():
        page = json.loads(line)
        note = f"{page['queries']} queries, {page['bytes'] / 1000:.0f} kB"
        yield Row(f"page `{page['path']}` at 1,000 tags", milliseconds(page["times"]), note)


if __name__ == "__main__":
    main()
