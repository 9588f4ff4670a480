"""Every list page at 1,000 tags: queries, server time, bytes. Runs in a process of its own.

python -m bench.pages FOLDER writes one JSON object a page to standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

REPEATS = 40
TAGS = 1000


def main(folder: Path) -> None:
    os.environ |= {
        "BOATHOUSE_DATA": str(folder),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
    import django

    django.setup()
    from django.core.management import call_command

    from registryui.setup import static

    call_command("migrate", verbosity=0)
    static.collect()
    _fill()
    for path in PAGES:
        print(json.dumps(_measure(path)), flush=True)


PAGES = [
    "/",
    "/repositories/",
    "/repositories/?sort=-size",
    "/repositories/team/app",
    "/repositories/team/app?sort=-moved",
    "/repositories/team/app:v500",
    "/search?q=app",
]


def _fill() -> None:
    """One repository of 1,000 tags and 999 of one tag, written by the index's own code."""
    from registryui.index.sync import sync
    from tests.fake_source import FakeSource

    source = FakeSource()
    for number in range(TAGS):
        own = f"layer {number}".encode()
        source.push_image("team/app", f"v{number}", layers=(b"base", b"runtime", own))
        if number:
            source.push_image(f"many/app-{number}", "latest", layers=(b"base", own))
    sync(source, by="bench")


def _measure(path: str) -> dict[str, object]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from registryui.models import Operator, Role

    operator, _new = Operator.objects.get_or_create(username="bench", role=Role.ADMIN)
    client = Client(HTTP_HOST="localhost")
    client.force_login(operator)
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(path, secure=True)
    queries = len(captured)  # now: the next request empties the log
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}")
    times = []
    for _repeat in range(REPEATS):
        start = time.perf_counter()
        client.get(path, secure=True)
        times.append(time.perf_counter() - start)
    return {
        "path": path,
        "queries": queries,
        "times": times,
        "bytes": len(answer.content),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
