"""Random pushes, deletes, undos and garbage collections against a model of three sentences.

What a tag names, what undo keeps, and what these list, can be pulled in full. Everything else is
gone from the disk after a garbage collection. Nobody else does anything to a tag.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from registryui.deletion import restore as undo
from registryui.deletion.execute import Selection, execute, plan
from registryui.index.sync import sync
from registryui.models import Run, TagTombstone
from registryui.registry import paths
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.selection import Extent
from tests.support.fake_source import IMAGE, INDEX, descriptor, digest_of, encode
from tests.support.gc_runs import index, run_gc, use
from tests.support.parts import running_registry
from tests.support.pushing import Client, Image, image, what_is_missing
from tests.support.registries import Registry

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.django_db,
    pytest.mark.one_database,
]

BY = "operator:vera"
TAGS = ("1", "2", "latest")
NUMBERS = range(5)
PAIRS = ((0, 1), (1, 2))  # image indexes, with a child in common
SHARED = b"a layer of all images"
_examples = itertools.count()

Slot = tuple[str, str]  # repository, tag


@dataclass
class Deleted:
    """One act of deleting, or (act "") a tag that a push overwrote."""

    act: str
    tags: dict[Slot, str]  # to the digest
    is_kept: bool = True


@dataclass
class Model:
    """What should be there."""

    tags: dict[Slot, str] = field(default_factory=dict)
    deleted: list[Deleted] = field(default_factory=list)

    def kept(self) -> set[tuple[str, str]]:
        """Repository and digest of all that must be there."""
        found = {(slot[0], digest) for slot, digest in self.tags.items()}
        for one in self.deleted:
            if one.is_kept:
                found |= {(slot[0], digest) for slot, digest in one.tags.items()}
        return found


class Cleaning(RuleBasedStateMachine):
    """Each example has repositories and layers of its own."""

    registry: Registry  # set by the test

    @initialize()
    def begin(self) -> None:
        number = next(_examples)
        self.model = Model()
        self.names = [f"model{number}/one", f"model{number}/two"]
        self.client = Client(self.registry)
        own = [b"layer %d of example %d" % (each, number) for each in NUMBERS]
        self.images = [image(number * 100 + each, SHARED, own[each]) for each in NUMBERS]
        self.pairs = [
            encode(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX,
                    "manifests": [descriptor(IMAGE, self.images[each].raw) for each in pair],
                }
            )
            for pair in PAIRS
        ]

    def _index(self) -> None:
        run = sync(open_store(Storage(FILESYSTEM, {}, str(self.registry.store))), by="test")
        assert run is not None
        assert run.state == Run.State.DONE, run.log

    def _set(self, slot: Slot, digest: str) -> None:
        before = self.model.tags.get(slot)
        self._index()
        if before and before != digest:
            self.model.deleted.append(Deleted("", {slot: before}))
        self.model.tags[slot] = digest

    # -- what people do ------------------------------------------------------------------------
    @rule(name=st.integers(0, 1), tag=st.sampled_from(TAGS), number=st.sampled_from(NUMBERS))
    def push(self, name: int, tag: str, number: int) -> None:
        one = self.images[number]
        assert self.client.push(self.names[name], tag, one), self.client.answers
        self._set((self.names[name], tag), digest_of(one.raw))

    @rule(name=st.integers(0, 1), tag=st.sampled_from(TAGS), number=st.integers(0, 1))
    def push_an_image_index(self, name: int, tag: str, number: int) -> None:
        for each in PAIRS[number]:
            one = self.images[each]
            assert self.client.push(self.names[name], digest_of(one.raw), one)
        raw = self.pairs[number]
        assert self.registry.put(self.names[name], tag, raw, INDEX).status == 201
        self._set((self.names[name], tag), digest_of(raw))

    @precondition(lambda self: self.model.tags)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted({slot[0] for slot in self.model.tags})))
        here = sorted(slot[1] for slot in self.model.tags if slot[0] == name)
        tags = data.draw(st.lists(st.sampled_from(here), min_size=1, unique=True))
        selection = Selection(name, tags=tuple(tags))
        outcome = execute(selection, fingerprint=plan(selection).fingerprint, by=BY)
        assert {one.state for one in outcome.results} == {"deleted"}, outcome
        gone = {(name, tag): self.model.tags.pop((name, tag)) for tag in tags}
        self.model.deleted.append(Deleted(outcome.act, gone))

    @precondition(lambda self: self._may_return())
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self._may_return()))
        results = undo.restore_act(one.act, by=BY)
        assert {result.state for result in results} == {"restored"}, results
        self.model.tags |= one.tags
        self.model.deleted.remove(one)

    def _may_return(self) -> list[Deleted]:
        """Whole acts of which nobody pushed a tag since."""
        return [
            one
            for one in self.model.deleted
            if one.act and one.is_kept and not one.tags.keys() & self.model.tags.keys()
        ]

    @rule()
    def undo_ends(self) -> None:
        TagTombstone.objects.update(keep_until=timezone.now())
        for one in self.model.deleted:
            one.is_kept = False

    @rule()
    def run_gc(self) -> None:
        run_gc()
        run_gc()  # what the first one quarantined is deleted now
        kept = self._files()
        for one in self.images:
            for blob in (one.raw, *one.blobs[:1], one.layers[1]):
                is_there = (self.registry.store / paths.blob_data(digest_of(blob))).exists()
                assert is_there == (digest_of(blob) in kept), "too much, or too little, is gone"

    def _files(self) -> set[str]:
        """Digests of the blobs of this example that must be on the disk, and no others."""
        kept = {digest for _name, digest in self.model.kept()}
        for pair, raw in zip(PAIRS, self.pairs, strict=True):
            if digest_of(raw) in kept:
                kept |= {digest_of(self.images[each].raw) for each in pair}
        found: list[Image] = [one for one in self.images if digest_of(one.raw) in kept]
        return kept | {digest_of(blob) for one in found for blob in one.blobs}

    # -- what must hold at any time ------------------------------------------------------------
    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.check()
        self.run_gc()
        self.check()

    def check(self) -> None:
        """All that is kept can be pulled in full, and the registry has no other tag."""
        for name, digest in self.model.kept():
            assert what_is_missing(self.registry, name, digest) == ""
        for name in self.names:
            told = self.registry.tags(name)
            tags = set(told.json().get("tags") or ()) if told.status == 200 else set()
            assert tags == {slot[1] for slot in self.model.tags if slot[0] == name}


@pytest.fixture
def served(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry") as url:
        use(settings, tmp_path / "registry/store", url)
        settings.UNDO_DAYS = 7  # until undo_ends()
        made = Registry(url, tmp_path / "registry/store")
        made.push_image("model", "first")  # so that there is a store, and something in the index
        index(made)
        yield made


def test_what_the_model_keeps_can_be_pulled_and_what_it_purged_is_gone(
    served: Registry, extent: Extent
) -> None:
    machine = type("Cleaning", (Cleaning,), {"registry": served})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=extent(3, 30),
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
