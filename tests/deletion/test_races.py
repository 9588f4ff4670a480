"""Deleting while somebody pushes, on a real registry: nothing that is kept breaks, and no push is
lost without a trace."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from registryui.deletion import restore
from registryui.deletion.execute import Changed, purge_manifest
from registryui.models import Manifest, TagTombstone
from tests.selection import Extent
from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor, digest_of, encode
from tests.support.registries import Registry
from tests.support.waiting import LONGEST, until
from tests.support.worlds import BY, R, World, assert_complete

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


@dataclass
class Actor:
    """Pushes one tag again and again, each time another image on the same base, and keeps every
    tenth under a tag of its own."""

    real: Registry
    tag: str
    pushed: list[str] = field(default_factory=list)  # digests, each answered with 201
    kept: list[str] = field(default_factory=list)  # tags
    refused: int = 0
    pause: float = 0  # seconds at most, between two pushes

    def push(self) -> None:
        number = len(self.pushed) + self.refused
        config = encode({"os": "linux"})
        for blob in (b"base", b"of all", config):
            send(self.real, blob)
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "config": descriptor(CONFIG, config),
                "layers": [descriptor(LAYER, b"base"), descriptor(LAYER, b"of all")],
                "annotations": {"number": f"{self.tag} {number}"},
            }
        )
        if self.real.put(R, self.tag, raw, IMAGE).status == 201:
            self.pushed.append(digest_of(raw))
        else:
            self.refused += 1
        if number % 10 == 0 and self.real.put(R, f"kept-{number}", raw, IMAGE).status == 201:
            self.kept.append(f"kept-{number}")


def send(real: Registry, blob: bytes) -> None:
    """Uploads what is not there, as clients do: 2.8 writes a link anew at each upload, and whoever
    reads it in that moment gets a 400."""
    if real.ask("HEAD", f"/v2/{R}/blobs/{digest_of(blob)}").status != 200:
        real.push_blob(R, blob)


@contextmanager
def pushing(here: World, tag: str, *, pause: float = 0) -> Iterator[Actor]:
    """Somebody who pushes in a loop, until the end, with pauses up to so many seconds."""
    pusher, stop = Actor(here.real, tag, pause=pause), threading.Event()

    def loop() -> None:
        pauses = random.Random(6)
        while not stop.wait(pauses.random() * pusher.pause):
            pusher.push()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield pusher
    finally:
        stop.set()
        thread.join(timeout=LONGEST)


def test_a_tag_that_is_pushed_all_the_time_loses_no_push(here: World, extent: Extent) -> None:
    wanted = extent(8, 100)
    least = wanted // 10  # deletes of these that must have met the tag as it was
    pusher = Actor(here.real, "1")
    pusher.push()
    here.hear_all()
    states: dict[str, int] = {}
    reasons: set[str] = set()
    with pushing(here, "1", pause=0.1) as other:
        other.pushed = pusher.pushed
        # On a busy machine most deletes find the tag moved: on, with longer pauses, until some did
        # not.
        while (rounds := sum(states.values())) < wanted or (
            states.get("deleted", 0) <= least and rounds < 10 * wanted
        ):
            here.hear()
            if "1" not in here.known():
                continue
            if rounds > wanted:
                other.pause = min(5, other.pause * 1.2)
            try:
                outcome = here.delete("1")
            except Changed:
                states["changed"] = states.get("changed", 0) + 1
                continue
            for one in outcome.results:
                states[one.state] = states.get(one.state, 0) + 1
                reasons.add(one.reason)
    here.hear_all()
    print(f"{len(other.pushed)} pushes, {other.refused} refused, {states}")
    assert states.get("deleted", 0) > least
    assert states.get("failed", 0) == 0, reasons
    assert here.known().get("1", "") == here.digest("1")
    noted = set(TagTombstone.objects.filter(tag="1").values_list("digest", flat=True))
    lost = [one for one in other.pushed if one not in noted and one != here.digest("1")]
    assert lost == []
    for tag in here.tags():
        assert_complete(here.real, R, tag)
    assert set(other.kept) <= here.tags()
    last = restore.restorable().filter(tag="1").first()
    assert last is not None
    restore.restore(last, by=BY, expected=here.digest("1"))
    assert_complete(here.real, R, "1")


def test_pushes_of_images_that_share_layers_are_not_broken(here: World, extent: Extent) -> None:
    """Of what goes, and of what is purged, which takes blobs from the repository."""
    wanted, kept = extent((8, 0), (100, 2))
    rounds = 0
    with pushing(here, "other") as other:
        while rounds < wanted or len(other.kept) <= kept:
            config, own = encode({"os": "linux"}), b"mine %d" % rounds
            for blob in (b"base", own, config):
                send(here.real, blob)
            raw = encode(
                {
                    "schemaVersion": 2,
                    "mediaType": IMAGE,
                    "config": descriptor(CONFIG, config),
                    "layers": [descriptor(LAYER, b"base"), descriptor(LAYER, own)],
                }
            )
            if here.real.put(R, "mine", raw, IMAGE).status != 201:
                continue
            rounds += 1
            here.hear()
            if rounds % 5 == 0:
                heard = Manifest.objects.filter(repository__name=R, digest=digest_of(raw))
                until(lambda: (here.hear(), heard.exists())[1], "the push was heard of")  # noqa: B023
                purge_manifest(R, digest_of(raw), by=BY)
                assert here.real.ask("HEAD", f"/v2/{R}/blobs/{digest_of(own)}").status == 404
            elif "mine" in here.known():
                here.delete("mine")
    here.hear_all()
    for tag in here.tags():
        assert_complete(here.real, R, tag)
    assert set(other.kept) <= here.tags()
    assert here.known() == {tag: here.digest(tag) for tag in here.tags()}
