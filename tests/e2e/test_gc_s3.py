"""Garbage collection of a real registry on S3: with delete markers, and without versions."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from django.test import override_settings

from registryui.gc import collector
from registryui.index.sync import sync
from registryui.integrity import check
from registryui.models import Run
from registryui.registry import storages
from registryui.registry.choose import open_store
from tests.selection import Extent
from tests.support.parts import free_port, running_registry, running_s3
from tests.support.pushing import Client, attack, image, print_counts, untag, what_is_missing
from tests.support.registries import Registry
from tests.support.waiting import LONGEST

pytestmark = [pytest.mark.e2e, pytest.mark.django_db, pytest.mark.one_database]
PREFIX = "deep/prefix"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The registry that writes it, and the bucket itself."""

    real: Registry
    system: Any
    keeps_versions: bool

    def kept(self) -> int:
        """Bytes of blobs that somebody pays for: in the store, in quarantine, in all versions.
        Without what the registry leaves of each upload in a bucket with versions."""
        call = "list_object_versions" if self.keeps_versions else "list_objects_v2"
        page = self.system.call_s3(call, Bucket="images", Prefix=f"{PREFIX}/")
        assert not page["IsTruncated"]
        found = page.get("Versions" if self.keeps_versions else "Contents") or []
        quarantined = f"{PREFIX}/boathouse/quarantine/"
        return sum(
            one["Size"]
            for one in found
            if (one["Key"].endswith("/data") and "/_uploads/" not in one["Key"])
            or (one["Key"].startswith(quarantined) and not one["Key"].endswith("/record"))
        )


@pytest.fixture(params=["plain", "versions"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[Bucket]:
    port = free_port()
    with running_s3(port, "images") as (key, secret):
        settings.STORAGE, settings.SOURCE = f"s3://images/{PREFIX}", "auto"
        settings.STORAGE_ENDPOINT = f"http://127.0.0.1:{port}"
        settings.STORAGE_REGION = "us-east-1"
        settings.STORAGE_KEY, settings.STORAGE_SECRET = key, secret
        for name in ("GC_GRACE", "QUARANTINE_TIME", "UPLOAD_TIME"):
            setattr(settings, name, timedelta(0))
        settings.UNDO_DAYS = 0  # what clients delete here is to be collected
        storage = storages.of_settings()
        system = fsspec.filesystem("s3", use_listings_cache=False, **storage.options)
        if request.param == "versions":
            state = {"Status": "Enabled"}
            system.call_s3("put_bucket_versioning", Bucket="images", VersioningConfiguration=state)
        section = {storage.driver: storage.section, "delete": {"enabled": True}}
        sections = {"storage": {**section, "redirect": {"disable": True}}}
        with running_registry(tmp_path, settings=sections) as url:
            settings.REGISTRY_URL = url
            yield Bucket(Registry(url, tmp_path / "store"), system, request.param == "versions")


def index() -> None:
    run = sync(open_store(storages.of_settings()), by="test")
    assert run is not None
    assert run.state == Run.State.DONE, run.log


def run_gc(**options: Any) -> dict[str, Any]:
    run = collector.run_gc(by="test", **options)
    assert run is not None
    assert run.state == Run.State.DONE, (run.result, run.log)
    return dict(run.result)


def test_content_of_another_digest_than_sha256_is_kept_and_goes_with_its_image(
    bucket: Bucket,
) -> None:
    real = bucket.real
    real.push_image("team/app", "kept", layers=[b"base", b"kept"])
    index()
    before = bucket.kept()
    real.push_image("team/app", "1", layers=[b"base", b"own"], algorithm="sha512")
    real.push_blob("team/app", b"lonely", "sha512")
    index()
    assert run_gc()["quarantined"] == 1
    assert run_gc()["quarantined"] == 0
    assert what_is_missing(real, "team/app", "1") == ""
    run = check.check(by="test", deep=True)
    assert run is not None
    assert (run.state, run.result["problems"]) == (Run.State.DONE, [])
    untag(real, "team/app", "1")
    index()
    run_gc()
    assert bucket.kept() == before
    assert what_is_missing(real, "team/app", "kept") == ""


@pytest.mark.usefixtures("short_form")
def test_the_bucket_gives_back_the_promised_bytes_and_every_kept_tag_is_complete(
    bucket: Bucket, settings: Any
) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    real = bucket.real
    base = random.Random(1).randbytes(100_000)
    amd = real.push_image("team/app", "amd", layers=[base, b"amd"])
    real.push_index("team/app", [real.child("team/app", amd, architecture="amd64")], "1")
    real.push_image("team/app", "2", layers=[base, random.Random(2).randbytes(80_000)])
    real.push_image("other/app", "2", layers=[base, b"other"])
    lonely = real.push_blob("other/app", random.Random(3).randbytes(50_000))
    index()
    untag(real, "team/app", "2")
    untag(real, "team/app", "amd")  # its manifest is still a child
    index()
    before = bucket.kept()

    plan = run_gc(dry_run=True)
    assert bucket.kept() == before
    first = run_gc()
    assert first["quarantined_bytes"] == plan["candidate_bytes"] > 130_000
    assert real.ask("HEAD", f"/v2/other/app/blobs/{lonely}").status == 404
    for repository, tag in (("team/app", "1"), ("other/app", "2")):
        assert what_is_missing(real, repository, tag) == ""
    settings.QUARANTINE_TIME = timedelta(0)
    purged = run_gc()
    assert before - bucket.kept() == plan["candidate_bytes"]
    assert purged["freed_bytes"] == plan["candidate_bytes"] + 71 * first["quarantined_manifests"]
    for repository, tag in (("team/app", "1"), ("other/app", "2")):
        assert what_is_missing(real, repository, tag) == ""
    run = check.check(by="test", deep=True)
    assert run is not None
    assert (run.result["source"], run.result["broken"]) == ("store", 0)


@pytest.mark.parametrize("moment", ["quarantined", "purged"])
def test_the_same_image_is_pushed_again_after(bucket: Bucket, settings: Any, moment: str) -> None:
    if moment == "quarantined":
        settings.QUARANTINE_TIME = timedelta(hours=1)
    one = image(1, b"base" * 1000, b"layer" * 1000)
    client = Client(bucket.real)
    assert client.push("team/app", "1", one)
    assert client.push("team/keeps", "1", image(2, b"base" * 1000))
    index()
    untag(bucket.real, "team/app", "1")
    index()
    assert run_gc()["quarantined_manifests"] == 1
    assert client.push("team/app", "again", one)
    assert what_is_missing(bucket.real, "team/app", "again") == ""
    index()
    settings.QUARANTINE_TIME = timedelta(0)
    result = run_gc()
    assert what_is_missing(bucket.real, "team/app", "again") == ""
    assert result["quarantined_manifests"] == 0


def test_nothing_lasting_breaks_while_clients_push_and_the_registry_freezes(
    bucket: Bucket, settings: Any, extent: Extent
) -> None:
    """Against a control without garbage collection. moto has one processor for all of us:
    two clients."""
    pushes = extent(6, 90)
    settings.GC_GRACE = timedelta(seconds=1)
    settings.QUARANTINE_TIME = timedelta(seconds=1)
    assert Client(bucket.real).push("team/first", "1", image(0, b"base" * 500))
    control = attack(bucket.real, pushes // 3, index, clients=2)
    totals: Counter[str] = Counter()

    def work() -> None:
        index()
        result = run_gc()
        totals.update(
            {name: result[name] for name in ("quarantined", "restored", "purged")}, runs=1
        )

    attacked = attack(bucket.real, pushes, work, clients=2)
    settings.GC_GRACE = settings.QUARANTINE_TIME = timedelta(0)
    work()  # quarantines the last, purges what was quarantined before
    work()
    print_counts("control", control)
    print_counts(f"attack {dict(totals)}", attacked)

    assert control.lasting == attacked.lasting == []
    assert control.counts["failed pushes"] == attacked.counts["failed pushes"] == 0
    broken = {key: what_is_missing(bucket.real, *key) for key in attacked.kept}
    assert {key: what for key, what in broken.items() if what} == {}
    assert attacked.counts["pushes"] >= pushes
    assert totals["quarantined"] > 0
    assert totals["purged"] > 0


def test_killed_at_its_changes_of_the_bucket_the_next_run_goes_on(
    bucket: Bucket, settings: Any, tmp_path: Path, extent: Extent
) -> None:
    """At some of them: at each takes an hour where moto keeps all versions."""
    environment = {
        "BOATHOUSE_DATA": str(tmp_path / "data"),
        "BOATHOUSE_STORAGE": settings.STORAGE,
        "BOATHOUSE_STORAGE_ENDPOINT": settings.STORAGE_ENDPOINT,
        "BOATHOUSE_STORAGE_REGION": settings.STORAGE_REGION,
        "BOATHOUSE_STORAGE_KEY": settings.STORAGE_KEY,
        "BOATHOUSE_STORAGE_SECRET": settings.STORAGE_SECRET,
    }
    (tmp_path / "data").mkdir()
    step, most = extent(("40", "1"), ("10", "0"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.killed_gc_s3", bucket.real.url, step, most],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30 * LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert len(found["killed"]) * int(step) > 20
    assert found["broken"] == [], done.stdout + done.stderr


def test_no_secret_is_in_what_is_told(bucket: Bucket, settings: Any) -> None:
    bucket.real.push_image("team/app", "1")
    index()
    with override_settings(STORAGE_ENDPOINT="http://127.0.0.1:1"):
        run = collector.run_gc(by="test")
    assert run is not None
    assert run.state == Run.State.FAILED
    said = f"{run.result} {run.log}"
    assert settings.STORAGE_SECRET not in said
    assert "127.0.0.1:1" in said
