"""Memory of each part after it has worked: pushes, a sync, and every list page some times."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from tests.support.portal import Visitor
from tests.support.product import Product

from . import images, instance
from .measure import Row

PUSHES = 20
ROUNDS = 5
PAGES = ("/", "/repositories/", "/repositories/bench/app", "/repositories/bench/app:v0")


def measure() -> Iterator[Row]:
    """Proportional share (PSS): what is shared among processes is counted once."""
    with instance.running() as one:
        _work(one)
        for name, pid in one.pids().items():
            first = psutil.Process(pid)
            family = [first, *first.children(recursive=True)]
            share = sum(process.memory_full_info().pss for process in family) / 2**20
            note = f"{len(family)} processes, proportional share (PSS)"
            yield Row(f"memory of {name}", f"{share:.0f} MiB", note, {"mib": share})


def _work(one: Product) -> None:
    with instance.client(one) as client:
        for number in range(PUSHES):
            images.push(client, number, repository="bench/app", tags=(f"v{number}",))
    instance.wait_for(one, f"v{PUSHES - 1}")
    one.boathouse("sync")
    visitor = Visitor(one)
    visitor.login()
    for path in PAGES * ROUNDS:
        page = visitor.get(path)
        if page.status != 200:
            raise RuntimeError(f"{path} answered {page.status}")
