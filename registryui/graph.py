"""Reachability of manifests: decides what is deleted, and is defined only here.

    roots   a tag keeps the manifest that it names
            undo keeps what a tag named that can still be restored (TagTombstone)
            a pull by digest keeps an untagged manifest of a mirrored repository for a time
            (models/mirrored.py)
    edges   an image index keeps what it lists
            a manifest keeps its referrers: those that have it as their subject
            an image keeps its referrer tags (sha256-….sig, .att, .sbom, the fallback tag); where it
            is not in the repository, they are tags like any other

What no root reaches is garbage. A manifest is named by its repository and its digest: edges never
leave their repository. A missing manifest is reached, and keeps its referrers, like any other.

    deletion plan       the tags that go are no roots; undo is none, as it ends before the undo of
                        the delete that is planned. A protected referrer tag is a root
    purge               the same with undo; the purged digest goes whatever keeps it
    garbage collection  all tags are roots, referrer tags too: a delete takes those with their
                        image. Undo counts. What is within the grace period stays, with all that it
                        keeps. The same before the registry's own gc runs
    freed bytes         a blob stays if a manifest names it that stays

No I/O: callers read the edges, a level at once, from SQL or from manifests.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def closure(
    roots: Iterable[Node],
    edges: Callable[[set[Node]], Iterable[Node]],
    *,
    levels: int = sys.maxsize,
) -> set[Node]:
    """The roots and all that they reach, as far as so many levels. `edges` gives what some nodes
    keep; it is asked once for each node, a level at once."""
    found: set[Node] = set()
    level = set(roots)
    while level and levels:
        found |= level
        level = set(edges(level)) - found
        levels -= 1
    return found


def reachable(
    nodes: Collection[Node],
    above: Callable[[set[Node]], tuple[Collection[Node], Iterable[tuple[Node, Node]]]],
) -> set[Node]:
    """Those of these nodes that a root reaches: the same closure, walked upwards first, where
    walking from all roots would be too dear.

    `above` gives which of some nodes are roots, and (keeper, kept) for those that are none.
    """
    roots: set[Node] = set()
    keeps: dict[Node, set[Node]] = defaultdict(set)

    def keepers(level: set[Node]) -> Iterator[Node]:
        rooted, edges = above(level)
        roots.update(rooted)
        for keeper, kept in edges:
            keeps[keeper].add(kept)
            yield keeper

    closure(nodes, keepers)
    return closure(roots, lambda level: (kept for one in level for kept in keeps[one])) & set(nodes)
