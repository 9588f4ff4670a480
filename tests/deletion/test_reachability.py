"""What deletion plans and purges read from the index, against the walk over the same edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.deletion.execute import Selection, plan, plan_purge
from registryui.deletion.reachability import around, reachable, users_of
from registryui.models import Repository
from tests.support.graphs import Graph, digest, fill, graphs, reached, referrer_tag

pytestmark = pytest.mark.django_db


@given(graphs(), st.booleans())
def test_what_is_reachable_upwards_is_what_all_roots_reach(graph: Graph, with_undo: bool) -> None:
    repositories = fill(graph)
    keys = {
        (repositories[node.repository].pk, digest(graph, number)): number
        for number, node in enumerate(graph.nodes)
    }
    roots = graph.tagged | (graph.undo if with_undo else set())
    expected = reached(roots, graph.keeps()) & graph.here
    found = {keys[key] for key in reachable(keys, with_undo=with_undo)}
    assert found & graph.here == expected


@given(st.data(), graphs())
def test_a_plan_takes_and_frees_what_no_root_reaches(data: st.DataObject, graph: Graph) -> None:
    repository = data.draw(st.sampled_from([node.repository for node in graph.nodes]))
    own = [tag for tag, one in graph.tags.items() if graph.nodes[one].repository == repository]
    going = set(data.draw(st.lists(st.sampled_from(own), unique=True) if own else st.just([])))
    fill(graph)

    # Referrer tags follow their image, if the plan comes to it; else they are like any other.
    every = graph.keeps(with_referrer_tags=graph.referrer_tags.keys())
    touched = reached({graph.tags[tag] for tag in going}, every)
    following = touched & graph.here & graph.referrer_tags.keys()
    roots = {one for tag, one in graph.tags.items() if tag not in going}
    roots |= {one for image, one in graph.referrer_tags.items() if image not in following}
    kept = reached(roots, graph.keeps(with_referrer_tags=following))
    dead = (touched & graph.here) - kept

    made = plan(Selection(repository, tags=tuple(sorted(going))))
    found = around(
        Repository.objects.get(name=repository), {digest(graph, graph.tags[tag]) for tag in going}
    )
    alive = found.reachable(going=going)
    assert {one for one in found.keys if one not in alive} == {digest(graph, n) for n in dead}
    gone = {one.tag for one in made.referrer_tags}
    assert gone == {referrer_tag(digest(graph, image)) for image in following - kept}
    # What else is dead already goes by the same time: it holds no layer.
    assert made.freed == sum(graph.layers(dead) - graph.layers(_alive(graph, dead)))


def _alive(graph: Graph, dead: set[int]) -> set[int]:
    """What tags keep in the store, without these."""
    return (reached(graph.tagged - dead, graph.keeps()) & graph.here) - dead


@given(st.data(), graphs())
def test_a_purge_takes_its_digest_and_what_only_that_keeps(
    data: st.DataObject, graph: Graph
) -> None:
    if not graph.here:
        return
    number = data.draw(st.sampled_from(sorted(graph.here)))
    fill(graph)
    every = graph.keeps(with_referrer_tags=graph.referrer_tags.keys())
    touched = reached({number}, every)
    following = touched & graph.here & graph.referrer_tags.keys()
    roots = {one for one in graph.tags.values() if one != number} | graph.undo
    roots |= {one for image, one in graph.referrer_tags.items() if image not in following}
    keeps = graph.keeps(with_referrer_tags=following)
    for kept in keeps.values():
        kept.discard(number)
    kept = reached(roots - {number}, keeps)
    dead = (touched & graph.here) - kept
    made = plan_purge(graph.nodes[number].repository, digest(graph, number))
    hanging = {graph.referrer_tags[image] for image in following & dead}
    assert set(made.children) == {digest(graph, one) for one in dead - {number} - hanging}


@given(st.data(), graphs())
def test_users_are_all_that_a_manifest_or_layer_is_a_part_of(
    data: st.DataObject, graph: Graph
) -> None:
    number = data.draw(st.sampled_from(range(len(graph.nodes))))
    fill(graph)
    listed = {one: set(graph.nodes[one].children) for one in graph.here}
    expected = {one for one in graph.here if number in reached({one}, listed)} | {number}
    found = users_of(graph.nodes[number].repository, {digest(graph, number)})
    assert found == {digest(graph, one) for one in expected}
