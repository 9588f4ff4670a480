"""The three ways through the rooms, as docs/flows.md has them: each walks down, by imports."""

import re
from itertools import pairwise

import grimp
import pytest
from django.conf import settings

PAGE = (settings.BASE_DIR / "docs" / "flows.md").read_text()
ROW = re.compile(r"^\| (.+? → .+?) \| (`.+`) \|$", re.MULTILINE)


def test_each_flow_walks_one_way_through_the_rooms(subtests: pytest.Subtests) -> None:
    imports = grimp.build_graph("registryui")
    flows = [(name, re.findall(r"`([\w/]+)`", steps)) for name, steps in ROW.findall(PAGE)]
    assert len(flows) == 5
    for name, steps in flows:
        modules = [f"registryui.{step.replace('/', '.')}" for step in steps]
        for above, below in pairwise(modules):
            with subtests.test(f"{name}: {above} uses {below}"):
                assert imports.chain_exists(importer=above, imported=below)
                assert not imports.chain_exists(importer=below, imported=above)
