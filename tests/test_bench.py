"""The benchmark's own arithmetic, its list of parts, and that it counts queries at all."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import ON_DEMAND, PARTS
from bench.measure import Row, p, table, times
from bench.pages import PAGES, measured
from bench.store import LARGEST, MadeStore

from .support.product import ROOT, made_once


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (p(values, 50), p(values, 95), p(values, 100)) == (50, 95, 100)
    assert (p([3.0], 50), p([3.0], 95)) == (3, 3)
    assert p([2.0, 1.0], 95) == 2


def test_a_row_has_its_figure_for_people_and_for_programs() -> None:
    row = times("page", [0.001, 0.002, 0.004])
    assert row.figure == "2.0 / 4.0 ms"
    assert row.numbers == {"p50_ms": 2, "p95_ms": 4}
    assert table([Row("a", "1 s", "b")]).splitlines()[-1] == "| a | 1 s | b |"


@pytest.mark.parametrize("name", [*PARTS, ON_DEMAND])
def test_each_part_measures_and_says_what(name: str) -> None:
    part = importlib.import_module(f"bench.{name}")
    assert callable(part.measure)
    assert part.__doc__


def test_each_page_is_timed_and_its_queries_are_counted(tmp_path: Path) -> None:
    with made_once(tmp_path):
        pages = measured(tmp_path, 5, 2)
    assert [page["path"] for page in pages] == PAGES
    for page in pages:
        assert 1 <= page["queries"] <= 12, page["path"]
        assert len(page["times"]) == 2
        assert page["bytes"] > 1000


def test_a_part_that_breaks_off_is_a_row_and_a_bad_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import __main__ as program
    from bench import start

    def broken() -> list[Row]:
        raise RuntimeError("no disk")

    monkeypatch.setattr(start, "measure", broken)
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "start", "--json"])
    assert program.main() == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["part"] for row in rows] == ["noise", "start", "noise"]
    assert rows[1]["figure"] == "failed"
    assert rows[1]["note"] == "RuntimeError: no disk"


def test_a_part_of_a_run_is_not_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--write", "--only", "start"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--write needs a complete run" in done.stderr


@pytest.mark.parametrize(("tags", "repositories"), [(1, 0), (77, 3), (5000, 0), (60_000, 10_000)])
def test_a_made_store_has_as_many_tags_and_repositories_as_asked(
    tags: int, repositories: int
) -> None:
    sizes = MadeStore(tags, repositories=repositories).sizes
    assert sum(sizes) == tags
    assert len(sizes) == repositories or not repositories
    assert min(sizes) >= 1
    assert max(sizes) <= LARGEST
    assert (max(sizes) == LARGEST) == (tags >= 40_000)


def test_a_made_store_is_the_same_for_the_same_seed() -> None:
    one, two, other = (MadeStore(300, seed=seed) for seed in (1, 1, 2))
    for name in one.repositories():
        assert one.records(name).tags == two.records(name).tags
        assert one.records(name).manifests == two.records(name).manifests
        assert len(one.tag_links(name)) == one.sizes[one.number(name)]
    assert one.records("payments/api-0").tags != other.records("payments/api-0").tags
