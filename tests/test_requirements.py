"""The files of requirements say what is installed: all of it, by version and hash."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from tests.support.pins import pins

GROUPS = ("", "-s3", "-test")


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_asked_for_is_locked_in_that_version_with_a_hash(group: str) -> None:
    asked, locked = pins(f"requirements{group}.in"), pins(f"requirements{group}.txt")
    assert asked
    assert asked.items() <= locked.items()
    text = (settings.BASE_DIR / f"requirements{group}.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked)
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_groups_agree_on_what_they_share() -> None:
    product = pins("requirements.txt")
    for group in GROUPS[1:]:
        shared = pins(f"requirements{group}.txt")
        differ = {name for name in shared.keys() & product.keys() if shared[name] != product[name]}
        assert differ == set()


def test_what_runs_the_product_holds_no_tool_of_tests() -> None:
    tools = pins("requirements-test.in").keys()
    assert tools & pins("requirements.txt").keys() == set()
