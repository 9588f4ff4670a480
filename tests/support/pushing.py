"""A real registry beside garbage collection: images that are pushed and pulled as clients do it."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import signal
import statistics
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
from django.db import connections

from registryui.gc import collector
from registryui.models import Run

from .fake_source import CONFIG, IMAGE, INDEX, LAYER, descriptor, digest_of, encode
from .registries import Registry, what_is_missing
from .registry_habits import habits
from .waiting import LONGEST

AT_MOST = 5 * LONGEST  # seconds of one attack
CUT_OFF = (OSError, http.client.HTTPException)  # no answer, or half of one


def untag(registry: Registry, repository: str, tag: str) -> None:
    """Takes one tag off and leaves its manifest, by the way that this registry has for it."""
    reference = tag
    if not habits().deletes_tags:
        nonce = f"{random.getrandbits(64):x}"
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [],
                "annotations": {"nonce": nonce},
            }
        )
        reference = digest_of(raw)
        assert registry.put(repository, tag, raw, INDEX).status == 201
    assert registry.delete(repository, reference).status == 202


@dataclass(frozen=True, slots=True)
class Image:
    """What a client has on its own disk."""

    raw: bytes
    config: bytes
    layers: tuple[bytes, ...]

    @property
    def blobs(self) -> tuple[bytes, ...]:
        return (self.config, *self.layers)


def image(number: int, *layers: bytes) -> Image:
    """An image of these layers; another number, another image."""
    config = encode({"os": "linux", "architecture": "amd64", "number": number})
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer) for layer in layers],
        }
    )
    return Image(raw, config, layers)


@dataclass
class Client:
    """Pushes as skopeo does: asks for each blob, mounts or uploads what is missing, and begins
    again when the manifest names a blob that the registry says it does not have."""

    registry: Registry
    counts: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)  # what was no success, by status

    def push(self, repository: str, tag: str, one: Image, *, mount_from: str = "") -> bool:
        """Whether it was pushed in the end."""
        for attempt in range(5):
            try:
                if self._push(repository, tag, one, mount_from if attempt == 0 else ""):
                    return True
            except (*CUT_OFF, KeyError) as error:
                self.answers[type(error).__name__] += 1
        return False

    def _push(self, repository: str, tag: str, one: Image, mount_from: str) -> bool:
        for data in one.blobs:
            digest = digest_of(data)
            path = f"/v2/{repository}/blobs"
            if self.registry.ask("HEAD", f"{path}/{digest}").status == 200:
                self.counts["blobs there"] += 1
                continue
            begun = None
            if mount_from:
                told = self.registry.ask(
                    "POST", f"{path}/uploads/?mount={digest}&from={mount_from}"
                )
                if told.status == 201:
                    self.counts["blobs mounted"] += 1
                    continue
                begun = told  # 202: the registry wants it uploaded, and says where
            if begun is None:
                begun = self.registry.ask("POST", f"{path}/uploads/")
            if begun.status != 202:
                return self._failed("upload", begun)
            place = begun.headers["location"].removeprefix(self.registry.url)
            done = self.registry.ask(
                "PUT",
                f"{place}&digest={digest}",
                data,
                {"Content-Type": "application/octet-stream"},
            )
            if done.status != 201:
                return self._failed("upload", done)
            self.counts["blobs uploaded"] += 1
        put = self.registry.put(repository, tag, one.raw, IMAGE)
        return put.status == 201 or self._failed("manifest", put)

    def _failed(self, what: str, answer: Any) -> bool:
        self.answers[f"{what} {answer.status}"] += 1
        return False


@dataclass
class Attack:
    """Clients that push, mount, push again, pull and delete until so many pushes succeeded.

    On a machine where that takes too long (AT_MOST) they end earlier: no proof is a matter of time.
    """

    registry: Registry
    pushes: int
    clients: int = 4
    image_count: int = 8  # the more, and the fewer tags, the more often one is unneeded
    tag_count: int = 5  # of each client
    counts: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    healed: list[float] = field(default_factory=list)  # seconds that something was broken
    lasting: list[str] = field(default_factory=list)
    kept: dict[tuple[str, str], Image] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        shared = [random.Random(number).randbytes(2000) for number in range(6)]
        self.images = [
            image(number, shared[number % 6], shared[(number * 5 + 1) % 6], b"own %d" % number)
            for number in range(self.image_count)
        ]
        self.repositories = ["attack/one", "attack/two", "attack/three"]
        self._over = time.monotonic() + AT_MOST
        self._successes = itertools.count(1)
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.clients)
        self._working: list[Future[None]] = []

    @property
    def is_over(self) -> bool:
        gone = any(one.done() for one in self._working)
        return gone or self._is_over.is_set() or time.monotonic() > self._over

    def start(self) -> None:
        self._working = [self._pool.submit(self._client, one) for one in range(self.clients)]

    def join(self) -> None:
        """Waits for them; raises what one of them raised."""
        self._pool.shutdown()
        for one in self._working:
            one.result()

    def _client(self, number: int) -> None:
        random_of = random.Random(number)
        client = Client(self.registry)
        own: dict[tuple[str, str], Image] = {}
        turn = 0
        while not self.is_over:
            turn += 1
            repository = random_of.choice(self.repositories)
            tag = f"c{number}-{turn % self.tag_count}"
            one = random_of.choice(self.images)
            mount_from = random_of.choice(["", *self.repositories])
            began = time.monotonic()
            if client.push(repository, tag, one, mount_from=mount_from):
                self.latencies.append(time.monotonic() - began)
                client.counts["pushes"] += 1
                if next(self._successes) >= self.pushes:
                    self._is_over.set()
                own[repository, tag] = one
                self._probe(repository, tag)
            else:
                client.counts["failed pushes"] += 1
                own.pop((repository, tag), None)
            if own and random_of.random() < 0.7:
                gone = random_of.choice(sorted(own))
                try:
                    untag(self.registry, *gone)
                    del own[gone]
                except (AssertionError, *CUT_OFF):  # half done: it says nothing of images
                    client.counts["failed deletes"] += 1
                    own.pop(gone, None)
        with self._lock:
            self.counts += client.counts
            self.answers += client.answers
            self.kept |= own

    def _probe(self, repository: str, tag: str) -> None:
        """Pulls what was just pushed; if that fails, again until it works."""
        began = time.monotonic()
        what = self._pull(repository, tag)
        if not what:
            return
        while what and time.monotonic() - began < LONGEST:
            time.sleep(0.01)
            what = self._pull(repository, tag)
        with self._lock:
            if what:
                self.lasting.append(f"{repository}:{tag}: {what}")
            else:
                self.healed.append(time.monotonic() - began)

    def _pull(self, repository: str, tag: str) -> str:
        try:
            return what_is_missing(self.registry, repository, tag)
        except CUT_OFF as error:
            return repr(error)


def attack(
    registry: Registry,
    pushes: int,
    work: Callable[[], None],
    *,
    process: psutil.Process | None = None,
    **more: int,
) -> Attack:
    """Clients at work for so many pushes, `work` again and again beside them. `process`: the
    registry's, if it is no child of ours. `more`: of Attack."""
    found = Attack(registry, pushes, **more)
    with freezing(process or _child(registry)):
        found.start()
        while not found.is_over:
            work()
    found.join()
    return found


def _child(registry: Registry) -> psutil.Process:
    config = str(registry.store.parent / "registry.yml")
    return next(one for one in psutil.Process().children() if config in one.cmdline())


@contextmanager
def freezing(process: psutil.Process) -> Iterator[None]:
    """Stops the registry's process at random moments, and lets it go on."""
    is_over = threading.Event()
    random_of = random.Random(7)

    def freeze() -> None:
        while not is_over.wait(random_of.uniform(0.02, 0.3)):
            process.send_signal(signal.SIGSTOP)
            is_over.wait(random_of.uniform(0.01, 0.25))
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        process.send_signal(signal.SIGCONT)


def print_counts(what: str, found: Attack) -> None:
    healed = sorted(found.healed)
    middle = statistics.median(healed) if healed else 0.0
    latency = (
        statistics.quantiles(found.latencies, n=20) if len(found.latencies) > 1 else [0.0] * 19
    )
    print(
        f"\n{what}: {dict(found.counts)}; not a success at first: {dict(found.answers)}; "
        f"transients {len(healed)}, median {middle:.2f} s, longest {max(healed, default=0):.2f} s; "
        f"push median {latency[9]:.3f} s, p95 {latency[18]:.3f} s; lasting {found.lasting}"
    )


# -- for the programs that kill a run of gc ---------------------------------------------------
def in_child(work: Callable[[], int]) -> int:
    """What `work` returns in a process of its own; minus the signal that ended it."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            os._exit(work())
        except BaseException:
            traceback.print_exc()
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_once() -> int:
    """1: the run did not come to its end; its result is printed."""
    run = collector.run_gc(by="test")
    if run is None or run.state != Run.State.DONE:
        print(run and run.result)
        return 1
    return 0
