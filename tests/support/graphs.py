"""Random images that list, refer to and share each other, for what decides what is deleted.

Nodes are numbers. A node names only those before it, so that each can be put into a real store.
What keeps what is said here once more, by hand, for `registryui.graph` to walk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone
from hypothesis import strategies as st

from registryui.graph import closure
from registryui.models import Blob, ImageIndexEntry, Manifest, Repository, TagTombstone

from .factories import digest_of, make_manifest, make_repository, make_tag, make_tombstone
from .fake_source import IMAGE
from .stores import Small

REPOSITORIES = ("team/api", "team/web")
LAYERS = tuple(2**number for number in range(6))  # bytes: a sum says which they are


@dataclass(frozen=True)
class Node:
    """A manifest. An image index, if it has children."""

    repository: str
    children: tuple[int, ...] = ()
    subject: int | None = None
    layers: tuple[int, ...] = ()
    is_here: bool = True


@dataclass
class Graph:
    nodes: list[Node] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)
    referrer_tags: dict[int, int] = field(default_factory=dict)  # image, to what the tag names
    undo: set[int] = field(default_factory=set)

    @property
    def here(self) -> set[int]:
        return {number for number, node in enumerate(self.nodes) if node.is_here}

    @property
    def tagged(self) -> set[int]:
        return {*self.tags.values(), *self.referrer_tags.values()}

    def keeps(self, *, with_referrer_tags: Collection[int] = ()) -> dict[int, set[int]]:
        """Edges; those of the referrer tags of these images too."""
        found: dict[int, set[int]] = defaultdict(set)
        for number in self.here:
            node = self.nodes[number]
            found[number] |= set(node.children)
            if node.subject is not None:
                found[node.subject].add(number)
        for image in with_referrer_tags:
            if image in self.referrer_tags:
                found[image].add(self.referrer_tags[image])
        return found

    def layers(self, numbers: Iterable[int]) -> set[int]:
        return {layer for one in numbers for layer in self.nodes[one].layers}


def reached(roots: Iterable[int], keeps: dict[int, set[int]]) -> set[int]:
    return closure(roots, lambda level: {kept for one in level for kept in keeps.get(one, ())})


@st.composite
def graphs(draw: Any, *, is_plain: bool = False, with_undo: bool = True) -> Graph:
    """`is_plain`: images with tags, and image indexes of such; nothing refers, nests or is lost."""
    made = Graph()
    for number in range(draw(st.integers(1, 8))):
        repository = draw(st.sampled_from(REPOSITORIES))
        before = [
            other
            for other, node in enumerate(made.nodes)
            if node.repository == repository and not (is_plain and node.children)
        ]
        some = st.lists(st.sampled_from(before), unique=True, max_size=3) if before else st.just([])
        children = draw(some)
        subject = draw(st.sampled_from([None, *before])) if not is_plain else None
        layers = [] if children else draw(st.lists(st.sampled_from(LAYERS), unique=True))
        is_here = is_plain or draw(st.integers(0, 7)) > 0
        node = Node(repository, tuple(children), subject, tuple(layers), is_here=is_here)
        made.nodes.append(node)
        for tag in range(draw(st.integers(0, 2)) if node.is_here else 0):
            made.tags[f"t{number}-{tag}"] = number
    if is_plain:
        lost = made.here - reached(made.tags.values(), made.keeps())
        made.tags |= {f"t{number}": number for number in lost}
        return made
    for image, node in enumerate(made.nodes):
        near = [one for one in made.here if made.nodes[one].repository == node.repository]
        if near and draw(st.integers(0, 4)) == 0:
            made.referrer_tags[image] = draw(st.sampled_from(sorted(near)))
    if with_undo:
        made.undo = draw(st.sets(st.sampled_from(range(len(made.nodes))), max_size=2))
    return made


# -- as rows of the index --------------------------------------------------------------------------
def digest(graph: Graph, number: int) -> str:
    return digest_of(f"{graph.nodes[number].repository} {number}")


def referrer_tag(image: str) -> str:
    return f"{image.replace(':', '-')}.sig"


def fill(graph: Graph) -> dict[str, Repository]:
    """The index holds this and nothing else. Manifests have no bytes of their own."""
    for model in (Repository, Blob, TagTombstone):
        model._default_manager.all().delete()
    repositories = {name: make_repository(name) for name in REPOSITORIES}
    rows: dict[int, Manifest] = {}
    for number in sorted(graph.here):
        node = graph.nodes[number]
        row = rows[number] = make_manifest(
            repositories[node.repository],
            digest=digest(graph, number),
            kind=Manifest.Kind.IMAGE_INDEX if node.children else Manifest.Kind.IMAGE,
            layers=node.layers,
            subject_digest="" if node.subject is None else digest(graph, node.subject),
            untagged_at=None if number in graph.tagged else timezone.now(),
            raw=b"",
        )
        for position, child in enumerate(node.children):
            ImageIndexEntry.objects.create(
                image_index=row, position=position, digest=digest(graph, child)
            )
    for tag, number in graph.tags.items():
        make_tag(repositories[graph.nodes[number].repository], tag, rows[number])
    for image, number in graph.referrer_tags.items():
        subject = digest(graph, image)
        repository = repositories[graph.nodes[image].repository]
        make_tag(repository, referrer_tag(subject), rows[number], refers_to=subject)
    for number in graph.undo:
        make_tombstone(graph.nodes[number].repository, "old", digest=digest(graph, number))
    return repositories


# -- as a store ------------------------------------------------------------------------------------
def put(graph: Graph, small: Small) -> list[str]:
    """Writes it into a store; the digests. What is not here is only named, or waits for undo."""
    digests: list[str] = []
    for number, node in enumerate(graph.nodes):
        store = small if node.is_here else Small(small.root / "elsewhere")
        tags = [tag for tag, one in graph.tags.items() if one == number]
        more: dict[str, Any] = {"annotations": {"number": str(number)}}
        if node.subject is not None:
            more["subject"] = {"mediaType": IMAGE, "digest": digests[node.subject], "size": 1}
        if node.children:
            children = [digests[child] for child in node.children]
            made = store.image_index(node.repository, children, *tags, **more)
        else:
            layers = tuple(b"x" * layer for layer in node.layers)
            made = store.image(node.repository, *tags, layers=layers, **more)
        digests.append(made)
    for image, number in graph.referrer_tags.items():
        small.tag(graph.nodes[number].repository, referrer_tag(digests[image]), digests[number])
    now = timezone.now()
    for number in graph.undo:
        make_tombstone(
            graph.nodes[number].repository,
            f"old{number}",
            digest=digests[number],
            keep_until=now + timedelta(days=1),
        )
    return digests
