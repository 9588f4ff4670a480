"""Every list page at 1,000 tags: server time, queries, bytes.

The pages are rendered in a separate process, with its own data folder:
python -m bench.pages FOLDER [TAGS [REPEATS]] writes one JSON object a page to standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.product import ROOT

from .instance import folder
from .measure import Row, times

REPEATS = 40
TAGS = 1000
PAGES = [
    "/",
    "/repositories/",
    "/repositories/?sort=-size",
    "/repositories/team/app",
    "/repositories/team/app?sort=-moved",
    "/repositories/team/app:v1",
    "/search?q=app",
]


def measure() -> Iterator[Row]:
    """As an administrator sees them, through all middleware, without nginx."""
    with folder() as place:
        for page in measured(place, TAGS, REPEATS):
            size = page["bytes"] / 1000
            row = times(f"page `{page['path']}` at 1,000 tags", page["times"])
            yield Row(
                row.what,
                row.figure,
                f"{page['queries']} queries, {size:.0f} kB",
                {**row.numbers, "queries": page["queries"], "kb": size},
            )


def measured(place: Path, tags: int, repeats: int) -> list[dict[str, Any]]:
    """The JSON objects, in the order of PAGES: path, queries, bytes, times (seconds)."""
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "bench.pages", str(place), str(tags), str(repeats)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- in the process of their own -----------------------------------------------------------------


def main(place: str, tags: str = str(TAGS), repeats: str = str(REPEATS)) -> None:
    os.environ |= {"BOATHOUSE_DATA": place, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    os.environ.pop("DATABASE_URL", None)  # SQLite in the data folder
    import django

    django.setup()
    from django.core.management import call_command

    from registryui.setup import static

    call_command("migrate", verbosity=0)
    static.gather()
    _fill(int(tags))
    for path in PAGES:
        print(json.dumps(_measure(path, int(repeats))), flush=True)


def _fill(tags: int) -> None:
    """One repository of all tags and as many of one tag, written by the index's own code."""
    from registryui.index.sync import sync
    from tests.support.fake_source import FakeSource

    source = FakeSource()
    for number in range(tags):
        own = f"layer {number}".encode()
        source.push_image("team/app", f"v{number}", layers=(b"base", b"runtime", own))
        if number:
            source.push_image(f"many/app-{number}", "latest", layers=(b"base", own))
    sync(source, by="bench")


def _measure(path: str, repeats: int) -> dict[str, object]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from registryui.models import Operator, Role

    operator, _new = Operator.objects.get_or_create(username="bench", role=Role.ADMIN)
    client = Client(HTTP_HOST="localhost")
    client.force_login(operator)
    client.get(path, secure=True)  # what the process makes once
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(path, secure=True)
        # Counted here: the next request empties the log that the capture is a window on.
        queries = len(captured)
    if answer.status_code != 200 or not queries:
        raise SystemExit(f"{path} answered {answer.status_code} with {queries} queries")
    seconds = []
    for _repeat in range(repeats):
        start = time.perf_counter()
        client.get(path, secure=True)
        seconds.append(time.perf_counter() - start)
    return {"path": path, "queries": queries, "times": seconds, "bytes": len(answer.content)}


if __name__ == "__main__":
    main(*sys.argv[1:])
