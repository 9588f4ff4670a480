"""Mirrors: ten cold clients and a warm one against direct pulls, memory, an upstream that hangs.

The upstream is a registry on this machine: its clients, the mirror's and the upstream itself share
the processor, where in reality a line to the internet is the limit. So the ratios are the worst.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from registryui import proxy
from tests.support import mirrors, upstreams
from tests.support.engines import DOCKER, DOCKERD, engine
from tests.support.fake_source import digest_of
from tests.support.hosts import proxied
from tests.support.machines import Machine
from tests.support.parts import free_port, running_registry
from tests.support.product import IMAGES, Product, product
from tests.support.registries import Registry
from tests.support.upstreams import Upstream, upstream

from . import docker_image
from .instance import LOOPBACK, REQUESTS, folder
from .measure import Row, p, timed

CLIENTS, LAYERS, LAYER_BYTES = 10, 5, 12_000_000
ROUNDS = 5
SMALL_REQUESTS = 200
AT_ONCE = 3  # layers that Docker pulls at the same time
MEGABYTE = 10**6


def measure() -> Iterator[Row]:
    """Needs curl, and for its last rows root and Docker; ./boathouse test installs them."""
    with (
        folder() as place,
        upstream(place / "upstream", is_tls=True) as one,
        product(place / "data", LOOPBACK, settings=REQUESTS) as here,
    ):
        mirrors.add(here, "hub", one, "--fresh-minutes=10")
        yield _memory(here, "after its start")
        yield from _by_curl(place, here, one)
        yield _memory(here, "after these pulls")
        yield from _by_docker(place, here, one)
        yield from _first_byte(here, one)


def _memory(here: Product, when: str) -> Row:
    first = psutil.Process(here.pids()["mirror"])
    family = [first, *first.children(recursive=True)]
    share = sum(one.memory_full_info().pss for one in family) / MEGABYTE
    note = "proportional share (PSS); aim: 30 MB" if "start" in when else "PSS"
    return Row(f"memory of an idle mirror service, {when}", f"{share:.0f} MB", note, {"mb": share})


# -- ten clients, by curl --------------------------------------------------------------------------
def _by_curl(place: Path, here: Product, one: Upstream) -> Iterator[Row]:
    """Cold: each round has an image that nobody has. The direct one is the upstream's own registry
    with TLS, without the front that counts for the tests."""
    port = free_port()
    certificate = place / "upstream" / "tls" / "server.crt"
    settings = {
        "http": {
            "addr": f"{LOOPBACK}:{port}",
            "secret": "bench",
            "tls": {
                "certificate": str(certificate),
                "key": str(certificate.with_suffix(".key")),
            },
        },
        "storage": {"filesystem": {"rootdirectory": str(one.store)}},
    }
    with running_registry(place / "direct", port=port, settings=settings):
        mirrors.command(here, "mirror", "change", "hub", f"--url=https://{LOOPBACK}:{port}")
        straight = _Way(f"https://{LOOPBACK}:{port}/v2/team/app", str(one.ca), ())
        name, secret = here.user
        login = (f"Authorization: {proxy.basic(name, secret)['Authorization']}",)
        front = f"https://{here.name}/v2"
        through = _Way(f"{front}/hub/team/app", str(here.ca), login)
        cold: dict[str, list[float]] = {"through": [], "direct": []}
        warm: dict[str, list[float]] = {"through": [], "ordinary": []}
        own = Registry(here.registry_url, here.data)
        ordinary = _Way(f"{front}/team/app", str(here.ca), login)
        for number in range(ROUNDS):
            tag = f"r{number}"
            layers = [os.urandom(LAYER_BYTES) for _layer in range(LAYERS)]
            for registry in (one.registry, own):
                registry.push_image("team/app", tag, layers=layers)
            digests = [digest_of(layer) for layer in layers]
            ways = [("through", through), ("direct", straight)]
            for what, way in ways if number % 2 else reversed(ways):
                cold[what].append(_crowd(way, tag, digests))
            pair = [("through", through), ("ordinary", ordinary)]
            for what, way in pair if number % 2 else reversed(pair):
                warm[what].append(_crowd(way, tag, digests, clients=1))
        note = f"{LAYERS} layers of {LAYER_BYTES // MEGABYTE} MB, TLS"
        yield _ratio(
            f"{CLIENTS} cold clients through the mirror against directly: speed",
            cold["direct"],
            cold["through"],
            f"{note}; aim: 0.8×",
        )
        yield _ratio(
            "warm pull through the mirror against an ordinary repository here: time",
            warm["through"],
            warm["ordinary"],
            f"{note}; aim: 1.1×",
        )
        seconds, plain = _small(through), _small(ordinary)
        yield _ratio(
            f"{SMALL_REQUESTS} manifests by tag through the mirror against an ordinary repository: "
            "time",
            seconds,
            plain,
            f"one connection; {seconds[0] / SMALL_REQUESTS * 1000:.1f} ms each",
        )
    mirrors.command(here, "mirror", "change", "hub", f"--url={one.url}")


class _Way:
    """An address of a repository, and how curl is let in."""

    def __init__(self, url: str, ca: str, headers: Sequence[str]) -> None:
        self.url = url
        self._options = ["--cacert", ca, "--silent", "--show-error", "--fail"]
        for header in (*headers, f"Accept: {IMAGES}"):
            self._options += ["--header", header]

    def get(self, *paths: str, at_once: int = 1) -> None:
        """All of them over one connection, or some connections."""
        parallel = ["--parallel", "--parallel-max", str(at_once)] if at_once > 1 else []
        wanted = [word for path in paths for word in ("-o", "/dev/null", f"{self.url}/{path}")]
        subprocess.run(  # noqa: S603  (our own command)
            ["/usr/bin/curl", *self._options, *parallel, *wanted], check=True
        )


def _crowd(way: _Way, tag: str, digests: Sequence[str], *, clients: int = CLIENTS) -> float:
    """Seconds until the last of them has the image."""

    def pull(_number: int) -> None:
        way.get(f"manifests/{tag}")
        way.get(*(f"blobs/{digest}" for digest in digests), at_once=AT_ONCE)

    with ThreadPoolExecutor(clients) as pool:
        return timed(lambda: list(pool.map(pull, range(clients))))


def _small(way: _Way) -> list[float]:
    return [timed(lambda: way.get(*["manifests/r0"] * SMALL_REQUESTS)) for _round in range(3)]


def _ratio(what: str, above: Sequence[float], below: Sequence[float], note: str) -> Row:
    """The median of the rounds' ratios; seconds."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    ratio = statistics.median(ratios)
    rounds = ", ".join(f"{one:.2f}" for one in ratios)
    medians = f"{statistics.median(above):.2f} s to {statistics.median(below):.2f} s"
    return Row(what, f"{ratio:.2f}×", f"{medians}; {note}; rounds {rounds}", {"ratio": ratio})


# -- one client, by Docker -------------------------------------------------------------------------
def _by_docker(place: Path, here: Product, one: Upstream) -> Iterator[Row]:
    """An image of 20 layers by the real engine, which unpacks them; directly from the upstream's
    registry on loopback, which it takes without TLS."""
    absent = [program for program in (DOCKER, DOCKERD) if not Path(program).exists()]
    if absent or os.geteuid() != 0:
        yield Row("docker pull through a mirror", "not measured", "needs root and docker.io")
        return
    direct = one.registry.url.removeprefix("http://")
    pulls: dict[str, list[float]] = {"cold": [], "warm": [], "direct": []}
    (place / "docker" / "home").mkdir(parents=True)
    with engine(Machine(place / "docker", os.getpid())) as docker:
        docker.login(here.name, *here.user)
        for number in range(ROUNDS):
            image = {
                "direct": f"{direct}/moved/docker:{number}",
                "cold": f"{here.name}/hub/moved/docker:{number}",
            }
            docker_image.load(docker, image["direct"])
            docker.docker("push", image["direct"])
            docker.docker("rmi", image["direct"])
            for way in ("cold", "direct", "warm") if number % 2 else ("direct", "cold", "warm"):
                wanted = image["direct" if way == "direct" else "cold"]
                pulls[way].append(timed(lambda x=wanted: docker.docker("pull", x)))
                docker.docker("rmi", wanted)
    note = f"{len(docker_image.KILOBYTES)} layers, {docker_image.megabytes()} MB"
    yield _ratio(
        "docker pull through a warm mirror against the upstream on loopback: time",
        pulls["warm"],
        pulls["direct"],
        f"{note}; aim: 1.1×",
    )
    yield _ratio("the same through a cold mirror", pulls["cold"], pulls["direct"], note)


# -- an upstream that hangs ------------------------------------------------------------------------
def _first_byte(here: Product, one: Upstream) -> Iterator[Row]:
    """Each tag is asked for when it is due to be checked."""
    client = proxied(here, *here.user)
    tags = [f"hang{number}" for number in range(10)]
    mirrors.command(here, "mirror", "change", "hub", "--fresh-minutes=0")
    for tag in tags:
        one.registry.push_image("team/hangs", tag, layers=[os.urandom(1000)])
        if broken := mirrors.pull(client, "hub/team/hangs", tag).broken:
            raise RuntimeError(broken)
    one.fail(upstreams.HANGING)
    seconds = []
    for tag in tags * 3:
        began = time.perf_counter()
        answer = client.get("hub/team/hangs", tag)
        seconds.append(time.perf_counter() - began)
        if answer.status != 200 or "warning" not in answer.headers:
            raise RuntimeError(str(answer))
    one.fail(None)
    first, median = seconds[0] * 1000, p(seconds, 50) * 1000
    yield Row(
        "a cached tag while the upstream hangs: first request / median / longest",
        f"{first:.0f} / {median:.0f} / {max(seconds) * 1000:.0f} ms",
        "aim: 1 s",
        {"first_ms": first, "p50_ms": median, "longest_ms": max(seconds) * 1000},
    )
