"""Mirrors of a product: added by its command, filled by pulls, seen in the files they leave."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engines import busybox_tree
from .fake_source import CONFIG, IMAGE, digest_of
from .hosts import Proxied, kept_open, proxied
from .product import ROOT, Product
from .registries import Registry, what_is_missing
from .upstreams import Upstream
from .waiting import LONGEST, until

TAR = "application/vnd.oci.image.layer.v1.tar"
# Seconds until the first byte of what is here already. One second is the aim, which the bench
# measures; a busy machine takes longer, and a mirror that waits for its upstream ten times as long.
FIRST_BYTE = 4.0


def add(product: Product, name: str, one: Upstream, *options: str, url: str = "") -> dict[str, Any]:
    """A mirror of that upstream, with its login and authority; ready when this returns."""
    words = ["mirror", "add", name, url or one.url, "--json", *options]
    if one.ca:
        words += ["--ca", str(one.ca)]
    if one.login:
        words += ["--user", one.login[0], "--password-stdin"]
    done = command(product, *words, stdin=one.login[1] if one.login else "")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{product.tail()}"
    until(lambda: is_ready(product, name), f"the mirror {name} answers")
    one.forget()
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def command(product: Product, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """./boathouse with something to read."""
    return subprocess.run(
        [str(ROOT / "boathouse"), *words],
        env=product.environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def is_ready(product: Product, name: str) -> bool:
    """Whether its service knows it: it says of a tag that is nowhere that it is unknown there."""
    answer = proxied(product, *product.user).get(f"{name}/boathouse-test/absent", "absent")
    return answer.status in (403, 404) and "errors" in answer.json()


def ask_again(product: Product, name: str) -> None:
    """The service forgets that the upstream was away, as after a change of the mirror: its own
    probe comes once in ten seconds."""
    (product.data / "mirrors" / name / "upstream.json").touch()


def state(product: Product, name: str) -> dict[str, Any]:
    """What the service wrote about itself last."""
    found: dict[str, Any] = json.loads((product.data / "mirrors" / name / "state.json").read_text())
    return found


def push_busybox(
    registry: Registry, repository: str, *tags: str, more: Sequence[bytes] = ()
) -> str:
    """An image that runs, of busybox and these layers; its digest."""
    return registry.push_image(
        repository, *tags, layers=[busybox_tree(), *more], media_types=(IMAGE, CONFIG, TAR)
    )


@dataclass(frozen=True, slots=True)
class Pull:
    """What a client had of one pull: "" or what was broken, and when its first byte came."""

    broken: str
    first_byte: float  # seconds
    headers: Mapping[str, str]


def pull(client: Registry, repository: str, reference: str) -> Pull:
    """The manifest and all that it names, every byte as its digest says."""
    began = time.monotonic()
    answer = client.get(repository, reference)
    first = time.monotonic() - began
    if answer.status != 200:
        return Pull(f"{reference}: {answer.status} {answer.body!r}", first, answer.headers)
    if digest_of(answer.body) != answer.headers.get("docker-content-digest"):
        return Pull(f"{reference}: another digest", first, answer.headers)
    return Pull(what_is_missing(client, repository, digest_of(answer.body)), first, answer.headers)


def pulls(
    client: Proxied, repository: str, references: Sequence[str], count: int, *, at_once: int = 4
) -> list[Pull]:
    """So many pulls, of these references in turn, by some clients at the same time."""

    def work(first: int) -> list[Pull]:
        with kept_open(client) as one:
            return [
                pull(one, repository, references[number % len(references)])
                for number in range(first, count, at_once)
            ]

    with ThreadPoolExecutor(at_once) as pool:
        return [one for some in pool.map(work, range(at_once)) for one in some]


def stored(product: Product, digest: str) -> Path:
    """Where the store has that blob, if it has it."""
    algorithm, _, text = digest.partition(":")
    blobs = product.data / "registry/docker/registry/v2/blobs"
    return blobs / algorithm / text[:2] / text / "data"
