"""States of the portal that need rows, files or faults of their own: for one answer, each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from django.conf import settings
from django.test import override_settings

from registryui import clock, outage
from registryui.deletion import bulk, restore
from registryui.mirrors import upstream
from registryui.mirrors.state import Limit
from registryui.models import Repository, RetentionPolicy, Run
from registryui.refused import Refused
from registryui.retention import runs
from registryui.views.operators import login
from tests.support.factories import digest_of
from tests.support.run_rows import COUNTS, make_check, make_run

from .content import API, NOW

Given = Callable[[], AbstractContextManager[object]]


@contextmanager
def for_developers() -> Iterator[None]:
    with override_settings(DEVELOPER_PAGES=True):
        yield


@contextmanager
def registry_down() -> Iterator[None]:
    """As `up` writes it down: the registry has not responded for six minutes."""
    began, fell = NOW - timedelta(hours=3), NOW - timedelta(minutes=6)
    seen = [
        outage.Seen(name, name == "registry", fell if name == "registry" else began, "")
        for name in ("registry", "manifests", "blobs", "passwords", "mirror", "nginx", "web")
    ]
    seen[0] = replace(seen[0], note="no answer to /v2/ within 3 s")
    log = Path(settings.LOG_DIR) / "boathouse.log"
    line = '{:%Y-%m-%dT%H:%M:%S%z} registry  | level=error msg="response completed <b>500</b>"\n'
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join(line.format(fell - timedelta(seconds=n)) for n in (9, 5, 1)))
    outage.write(outage.State(tuple(seen), "up"))
    os.utime(outage.file(), (time.time(), time.time()))
    try:
        yield
    finally:
        outage.file().unlink()
        log.unlink()


@contextmanager
def gc_running() -> Iterator[None]:
    make_run(
        Run.State.RUNNING, minutes=1, stage="quarantine", done=350, total=700,
        stages=[{"name": "canary", "seconds": 1}, {"name": "mark", "seconds": 29}],
    )  # fmt: skip
    yield


@contextmanager
def gc_failed() -> Iterator[None]:
    said = "the registry still sees it <b>here</b>"
    make_run(Run.State.FAILED, stage="canary", stages=[], problem=said)
    yield


@contextmanager
def gc_stopped() -> Iterator[None]:
    make_run(Run.State.STOPPED, minutes=1, stage="quarantine", stages=COUNTS["stages"][:3])
    yield


@contextmanager
def gc_silent() -> Iterator[None]:
    run = make_run(Run.State.RUNNING, stage="mark", stages=[])
    Run.objects.filter(pk=run.pk).update(heartbeat_at=NOW - timedelta(minutes=2))
    yield


@contextmanager
def gc_nothing() -> Iterator[None]:
    make_run(in_quarantine=0, in_quarantine_bytes=0)
    make_check(problems=[], broken=0)
    yield


@contextmanager
def clock_jumped() -> Iterator[None]:
    noted = clock.note()
    clock._write(replace(noted, counted=noted.counted - 10, shown=noted.shown - 8 * 86400))
    with patch.object(clock, "_counted", lambda: noted.counted):
        yield
    (settings.RUN_DIR / "clock.json").unlink()


@contextmanager
def check_running() -> Iterator[None]:
    make_check(Run.State.RUNNING, done=617)
    yield


@contextmanager
def check_failed() -> Iterator[None]:
    make_check(Run.State.FAILED, problems=[], broken=0, errors=3)
    yield


@contextmanager
def retention_running() -> Iterator[None]:
    row = RetentionPolicy.objects.get(is_active=True)
    run = runs.begin(row, by="schedule", is_dry=False)
    Run.objects.filter(pk=run.pk).update(done=30, total=120, heartbeat_at=NOW)
    yield


@contextmanager
def deleting() -> Iterator[None]:
    run = bulk.begin("delete", API, total=40, by="operator:mo")
    Run.objects.filter(pk=run.pk).update(done=10, heartbeat_at=NOW)
    yield


@contextmanager
def never_examined() -> Iterator[None]:
    Run.objects.filter(kind=Run.Kind.DOCTOR).delete()
    yield


@contextmanager
def silent_worker() -> Iterator[None]:
    Run.objects.filter(kind=Run.Kind.DOCTOR).update(finished_at=NOW - timedelta(minutes=5))
    yield


@contextmanager
def all_well() -> Iterator[None]:
    row = Run.objects.filter(kind=Run.Kind.DOCTOR).latest("pk")
    found = [one for one in row.result["findings"] if one["state"] == "ok"]
    Run.objects.filter(pk=row.pk).update(result={"findings": found})
    yield


@contextmanager
def pushed_again() -> Iterator[None]:
    taken = restore.Taken("", digest_of("pushed again"))
    with patch.object(restore, "restore", side_effect=taken):
        yield


@contextmanager
def no_turn() -> Iterator[None]:
    with patch.object(login, "password_turn", lambda: nullcontext(False)):
        yield


@contextmanager
def own_certificate() -> Iterator[None]:
    with patch.object(settings._wrapped, "TLS_CERTIFICATE", "/etc/ssl/ours.crt"):
        yield


@contextmanager
def adopted_file() -> Iterator[None]:
    """The file is as it was written: no banner."""
    with patch("registryui.accounts.drift.find", lambda **_options: []):
        yield


def failing(error: Exception) -> Given:
    """The table of repositories cannot be read."""

    @contextmanager
    def made() -> Iterator[None]:
        def fail(*_arguments: object, **_options: object) -> None:
            raise error

        objects = Repository.objects
        with patch.object(objects, "filter", fail), patch.object(objects, "all", fail):
            yield

    return made


@contextmanager
def upstream_tags() -> Iterator[None]:
    found = upstream.Tags(("1.29", "1.28.1", "1.28", "1.27", "latest", "alpine"), is_cut=True)
    with patch.object(upstream, "tags", return_value=found):
        yield


@contextmanager
def no_upstream_tags() -> Iterator[None]:
    refused = Refused("The upstream has no repository not/there, or it is not public.")
    with patch.object(upstream, "tags", side_effect=refused):
        yield


@contextmanager
def upstream_checked() -> Iterator[None]:
    found = upstream.Checked("", 0.043, has_login=True, limit=Limit(200, 14, 21600))
    with patch.object(upstream, "check", return_value=found):
        yield
