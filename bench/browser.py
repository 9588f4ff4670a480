"""A repository of 10,000 tags in a real Chromium, against the same bytes as a static file."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator

from tests.support.browser import Visit, chromium, visit
from tests.support.product import Product, product

from . import index_work
from .instance import LOOPBACK, folder
from .measure import Row, p

TAGS = 10_000
ROUNDS = 15  # of both in turn: a busy moment hits both
STATIC = "bench.html"
# Milliseconds from the click until nothing more comes: all loaded, typefaces too, and painted.
LOADED = """async () => {
    while (!performance.getEntriesByType("navigation")[0].loadEventEnd)
        await new Promise(done => setTimeout(done, 5));
    await document.fonts.ready;
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const of = type => performance.getEntriesByType(type);
    return Math.max(of("navigation")[0].loadEventEnd,
        ...of("resource").map(one => one.responseEnd), ...of("paint").map(one => one.startTime));
}"""


def measure() -> Iterator[Row]:
    """Through nginx, TLS and the web processes; styles and fonts are in the browser's cache."""
    with folder() as place, product(place / "data", LOOPBACK) as one:
        one.down()
        index_work.work(one.data, "build", f"one:{TAGS}")
        saved = index_work.work(one.data, "save", str(one.data / "static" / STATIC))
        one.up()
        _serve_page(one)
        (place / "browser").mkdir()
        with chromium(place / "browser", one) as browser, visit(browser, one) as tab:
            tab.login()
            ours, plain = _in_turn(tab, saved["path"], f"/static/{STATIC}")
    ratio = statistics.median(own / base for own, base in zip(ours, plain, strict=True))
    yield Row(
        f"a repository of {TAGS} tags in Chromium, until loaded",
        f"{p(ours, 50):.0f} / {p(ours, 95):.0f} ms, {ratio:.2f}× of the same"
        f" {saved['bytes'] / 1000:.0f} kB as a static file",
        f"aim: < 400 ms and ≤ 1.5×; the static file {p(plain, 50):.0f} / {p(plain, 95):.0f} ms",
        {"p50_ms": p(ours, 50), "p95_ms": p(ours, 95), "ratio": ratio},
    )


def _serve_page(one: Product) -> None:
    """By nginx, which gives only styles, scripts, pictures and fonts as static files otherwise."""
    path = one.data / "config" / "nginx.conf"
    plain = f'root "{one.data}"; add_header Cache-Control "max-age=60, public";'
    text, where = path.read_text(), "location /static/ {"
    path.write_text(text.replace(where, f"location = /static/{STATIC} {{ {plain} }}\n{where}"))
    os.kill(one.pids()["nginx"], signal.SIGHUP)


def _in_turn(tab: Visit, path: str, static: str) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    plain: list[float] = []
    for number in range(ROUNDS + 1):
        for found, address in ((ours, path), (plain, static)):
            tab.open(address)
            took = float(tab.page.evaluate(LOADED))
            if number:  # the first fills the cache
                found.append(took)
    if tab.complaints:
        raise RuntimeError(f"the browser complains: {tab.complaints[:3]}")
    return ours, plain
