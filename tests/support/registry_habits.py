"""Differences between versions of the registry.

Measured on Debian's 2.8.2, and on 3.0.0 and 3.1.1 built from their source (docs/decisions/0005).
"""

import re
import subprocess
from dataclasses import dataclass
from functools import cache

from .parts import REGISTRY
from .waiting import LONGEST


@dataclass(frozen=True, slots=True)
class Habits:
    """Of the registry that the tests run."""

    version: tuple[int, int]

    @property
    def deletes_tags(self) -> bool:
        """DELETE of a tag deletes that tag only; else it is 400 DIGEST_INVALID."""
        return self.version >= (3, 0)

    @property
    def emptied(self) -> list[str] | None:
        """The tags in tags/list after the last one is deleted."""
        return [] if self.version == (3, 0) else None

    @property
    def pages_tags(self) -> bool:
        """tags/list?n=2 answers with two tags and a link; else with all of them."""
        return self.version >= (3, 0)

    @property
    def links_to_an_empty_page(self) -> bool:
        """A last page of tags that is full has a link to one more, with null for its tags."""
        return self.version >= (3, 1)

    @property
    def knows_schema1(self) -> bool:
        """Takes and gives schema 1, and makes it out of schema 2 where a client accepts no other;
        else one in its store is a 500."""
        return self.version < (3, 0)

    @property
    def takes_indexes_of_blobs(self) -> bool:
        """An image index may list layers, as BuildKit's cache did before 0.21; else it is 400."""
        return self.version < (3, 0)


@cache
def habits() -> Habits:
    """Those of tests.support.parts.REGISTRY, by its own word: `--version`."""
    told = subprocess.run(
        [REGISTRY, "--version"], capture_output=True, text=True, timeout=LONGEST, check=True
    ).stdout
    found = re.search(r" v?(\d+)\.(\d+)\.\d+", told)
    assert found, f"{REGISTRY} --version says {told!r}"
    return Habits((int(found[1]), int(found[2])))
