"""Clients pull through a mirror while its tags are evicted and garbage is collected: no pull gets
wrong or missing bytes, and what is listed is complete.

The mirror service is played here: it writes as registryui/mirror_service/content.py does, beside a
real registry whose events the index applies.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from registryui.index import sizes
from registryui.mirrors import keeping
from registryui.models import Tag
from registryui.registry import paths
from tests.selection import Extent
from tests.support.fake_source import digest_of
from tests.support.mirrored import Here, mirror
from tests.support.pushing import AT_MOST, what_is_missing
from tests.support.stores import run_gc
from tests.support.waiting import LONGEST
from tests.support.worlds import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

CLIENTS = 4
REPOSITORIES = ("hub/library/one", "hub/library/two", "hub/three")
TAGS = ("1", "2", "latest")


@dataclass
class Pulls:
    """Clients that pull random tags, some by digest, until so many pulls are done."""

    here: World
    store: Here
    count: int
    images: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # pulls that failed
    lasting: list[str] = field(default_factory=list)  # what stayed incomplete
    healed: list[float] = field(default_factory=list)  # seconds that something was incomplete
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        random_of = random.Random(3)
        layers = [random_of.randbytes(3000) for _ in range(6)]
        for number in range(10):
            own = b"own %d" % number * 200
            some = (layers[number % 6], layers[(number * 5 + 1) % 6], own)
            self.images.append(self.store.upstream.image(*some, number=number))
        self.indexes = [
            self.store.upstream.image_index(*self.images[at : at + 2]) for at in range(0, 10, 2)
        ]
        self.over_at = time.monotonic() + AT_MOST

    @property
    def is_over(self) -> bool:
        return self._is_over.is_set() or time.monotonic() > self.over_at

    def client(self, number: int) -> None:
        random_of = random.Random(number)
        while not self.is_over:
            repository, tag = random_of.choice(REPOSITORIES), random_of.choice(TAGS)
            # Tags move at the upstream now and then.
            choice = random_of.choice([*self.images, *self.indexes])
            by_digest = random_of.random() < 0.3
            what = self._pull(repository, choice if by_digest else tag, choice)
            with self._lock:
                self.counts["pulls"] += 1
                if what:
                    self.wrong.append(f"{repository} {tag}: {what}")
                if self.counts["pulls"] >= self.count:
                    self._is_over.set()
            if not by_digest:
                self._probe(repository, tag)

    def _pull(self, repository: str, reference: str, digest: str) -> str:
        """As a client through nginx does; "" if all bytes came."""
        tag = "" if ":" in reference else reference
        answer = self.here.real.get(repository, reference)
        if answer.status != 200 or (tag and random.random() < 0.2):
            with self._lock:
                self.counts["manifests fetched"] += 1
            if not self._has(paths.revision_link(repository, digest), digest):
                self.store.manifest(repository, digest)
            if tag:
                self.store.manifest(repository, digest, tag)
            answer = self.here.real.get(repository, reference)
            if answer.status != 200:  # evicted in this moment: the service has the bytes
                return self._parts(repository, self.store.upstream.content[digest])
        return self._parts(repository, answer.body)

    def _parts(self, repository: str, raw: bytes) -> str:
        if digest_of(raw) not in self.store.upstream.content:
            return "other bytes"
        digest = digest_of(raw)
        if digest in self.indexes:
            child = self.images[2 * self.indexes.index(digest)]
            return self._pull(repository, child, child)
        for blob in self.store.blobs_of(digest):
            got = self.here.real.ask("GET", f"/v2/{repository}/blobs/{blob}")
            if got.status == 200 and digest_of(got.body) != blob:
                return f"blob {blob}: other bytes"
            if got.status not in (200, 404):
                return f"blob {blob}: {got.status}"
            if not self._has(paths.layer_link(repository, blob), blob):
                with self._lock:
                    self.counts["blobs fetched"] += 1
                self.store.blob(repository, blob)
        return ""

    def _has(self, link: str, digest: str) -> bool:
        root = self.store.root
        return (root / link).exists() and (root / paths.blob_data(digest)).exists()

    def _probe(self, repository: str, tag: str) -> None:
        """Whether all that was pulled of a tag is there now; if not, again until it is."""
        what = self.incomplete(repository, tag)
        if not what:
            return
        began = time.monotonic()
        while what and time.monotonic() - began < LONGEST:
            time.sleep(0.01)
            what = self.incomplete(repository, tag)
        with self._lock:
            if what:
                self.lasting.append(f"{repository}:{tag}: {what}")
            else:
                self.healed.append(time.monotonic() - began)

    def incomplete(self, repository: str, tag: str) -> str:
        """What the registry alone cannot serve of what is listed; "" also if the tag is not."""
        link = self.store.root / paths.tag_link(repository, tag)
        try:
            digest = link.read_text()
        except FileNotFoundError:
            return ""
        if digest in self.indexes:
            if self.here.real.get(repository, digest).status != 200:
                return f"manifest {digest}" if link.exists() else ""
            digest = self.images[2 * self.indexes.index(digest)]
        what = what_is_missing(self.here.real, repository, digest)
        return what if link.exists() else ""


def test_nothing_that_is_listed_breaks(
    here: World, settings: Any, monkeypatch: pytest.MonkeyPatch, extent: Extent
) -> None:
    settings.STORAGE, settings.STORE_DIR, settings.SOURCE = (
        "filesystem",
        here.real.store,
        "auto",
    )
    settings.GC_GRACE = timedelta(seconds=0.2)
    settings.QUARANTINE_TIME = timedelta(seconds=1)
    settings.UNDO_DAYS = 0
    monkeypatch.setattr(keeping, "RECENT", timedelta(0))
    mirror(keep_bytes=25_000)
    pulls = Pulls(here, Here(here.real.store), extent(60, 6000))
    content = pulls.store.upstream.content
    shared = pulls.store.blobs_of(pulls.images[0])
    pushed = here.real.push_image("team/app", "1", layers=[content[one] for one in shared[1:]])
    totals: Counter[str] = Counter()

    def work() -> None:
        here.hear()
        sizes.measure(by="test")
        totals["evictions"] += len(keeping.evict_all())
        result = run_gc().result
        for name in ("quarantined", "quarantined_manifests", "restored", "purged"):
            totals[name] += result[name]
        totals["runs"] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(pulls.client, number) for number in range(CLIENTS)]
        while not pulls.is_over:
            work()
        for one in clients:
            one.result()
    work()
    work()
    print(f"\n{dict(pulls.counts)} {dict(totals)} transients {sorted(pulls.healed)}")
    assert pulls.wrong == pulls.lasting == []
    here.sync()
    listed = set(
        Tag.objects.filter(repository__name__in=REPOSITORIES).values_list(
            "repository__name", "name"
        )
    )
    broken = {key: pulls.incomplete(*key) for key in listed}
    assert {key: what for key, what in broken.items() if what} == {}
    assert what_is_missing(here.real, "team/app", "1") == ""
    assert here.digest("1", "team/app") == pushed
    assert totals["evictions"] > 0
    assert totals["quarantined"] > 0
    assert totals["purged"] > 0
    assert listed
