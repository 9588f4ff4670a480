"""A separate Boathouse for a benchmark: temporary data folder, free port, removed at the end."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from registryui.registry.client import RegistryClient
from tests.support.product import Product, product

LOOPBACK = "127.0.0.1"
SECONDS = 30  # for one tag to reach the index


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
