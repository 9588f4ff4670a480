"""The walk that decides what is deleted, on edges alone."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from registryui.graph import closure, reachable

NODES = st.integers(0, 9)
EDGES = st.sets(st.tuples(NODES, NODES), max_size=25)  # (keeper, kept), with loops


def by_hand(roots: set[int], edges: set[tuple[int, int]]) -> set[int]:
    found = set(roots)
    for _each in range(10):
        found |= {kept for keeper, kept in edges if keeper in found}
    return found


@given(st.sets(NODES), EDGES)
def test_closure_is_the_roots_and_all_that_they_reach(
    roots: set[int], edges: set[tuple[int, int]]
) -> None:
    asked: list[int] = []

    def below(level: set[int]) -> list[int]:
        asked.extend(level)
        return [kept for keeper, kept in edges if keeper in level]

    assert closure(roots, below) == by_hand(roots, edges)
    assert len(asked) == len(set(asked)), "edges are read once"


@given(st.sets(NODES), st.sets(NODES), EDGES)
def test_walked_upwards_it_finds_the_same(
    nodes: set[int], roots: set[int], edges: set[tuple[int, int]]
) -> None:
    keepers: dict[int, set[int]] = defaultdict(set)
    for keeper, kept in edges:
        keepers[kept].add(keeper)

    def above(level: set[int]) -> tuple[set[int], list[tuple[int, int]]]:
        rest = level - roots
        return level & roots, [(keeper, one) for one in rest for keeper in keepers[one]]

    assert reachable(nodes, above) == by_hand(roots, edges) & nodes


def test_so_many_levels_and_no_more() -> None:
    assert closure({0}, lambda level: {one + 1 for one in level}, levels=3) == {0, 1, 2}


def test_a_chain_of_a_hundred_thousand_ends() -> None:
    assert len(closure({0}, lambda level: {one + 1 for one in level if one < 100_000})) == 100_001
