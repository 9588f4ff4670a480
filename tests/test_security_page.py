"""docs/security.md names tests, files and requirements: all of them are there."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from django.conf import settings

PAGE = (settings.BASE_DIR / "docs" / "security.md").read_text()
IDS = re.compile(r"\d+\.\d+\.\d+")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if IDS.match(line.removeprefix("| "))
]
TESTS = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))
FILES = sorted(
    set(re.findall(r"`((?:deploy|docs|portal|registryui|static|templates)/[^`]*)`", PAGE))
)
VERDICTS = {"yes", "partly", "no", "does not apply"}


def test_every_requirement_of_both_levels_stands_there_once() -> None:
    """As many as ASVS 5.0.0 has of level 1 and 2."""
    assert Counter(row[1] for row in ROWS) == {"1": 70, "2": 183}
    assert max(Counter(row[0] for row in ROWS).values()) == 1
    assert {len(row) for row in ROWS} == {7}
    assert {row[3] for row in ROWS} == VERDICTS


def test_what_is_not_met_has_a_reason_and_a_place_at_the_end() -> None:
    rest = PAGE.partition("## Not yet")[2]
    lacking = {row[0] for row in ROWS if row[3] in ("partly", "no")}
    assert [row[0] for row in ROWS if row[0] in lacking and not row[6]] == []
    assert set(IDS.findall(rest)) == lacking


def test_the_figures_of_the_summary_are_those_of_the_table() -> None:
    said = re.search(
        r"Of (\d+) requirements (\d+) hold, (\d+) hold in part, (\d+) do not, and (\d+) do not",
        PAGE,
    )
    assert said
    count = Counter(row[3] for row in ROWS)
    found = [len(ROWS), *(count[one] for one in ("yes", "partly", "no", "does not apply"))]
    assert [int(one) for one in said.groups()] == found


def test_every_claim_that_something_holds_says_where_and_by_which_test() -> None:
    for row in ROWS:
        if row[3] in ("yes", "partly"):
            assert row[4], row
            assert re.search(r"`[\w/]+\.py::\w+`|no test", row[5]), row


@pytest.mark.parametrize("file", sorted({file for file, _name in TESTS}))
def test_tests_that_are_named_are_there(file: str) -> None:
    text = (settings.BASE_DIR / "tests" / file).read_text()
    wanted = {name for one, name in TESTS if one == file}
    assert wanted - set(re.findall(r"def (test_\w+)\(", text)) == set()


def test_files_that_are_named_are_there() -> None:
    assert len(FILES) > 40
    assert [name for name in FILES if not (settings.BASE_DIR / name).exists()] == []
