"""The data folder of the version before: `up` takes it as it is, with the variables of then.

The code of that version makes it, out of this repository's history; where there is none (a copy
without .git) this is not asked. What its tables become: tests/models/test_upgrade.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import open_folder

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "11cf048"  # the last commit with the names of before
PREPARE = """
import django, json, sys
django.setup()
from registryui.setup import data, up
data.make()
said = []
up.prepare(say=said.append).release()
"""
MAKE = """
from datetime import timedelta
from django.utils import timezone
from registryui import hold, tasks
from registryui.accounts import users
from registryui.cleanup import protection
from registryui.models import FormerTag, RetentionRule, Run
users.create("ci", by="ada", may=frozenset({("pull", "team/*"), ("push", "team/*")}))
protection.add("team/*", "v*", note="", by="ada", is_immutable=True)
hold.on("writes", by="ada", until=timezone.now() + timedelta(hours=1))
soon = timezone.now() + timedelta(days=3)
FormerTag.objects.create(repository="team/app", tag="1", digest="sha256:" + "0" * 64,
    how="deleted", at=timezone.now(), keep_until=soon)
RetentionRule.objects.create(name="nightly", repositories="team/*", keep_newest=3)
Run.objects.create(kind="collect", state="done", result={"hidden": 4, "waiting": 5})
from registryui.cleanup.deletion import Selection
run = Run.objects.create(kind="delete", result={"act": "a1", "repository": "team/app"}).pk
tasks.collect("operator:ada")
tasks.put_back_collected("operator:ada")
tasks.delete_many(run, Selection("team/app", tags=("1",)), "print", "en")
tasks.restore_many(run, "a1", "team/app", "zh-hans")
tasks.settle_deletes()
tasks.collect("operator:eve", dry_run=True)
"""
READ = """
from django.utils import timezone
from django.conf import settings
from registryui import write_freeze
from registryui.accounts import drift
from registryui.audit import check
from registryui.models import Protection, RetentionPolicy, Run, TagTombstone
from huey.contrib.djhuey import HUEY
from registryui import tasks
jobs = []
def noted(name):
    return lambda *words, **more: jobs.append([name, *map(str, [*words, *more.values()])])
tasks.process.run_gc, tasks.collector.restore = noted("gc"), noted("restore")
tasks.bulk.delete, tasks.bulk.restore = noted("bulk delete"), noted("bulk restore")
tasks.recovery.recover = noted("recover")
while (job := HUEY.dequeue()) is not None:
    HUEY.execute(job)
print(json.dumps({
    "jobs": jobs,
    "schedule": settings.GC_SCHEDULE, "grace": settings.GC_GRACE.total_seconds(),
    "tombstones": [str(one) for one in TagTombstone.objects.kept(timezone.now())],
    "policies": [one.name for one in RetentionPolicy.objects.all()],
    "protections": [str(one) for one in Protection.objects.all()],
    "gc": [one.result for one in Run.objects.filter(kind="gc")],
    "edited": [one.name for one in drift.find()],
    "freezes": len(write_freeze.freezes()),
    "log": check.check(by="tests").is_complete,
    "said": said,
}))
"""


SELECTION = "Selection(repository='team/app', tags=('1',), pattern='', is_all=False, manifests=())"
JOBS_OF_BEFORE = [
    ["gc", "operator:ada", "False", "False"],
    ["restore", "all", "operator:ada"],
    ["gc", "operator:ada", "True", "False"],
    ["bulk delete", "Run object (2)", SELECTION, "print"],
    ["bulk restore", "Run object (2)"],
    ["recover"],
    ["gc", "operator:eve", "True", "False"],
]


@pytest.fixture(scope="module")
def folder_of_before() -> Iterator[Path]:
    """A data folder that the code of before has made and filled."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", BEFORE], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip("the history of this copy does not reach back to the names of before")
    with open_folder("before") as code, open_folder("data") as data:
        subprocess.run(["tar", "-x", "-C", str(code)], input=archive.stdout, check=True)
        # It wrote sizes with a package that we no longer have.
        (code / "humanize.py").write_text("def __getattr__(name): return lambda *words: ''")
        run(code, data, PREPARE + MAKE)
        yield data


def run(code: Path, data: Path, script: str) -> str:
    """What a script prints with the product's own settings and the variables of before."""
    usual = {name: value for name, value in os.environ.items() if "BOATHOUSE" not in name}
    environment = {
        **{name: value for name, value in usual.items() if name != "DATABASE_URL"},
        "PYTHONPATH": str(code),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "BOATHOUSE_DATA": str(data),
        "BOATHOUSE_COLLECT_SCHEDULE": "0 3 * * *",
        "BOATHOUSE_COLLECT_GRACE_HOURS": "48",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=code,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_up_takes_the_folder_and_the_variables_of_before(folder_of_before: Path) -> None:
    data = folder_of_before
    kept = [data / "htpasswd", *sorted(path for path in (data / "rights").rglob("*"))]
    content = {path: path.read_bytes() for path in kept if path.is_file()}
    assert content
    found: dict[str, Any] = json.loads(run(ROOT, data, PREPARE + READ))
    assert found.pop("jobs") == JOBS_OF_BEFORE
    assert found == {
        "schedule": "0 3 * * *",
        "grace": 48 * 3600,
        "tombstones": ["team/app:1"],
        "policies": ["nightly"],
        "protections": ["team/*:v*"],
        "gc": [{"quarantined": 4, "in_quarantine": 5}],
        "edited": [],  # the htpasswd file is what the tables say
        "freezes": 1,
        "log": True,
        "said": ["Preparing the database.", "Made the typefaces and static files."],
    }
    assert {path: path.read_bytes() for path in content} == content
