"""A separate Boathouse for a benchmark: temporary data folder, free port, removed at the end."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from registryui.registry.client import RegistryClient
from tests.support.postgres import running_cluster
from tests.support.product import Product, product

from . import index_work

LOOPBACK = "127.0.0.1"
SECONDS = 30  # for one tag to reach the index
# All clients come from one address, which nginx lets ask so much only if it is told to.
REQUESTS = {"BOATHOUSE_REQUESTS_PER_SECOND": "100000"}


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short name that nginx's workers can access; removed afterwards."""
    made = Path(tempfile.mkdtemp(prefix="boathouse-bench-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def running(address: str = LOOPBACK) -> Iterator[Product]:
    """An instance that is up at this address; stopped and removed afterwards."""
    with folder() as place, product(place / "data", address) as one:
        yield one


@contextmanager
def databases(*, is_postgresql: bool) -> Iterator[None]:
    """While it lasts, index_work and `filled` have theirs in a PostgreSQL of its own, if wanted:
    its files are synced to the disk as on a real server, with Debian's own settings otherwise."""
    if not is_postgresql:
        yield
        return
    with running_cluster(is_durable=True) as cluster:
        os.environ[index_work.SERVER] = cluster.url("")
        try:
            yield
        finally:
            del os.environ[index_work.SERVER]


@contextmanager
def filled(tags: int) -> Iterator[Product]:
    """An instance that is up, with the index of a made store of so many tags. Its own store is
    empty, for which a sync drops nothing."""
    with folder() as place:
        data = place / f"bench{tags}"
        index_work.work(data, "build", f"made:{tags}")
        settings = dict(REQUESTS)
        if server := os.environ.get(index_work.SERVER):
            settings["DATABASE_URL"] = f"{server}{data.name}"
        with product(data, LOOPBACK, settings=settings) as one:
            yield one


def client(one: Product) -> RegistryClient:
    """Our own client, through the proxy as the registry user."""
    name, secret = one.user
    return RegistryClient(f"https://{one.name}", username=name, password=secret, ca=one.ca)


def wait_for(one: Product, tag: str) -> float:
    """Seconds until the index has the tag; polled every 2 ms. No tag may have its name twice."""
    start = time.perf_counter()
    with closing(sqlite3.connect(f"file:{one.data}/index.sqlite3?mode=ro", uri=True)) as index:
        while index.execute(FOUND, (tag,)).fetchone() is None:
            if time.perf_counter() - start > SECONDS:
                events = index.execute(EVENTS, (tag,)).fetchall()
                raise TimeoutError(f"{tag} is not in the index after {SECONDS} s: {events}")
            time.sleep(0.002)
    return time.perf_counter() - start


FOUND = "SELECT 1 FROM registryui_tag WHERE name = ?"
EVENTS = "SELECT at, applied_at, attempts, error FROM registryui_registryevent WHERE tag = ?"
