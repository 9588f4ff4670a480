"""The benchmark's own arithmetic, its list of parts, and that it counts queries at all."""

from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from bench import clients, instance, pages
from bench.__main__ import ALONE, PARTS
from bench.measure import Row, p, table, times
from bench.store import LARGEST, MadeStore

from .support.product import ROOT, Product


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


@pytest.mark.parametrize("name", [*PARTS, *ALONE])
def test_each_part_measures_and_says_what(name: str) -> None:
    part = importlib.import_module(f"bench.{name}")
    assert callable(part.measure)
    assert part.__doc__


@pytest.fixture(scope="module")
def filled() -> Iterator[Product]:
    with instance.filled(60) as made:
        yield made


@pytest.mark.e2e
def test_each_page_is_asked_for_by_clients_of_the_real_product(
    filled: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "filled", lambda tags: nullcontext(filled))
    monkeypatch.setattr(pages, "CLIENTS", (1, 3))
    monkeypatch.setattr(pages, "SECONDS", 0.05)
    rows = list(pages.measure(60))
    assert len(rows) == 2 * (len(pages.PAGES) + 2)
    for row in rows:
        numbers = row.numbers
        assert 0 < numbers["p50_ms"] <= numbers["p95_ms"], row
        assert numbers["per_s"] > 0, row
        if row.what.startswith("healthz"):
            continue
        assert numbers["share_percent"] > 0, row
        assert numbers["queries"] <= 13, row
        assert numbers["kb"] >= numbers["sent_kb"], row
        assert (numbers["kb"] > 10) != row.what.startswith("poll"), row


@pytest.mark.e2e
def test_a_page_that_is_not_answered_is_not_measured(filled: Product) -> None:
    with pytest.raises(RuntimeError, match="'/absent' answered 404"):
        clients.asked(filled, {"absent": "/absent"}, "absent", (1,), 0.05)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("200 OK\r\nContent-Length: 5\r\nConnection: close", b"hello"),
        ("204 No Content", b""),
        (
            "200 OK\r\ntransfer-encoding: chunked",
            b"a\r\n0\r\n\r\n0\r\n\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n",
        ),
    ],
)
def test_an_answer_is_complete_with_its_last_byte(head: str, body: bytes) -> None:
    answer, came = clients.Answer(), f"HTTP/1.1 {head}\r\n\r\n".encode() + body
    assert [answer.feed(bytes([byte])) for byte in came] == [False] * (len(came) - 1) + [True]
    assert answer.status == int(head[:3])
    assert answer.is_last == ("close" in head)
    chunks = b"0\r\n\r\n0\r\n\r\nhello"
    assert answer.content == (chunks if "chunked" in head else body)


def test_a_compressed_answer_has_two_sizes() -> None:
    answer, small = clients.Answer(), gzip.compress(b"tag" * 1000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(small)}\r\n\r\n"
    assert answer.feed(head.encode() + small)
    assert (len(answer.sent), len(answer.content)) == (len(small), 3000)


def test_a_poll_asks_what_the_page_says() -> None:
    page = '<form hx-get="/a"></form><div hx-get="{}" hx-trigger="every 2s">'
    assert clients.poll_of("/a?b=1", page.format("?seen=1.5-7&amp;c=2")) == "/a?seen=1.5-7&c=2"
    assert clients.poll_of("/a", page.format("/a?c=2&amp;seen=1")) == "/a?c=2&seen=1"
    with pytest.raises(ValueError, match="/a has no fragment"):
        clients.poll_of("/a", page.format("/a?unseen=1"))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], ((), {"is_postgresql": False})),
        (["--tags", "60", "--postgresql"], ((60,), {"is_postgresql": True})),
    ],
)
def test_pages_alone_take_a_size_and_a_database(
    words: list[str], asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import __main__ as program

    found: list[Any] = []

    def measure(*sizes: int, **options: bool) -> list[Row]:
        found.append((sizes, options))
        return []

    monkeypatch.setattr(pages, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "pages", *words])
    assert program.main() == 0
    assert found == [asked]


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
