"""The bytes that a retention report promises, against the walk over the same edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryui.models import RetentionFate, Run
from registryui.retention import freed
from tests.support.graphs import Graph, digest, fill, graphs, reached

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def report(data: st.DataObject, graph: Graph) -> tuple[Run, int]:
    """A report by which some tags go; the bytes that this frees."""
    going = set(data.draw(st.lists(st.sampled_from(sorted(graph.tags)), unique=True)))
    fill(graph)
    run = Run.objects.create(kind=Run.Kind.RETENTION, state=Run.State.DONE)
    staying = {tag: number for tag, number in graph.tags.items() if tag not in going}
    for tag in going:
        number = graph.tags[tag]
        RetentionFate.objects.create(
            run=run,
            kind=RetentionFate.Kind.GOES,
            repository=graph.nodes[number].repository,
            tag=tag,
            digest=digest(graph, number),
            beside=next((one for one in staying if staying[one] == number), ""),
        )
    # Referrer tags of an image that goes, go; those of one that is not here stay as they are.
    following = graph.referrer_tags.keys() & graph.here
    roots = {*staying.values()}
    roots |= {one for image, one in graph.referrer_tags.items() if image not in following}
    kept = reached(roots, graph.keeps(with_referrer_tags=following)) & graph.here
    return run, sum(graph.layers(graph.here - kept) - graph.layers(kept))


@given(st.data(), graphs(is_plain=True).filter(lambda graph: bool(graph.tags)))
def test_what_images_and_their_children_free_is_counted_to_the_byte(
    data: st.DataObject, graph: Graph
) -> None:
    run, expected = report(data, graph)
    assert freed.by(run) == expected


@given(st.data(), graphs().filter(lambda graph: bool(graph.tags)))
def test_no_more_is_promised_than_goes(data: st.DataObject, graph: Graph) -> None:
    run, expected = report(data, graph)
    assert freed.by(run) <= expected
