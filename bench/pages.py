"""Five pages and an open page's poll, with 1, 8 and 50 clients, against `/healthz` beside them.

Through nginx and gunicorn as `up` starts them, at 1,000 and at 100,000 tags, which take no more
than four minutes on two cores; `--tags N` measures one size only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from . import clients, index_work, instance
from .measure import Row, p

SIZES = (1_000, 100_000)
CLIENTS = (1, 8, 50)
SECONDS = 1.2  # of each turn, at least
TAGS = 20  # on the page of the repository
PAGES = {
    "overview": "/",
    "repositories": "/repositories/",
    "repository": "/repositories/{repository}",
    "tag": "/repositories/{repository}:{tag}",
    "search": "/search?q=api-1",
}
POLLED = "repository"


def measure(tags: int = 0, *, is_postgresql: bool = False) -> Iterator[Row]:
    """At so many tags; 0: at those of SIZES."""
    with instance.databases(is_postgresql=is_postgresql):
        for size in (tags,) if tags else SIZES:
            with instance.filled(size) as one:
                known = index_work.work(one.data, "queries", str(TAGS), json.dumps(PAGES), POLLED)
                found = clients.asked(one, known["paths"], POLLED, CLIENTS, SECONDS)
            where = f"{size:,} tags" + (" in PostgreSQL" if is_postgresql else "")
            for number, pages in found.items():
                for name, page in pages.items():
                    yield _row(name, page, number, where, known)


def _row(name: str, page: dict[str, Any], number: str, where: str, known: dict[str, Any]) -> Row:
    what = f"{_what(name, known)}, {number} client{'s' if number != '1' else ''}, {where}"
    rate = page["answers"] / page["seconds"]
    p50, p95 = (p(page["times"], percent) * 1000 for percent in (50, 95))
    cpu = page["cpu"] / page["answers"] * 1000
    numbers = {"per_s": rate, "p50_ms": p50, "p95_ms": p95, "cpu_ms": cpu}
    speed = f"{rate:.0f}/s, {p50:.0f} / {p95:.0f} ms"
    if name == "healthz":
        own = page["client_cpu"] / page["answers"] * 1000
        note = f"{cpu:.1f} ms of the web processes a request; of the clients {own:.2f} ms"
        return Row(what, speed, note, {**numbers, "client_cpu_ms": own})
    share, queries = rate / page["beside_per_s"] * 100, known["queries"][name]
    full, sent = page["bytes"] / 1000, page["sent_bytes"] / 1000
    return Row(
        what,
        f"{share:.1f} % of `/healthz`, {speed}",
        f"aim: {_aim(name, number)}; {full:.1f} kB, {sent:.1f} sent; {queries} queries,"
        f" {cpu:.1f} ms of the web processes",
        numbers
        | {"share_percent": share, "healthz_per_s": page["beside_per_s"]}
        | {"kb": full, "sent_kb": sent, "queries": queries},
    )


def _what(name: str, known: dict[str, Any]) -> str:
    if name == "poll":
        return f"poll of an open {POLLED}"
    return f"{name} ({known['tags']} tags)" if name == POLLED else name


def _aim(name: str, number: str) -> str:
    if name == "poll":
        return "≥ 60 %"
    aims = ["≥ 25 %"]
    if number == str(CLIENTS[-1]):
        aims.append("p95 ≤ 200 ms")
    if name == POLLED:
        aims.append("≤ 40 kB")
    return ", ".join(aims)
