"""Imports of another registry against skopeo: one large image, a thousand small ones.

Both registries and both programs share this machine's processor.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.parts import running_registry
from tests.support.product import ROOT, Product, product
from tests.support.registries import Registry

from .instance import LOOPBACK, REQUESTS, folder
from .measure import Row, timed

ROUNDS = 3
LAYERS, LAYER_BYTES = 5, int(os.environ.get("BENCH_LAYER_BYTES", 200_000_000))
SMALL = int(os.environ.get("BENCH_SMALL_IMAGES", 1000))
SMALL_BYTES = 2000


def measure() -> Iterator[Row]:
    """Needs skopeo; ./boathouse test installs it."""
    with (
        folder() as place,
        running_registry(place / "source") as url,
        product(place / "data", LOOPBACK, settings=REQUESTS) as here,
    ):
        source = Registry(url, place / "source" / "store")
        login = _login(place, here)
        yield _large(source, here, login)
        yield _small(source, here, login)


def _large(source: Registry, here: Product, login: Path) -> Row:
    """The same image by both in turns, into a repository that has nothing of it."""
    ours, theirs, alone = [], [], []
    for number in range(ROUNDS):
        layers = [os.urandom(LAYER_BYTES) for _layer in range(LAYERS)]
        source.push_image(f"large/r{number}", "1", layers=layers)
        for turn in (0, 1):
            if turn == number % 2:
                began = time.perf_counter()
                alone.append(_import(here, source, f"large/r{number}"))
                ours.append(time.perf_counter() - began)
            else:
                theirs.append(timed(lambda n=number: _copy(source, here, login, f"large/r{n}")))
            _empty(here)
    size = LAYERS * LAYER_BYTES / 1e6
    return _ratio(
        f"import of one image of {size:.0f} MB against skopeo copy: speed",
        ours,
        theirs,
        f"{_alone(alone)}; {LAYERS} layers, random bytes; aim: 0.8×",
    )


def _small(source: Registry, here: Product, login: Path) -> Row:
    base = os.urandom(SMALL_BYTES)
    for number in range(SMALL):
        source.push_image("small/app", str(number), layers=[base, os.urandom(SMALL_BYTES)])
    began = time.perf_counter()
    alone = [_import(here, source, "small/app")]
    ours = time.perf_counter() - began
    _empty(here)
    theirs = timed(lambda: _sync(source, here, login, "small/app"))
    return _ratio(
        f"import of {SMALL} small images against skopeo sync: speed",
        [ours],
        [theirs],
        f"{_alone(alone)}; {2 * SMALL_BYTES} bytes each, one layer shared; aim: 3×",
    )


def _alone(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s without the start of the command"


def _import(here: Product, source: Registry, repository: str) -> float:
    """Seconds of the run itself."""
    words = ("import", "registry", source.url, repository, "--to", "ours", "--json")
    found = json.loads(_run(str(ROOT / "boathouse"), *words, environment=here.environment))
    if found["taken"] != found["found"]:
        raise RuntimeError(str(found)[:2000])
    return float(found["seconds"])


def _copy(source: Registry, here: Product, login: Path, repository: str) -> None:
    there = source.url.removeprefix("http://")
    _skopeo(
        login,
        *("copy", "--src-tls-verify=false", "--preserve-digests"),
        *(f"docker://{there}/{repository}:1", f"docker://{here.name}/theirs/{repository}:1"),
    )


def _sync(source: Registry, here: Product, login: Path, repository: str) -> None:
    there = source.url.removeprefix("http://")
    _skopeo(
        login,
        *("sync", "--src-tls-verify=false", "--src=docker", "--dest=docker"),
        *(f"{there}/{repository}", f"{here.name}/theirs"),
    )


def _skopeo(login: Path, act: str, *words: str) -> None:
    options = ("--dest-cert-dir", str(login.parent / "certificates"), "--dest-authfile", str(login))
    _run("skopeo", "--insecure-policy", act, *options, *words)


def _login(place: Path, here: Product) -> Path:
    """What skopeo is let in by."""
    certificates = place / "certificates"
    certificates.mkdir()
    shutil.copyfile(here.data / "tls" / "ca.crt", certificates / "ca.crt")
    file, (name, secret) = place / "auth.json", here.user
    options = ("--authfile", str(file), "--cert-dir", str(certificates))
    _run(*("skopeo", "login", here.name, *options, "-u", name, "--password-stdin"), stdin=secret)
    return file


def _run(*words: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603  (our own commands)
        words, input=stdin, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[:3]}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def _empty(here: Product) -> None:
    """Whoever comes second sends all of it again: the store has no cache."""
    for part in ("blobs", "repositories"):
        shutil.rmtree(here.data / "registry/docker/registry/v2" / part)


def _ratio(what: str, ours: list[float], theirs: list[float], note: str) -> Row:
    """Speed: theirs by ours."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    note = f"{mine:.1f} s against {other:.1f} s; {note}"
    return Row(what, f"{other / mine:.2f}×", note, {"ratio": other / mine, "ours_s": mine})
