"""Work on an index in a separate process, with its own data folder; prints one JSON object.

python -m bench.index_work DATA build  STORE        sync with a folder, made:TAGS, one:TAGS (in one
                                                repository) or first:TAGS (repositories that no
                                                other store has)
python -m bench.index_work DATA visit  SECONDS      list pages again and again, beside a build
python -m bench.index_work DATA queue  NUMBER STORE push events of tags that are in the store
python -m bench.index_work DATA drain  STORE        apply them
python -m bench.index_work DATA pages  REPEATS      the pages of a large index, in turn
python -m bench.index_work DATA queries TAGS PATHS POLLED
                                                how many pages take, at a repository of TAGS tags
python -m bench.index_work DATA save   FILE         the page of the largest repository, as a file

With BENCH_POSTGRESQL, the URL of a server without a database, the index is in a database there that
has the name of the data folder.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.product import ROOT

SERVER = "BENCH_POSTGRESQL"
PAGES = ("/", "/repositories/", "/repositories/?sort=-size", "/search?q=api-1")


def start(data: Path, *words: str) -> subprocess.Popen[str]:
    """The process; `result` waits for it."""
    return subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "bench.index_work", str(data), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed; RuntimeError with its output if it failed."""
    out, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{out}{errors}"[-3000:])
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def work(data: Path, *words: str) -> dict[str, Any]:
    return result(start(data, *words))


# -- in the process of its own -------------------------------------------------------------------


def main(data: str, action: str, *words: str) -> None:
    os.environ |= {"BOATHOUSE_DATA": data, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    os.environ.pop("DATABASE_URL", None)  # SQLite in the data folder
    if server := os.environ.get(SERVER):
        os.environ["DATABASE_URL"] = _database(server, Path(data).name)
    Path(data).mkdir(exist_ok=True)
    import django

    django.setup()
    from django.core.management import call_command

    if action == "build":
        call_command("migrate", verbosity=0)
    act = {"build": _build, "visit": _visit, "queue": _queue, "drain": _drain, "pages": _pages}
    print(json.dumps((act | {"queries": _queries, "save": _save})[action](*words)))


def _database(server: str, name: str) -> str:
    """The URL of that database, which is made if it is not there."""
    import psycopg

    with psycopg.connect(f"{server}postgres", autocommit=True) as found:
        if not found.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            found.execute(
                psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
            )
    return f"{server}{name}"


def _store(name: str) -> Any:
    from registryui.registry.choose import open_store
    from registryui.registry.storages import FILESYSTEM, Storage

    from .store import MadeStore

    if name.startswith("made:"):
        return MadeStore(int(name[5:]))
    if name.startswith("one:"):
        return MadeStore(int(name[4:]), repositories=1)
    if name.startswith("first:"):
        return MadeStore(int(name[6:]), below="first/")
    return open_store(Storage(FILESYSTEM, {}, name))


def _build(name: str) -> dict[str, Any]:
    from registryui.index import bulk
    from registryui.index.sync import sync

    writes: list[float] = []
    complete_rows = bulk.write

    def timed(*some: Any) -> None:
        began = time.perf_counter()
        complete_rows(*some)
        writes.append(time.perf_counter() - began)

    bulk.write = timed
    start, used = time.perf_counter(), _processor()
    run = sync(_store(name), by="bench")
    seconds, processor = time.perf_counter() - start, _processor() - used
    if run is None or run.state != "done":
        raise SystemExit(f"the sync did not end well: {run and run.log}")
    writes.sort()
    return {
        "seconds": seconds,
        "processor": processor,
        **run.result,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "reader_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "bytes": _database_size(),
        "write_p50": writes[len(writes) // 2] if writes else 0,
        "write_max": writes[-1] if writes else 0,
    }


def _processor() -> float:
    """Seconds of processor of this process and of those that it started and that ended."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def _database_size() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(cursor.fetchone()[0])


def _visitor() -> Any:
    from django.test import Client

    import portal.wsgi  # noqa: F401  (what is loaded is loaded as in the web process)
    from registryui.models import Operator, Role
    from registryui.setup import static

    static.gather()
    operator, _new = Operator.objects.get_or_create(username="bench", role=Role.ADMIN)
    client = Client(HTTP_HOST="localhost")
    client.force_login(operator)
    return client


def _visit(seconds: str) -> dict[str, Any]:
    """Until the time is over, or the file DATA/stop is there."""
    client = _visitor()
    for path in PAGES:
        client.get(path, secure=True)  # what the process makes once
    stop = Path(os.environ["BOATHOUSE_DATA"]) / "stop"
    deadline = time.monotonic() + float(seconds)
    times, locked, others = [], 0, 0
    print("ready", flush=True)
    while time.monotonic() < deadline and not stop.exists():
        for path in PAGES:
            began = time.perf_counter()
            try:
                status = client.get(path, secure=True).status_code
            except Exception as error:
                locked += "locked" in str(error)
                others += "locked" not in str(error)
                continue
            times.append(time.perf_counter() - began)
            others += status != 200
            time.sleep(0.01)
    return {"times": times, "locked": locked, "failed": others}


def _queue(number: str, name: str) -> dict[str, Any]:
    """Stores events of pushes of tags that are in the store, in the order of their times: the
    index should know nothing of their manifests."""
    from registryui.index import events

    store = _store(name)
    links = [(link, one) for one in store.repositories() for link in store.tag_links(one)]
    links.sort(key=lambda pair: pair[0].tagged_at)
    found = links[: int(number)]
    for start in range(0, len(found), 100):
        told = [_event(one, link.name, link.digest) for link, one in found[start : start + 100]]
        events.receive(json.dumps({"events": told}).encode())
    return {"events": len(found), "repositories": len({one for _link, one in found})}


def _event(repository: str, tag: str, digest: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "action": "push",
        "target": {
            "repository": repository,
            "tag": tag,
            "digest": digest,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
        },
        "request": {"addr": "10.1.2.3", "method": "PUT", "useragent": "docker/27"},
        "actor": {"name": "ci"},
    }


def _drain(name: str) -> dict[str, Any]:
    from registryui.index import events

    store = _store(name)
    start = time.perf_counter()
    applied = events.apply_pending(store)
    return {"seconds": time.perf_counter() - start, "applied": applied}


def _pages(repeats: str) -> dict[str, Any]:
    """Queries and times of each page at the largest repository."""
    from registryui.models import Repository

    client = _visitor()
    largest = Repository.objects.order_by("-tag_count").first()
    if largest is None:
        raise SystemExit("the index is empty")
    tag = largest.newest_tag
    own = [f"/repositories/{largest.name}", f"/repositories/{largest.name}?sort=-moved"]
    found: dict[str, dict[str, Any]] = {}
    for path in (*PAGES, *own, f"/repositories/{largest.name}:{tag}"):
        found[path] = {"queries": _counted(client, path), "times": []}
    for _repeat in range(int(repeats)):  # in turn: what slows the machine for a second, slows all
        for path, one in found.items():
            began = time.perf_counter()
            client.get(path, secure=True)
            one["times"].append(time.perf_counter() - began)
    return {
        path.replace(largest.name, "LARGEST").replace(f":{tag}", ":TAG"): one
        for path, one in found.items()
    }


def _queries(tags: str, templates: str, polled: str) -> dict[str, Any]:
    """Paths by name, as `templates` (JSON) has them, and how many queries each takes; "poll": what
    the page of that name asks by itself while nothing changes."""
    from django.db.models import F
    from django.db.models.functions import Abs

    from registryui.models import Repository

    from .clients import poll_of

    client = _visitor()
    all_of_them = Repository.objects.filter(tag_count__gt=0)
    nearest = all_of_them.order_by(Abs(F("tag_count") - int(tags)), "id")[0]
    names = {"repository": nearest.name, "tag": nearest.newest_tag}
    paths = {name: path.format(**names) for name, path in json.loads(templates).items()}
    queries = {name: _counted(client, path) for name, path in paths.items()}
    while 60 - time.time() % 60 < 5:  # a poll's token ends with the minute
        time.sleep(1)
    page = client.get(paths[polled], secure=True).content.decode()
    queries["poll"] = _counted(client, poll_of(paths[polled], page), 204, HTTP_HX_REQUEST="true")
    return {"paths": paths, "queries": queries, "tags": nearest.tag_count}


def _counted(client: Any, path: str, status: int = 200, **headers: str) -> int:
    """Queries of a page that was asked for before: none on SQLite if all of it is kept. SystemExit
    if it answers otherwise."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.get(path, secure=True, **headers)
    with CaptureQueriesContext(connection) as captured:
        answered = client.get(path, secure=True, **headers).status_code
        # Counted here: the next request empties the log that the capture is a window on.
        queries = len(captured)
    if answered != status:
        raise SystemExit(f"{path} answered {answered}")
    return queries


def _save(place: str) -> dict[str, Any]:
    from registryui.models import Repository

    path = f"/repositories/{Repository.objects.order_by('-tag_count')[0].name}"
    content = _visitor().get(path, secure=True).content
    Path(place).write_bytes(content)
    return {"path": path, "bytes": len(content)}


if __name__ == "__main__":
    main(*sys.argv[1:])
