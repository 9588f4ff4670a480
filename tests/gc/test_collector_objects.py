"""The stories of test_collector.py on an object store, with versions and without; and what is
only there.

moto's server lists a folder in which there are only delete markers, which S3 does not: stories that
end with an empty repository are not among these for a bucket with versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from registryui.models import Run
from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.choose import open_quarantine
from tests.registry.places import Objects, running_bucket
from tests.support.small_objects import SmallObjects, small_in
from tests.support.stores import done, run_gc

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with running_bucket() as made:
        yield made


@pytest.fixture(params=["plain", "versions"])
def small(
    request: pytest.FixtureRequest, bucket: Objects, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> SmallObjects:
    return small_in(bucket, settings, monkeypatch, has_versions=request.param == "versions")


@pytest.mark.usefixtures("extent")  # of each kind in the short run, too
def test_exactly_the_bytes_of_what_no_tag_needs_are_freed(small: SmallObjects) -> None:
    kept = small.image("team/app", "1", layers=(b"base" * 100, b"one"))
    gone = small.image("team/app", "2", layers=(b"base" * 100, b"two" * 50))
    small.sync()
    small.untag("team/app", "2")
    small.sync()
    plan = done(dry_run=True)
    assert plan.result["candidate_blobs"] == 3  # manifest, config, its own layer
    before = small.kept()

    run = done()
    freed = plan.result["candidate_bytes"] + len(gone)  # and the link
    assert run.result["freed_bytes"] == freed
    record = small.kept() - (before - freed)
    assert 0 < record < 2500  # what tells of the empty batches goes an hour later
    assert small.revisions("team/app") == {kept}
    assert sha256(b"base" * 100) in small.blobs()
    assert sha256(b"two" * 50) not in small.blobs()


def test_it_waits_comes_back_and_goes_when_it_is_due(small: SmallObjects, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    small.image("team/app", "1", layers=(b"base",))
    other = small.image("team/app", "2", layers=(b"other",))
    small.sync()
    small.untag("team/app", "2")
    small.sync()
    run = done()
    assert (run.result["in_quarantine"], run.result["purged"]) == (4, 0)
    assert other not in small.blobs()

    small.tag("team/app", "3", other)  # somebody needs it again
    run = done()
    assert run.result["restored"] == 4
    assert small.revisions("team/app") >= {other}
    assert sha256(b"other") in small.blobs()
    assert run.result["in_quarantine"] == 0

    small.untag("team/app", "3")
    small.sync()
    assert done().result["in_quarantine"] == 4
    settings.QUARANTINE_TIME = timedelta(0)
    assert done().result["purged"] == 4
    assert list(open_quarantine().contents()) == []
    assert other not in small.blobs()


def test_stale_uploads_and_empty_repositories_leave(small: SmallObjects) -> None:
    small.image("team/app", "1", layers=(b"base",))
    small.image("team/empty", "1", layers=(b"base",))
    upload = f"{paths.uploads('team/app')}/0b0c"
    small.put_file(f"{upload}/startedat", b"2026-11-01T00:00:00Z")
    small.sync()
    small.untag("team/empty", "1")
    small.sync()
    done()
    run = run_gc()
    assert run.state == Run.State.DONE, run.log
    assert small.keys(paths.uploads("team/app")) == set()
    assert small.keys(paths.repository("team/empty")) == set()
    assert small.revisions("team/app")
