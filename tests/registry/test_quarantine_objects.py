"""Quarantine, restore and purge in an object store: versions kept, or not; killed anywhere."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import pytest

from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.errors import Unreachable
from registryui.registry.files import Problems
from registryui.registry.objects import ObjectFiles
from registryui.registry.quarantine import FOLDER, Quarantined
from registryui.registry.quarantine_objects import ObjectQuarantine

from .places import Objects, put_blob, put_manifest, running_bucket

KINDS = ("memory", "plain", "versions")
LAYER = b"a layer"
DATA = paths.blob_data(sha256(LAYER))


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with running_bucket() as made:
        system = fsspec.filesystem("s3", **made.options)
        system.call_s3("create_bucket", Bucket="kept")
        enabled = {"Status": "Enabled"}
        system.call_s3("put_bucket_versioning", Bucket="kept", VersioningConfiguration=enabled)
        yield made


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Objects:
    """An empty store."""
    name = uuid.uuid4().hex
    if request.param == "memory":
        return Objects("memory", f"/{name}", {})
    made: Objects = request.getfixturevalue("bucket")
    root = "images" if request.param == "plain" else "kept"
    return Objects("s3", f"{root}/{name}", made.options)


READERS: dict[str, ObjectFiles] = {}


def quarantine(place: Objects) -> ObjectQuarantine:
    """A new one, as the next run has it; only its connections are not new, which take long."""
    key = f"{place.protocol} {place.root} {place.options.get('endpoint_url')}"
    if key not in READERS:
        READERS[key] = ObjectFiles(place.protocol, place.root, place.options, Problems())
    return ObjectQuarantine(READERS[key])


def keys(place: Objects, below: str = "") -> set[str]:
    start = f"{place.root}/"
    found = place._system.find(f"{place.root}/{below}".rstrip("/"))
    # An empty prefix is found as a folder where moto keeps versions.
    return {key.removeprefix(start) for key in found if not key.endswith(paths.ROOT)}


def versions(place: Objects) -> int:
    """All that the bucket keeps of this store, and is paid for."""
    if not place.root.startswith("kept"):
        return len(keys(place))
    name, _, prefix = place.root.partition("/")
    page = place._system.call_s3("list_object_versions", Bucket=name, Prefix=f"{prefix}/")
    return len(page.get("Versions") or []) + len(page.get("DeleteMarkers") or [])


def quarantined(place: Objects, *wanted: str) -> list[Quarantined]:
    return quarantine(place).add(wanted, run="7")


@pytest.mark.usefixtures("extent")  # of each kind in the short run, too
def test_what_is_quarantined_is_gone_for_the_store_and_comes_back_as_it_was(place: Objects) -> None:
    digest = put_blob(place, LAYER)
    (one,) = quarantined(place, DATA)
    assert (one.path, one.size, one.run) == (DATA, len(LAYER), "7")
    assert abs(datetime.now(UTC) - one.quarantined_at) < timedelta(minutes=1)
    store = place.open()
    assert list(store.blobs()) == []
    assert store.read_blobs([digest], limit=100) == [None]
    assert keys(place, paths.ROOT) == set()  # nor anything beside it that begins so
    assert list(quarantine(place).contents()) == [one]

    assert quarantine(place).restore(one)
    assert place.open().read_blobs([digest], limit=100) == [LAYER]
    assert list(quarantine(place).contents()) == []
    assert not quarantine(place).restore(one)
    assert quarantine(place).purge(one) == 0
    assert place.open().read_blobs([digest], limit=100) == [LAYER]


@pytest.mark.usefixtures("extent")  # of each kind in the short run, too
def test_what_is_purged_is_gone_and_frees_its_bytes(
    place: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_blob(place, LAYER)
    put_blob(place, b"another")
    going = quarantined(place, DATA, paths.blob_data(sha256(b"another")), "docker/else", DATA + "x")
    assert [one.size for one in going] == [7, 7]
    assert quarantine(place).purge(going[0]) == 7
    assert quarantine(place).purge(going[0]) == 0
    assert not quarantine(place).restore(going[0])
    assert list(quarantine(place).contents()) == going[1:]
    quarantine(place).tidy()
    assert quarantine(place).purge(going[1]) == 7
    quarantine(place).tidy()  # too young to be sure
    assert len(keys(place)) == 1
    monkeypatch.setattr("registryui.registry.quarantine_objects.FORGOTTEN", timedelta(0))
    quarantine(place).tidy()
    assert keys(place) == set()
    assert versions(place) == 0
    assert quarantine(place).problems() == []


def test_what_came_again_meanwhile_stays_as_it_came(place: Objects) -> None:
    put_blob(place, LAYER)
    first, second = paths.revision_link("a", sha256(b"1")), paths.revision_link("a", sha256(b"2"))
    for link in (first, second):
        place.put(link, b"old")
    going = quarantined(place, first, second)
    for link in (first, second):
        place.put(link, b"new")
    assert not quarantine(place).restore(going[0])
    assert quarantine(place).purge(going[1]) == 3
    assert place._system.cat_file(f"{place.root}/{first}") == b"new"
    assert place._system.cat_file(f"{place.root}/{second}") == b"new"
    assert list(quarantine(place).contents()) == []
    assert {key for key in keys(place) if key.startswith(paths.ROOT)} == {DATA, first, second}


def test_a_folder_is_quarantined_with_all_that_is_in_it(place: Objects) -> None:
    put_manifest(place, "team/empty", b"{}", "1")
    put_manifest(place, "team/empty-not", b"{}", "1")
    upload = f"{paths.uploads('other')}/0b0c"
    place.put(f"{upload}/startedat", b"2026-11-01T00:00:00Z")
    place.put(f"{upload}/hashstates/sha256/0", b"state")
    before = keys(place, paths.ROOT)
    going = quarantined(place, paths.repository("team/empty"), upload)
    assert [one.path for one in going] == [paths.repository("team/empty"), upload]
    assert going[1].size == 25
    assert {key.split("/")[5] for key in keys(place, paths.repository("team"))} == {"empty-not"}
    place.put(f"{upload}/startedat", b"again")
    for one in quarantine(place).contents():
        assert quarantine(place).restore(one)
    assert keys(place, paths.ROOT) == before
    assert place._system.cat_file(f"{place.root}/{upload}/startedat") == b"again"


def test_an_upload_that_goes_on_is_noticed(place: Objects) -> None:
    upload = f"{paths.uploads('other')}/0b0c"
    place.put(f"{upload}/startedat", b"2026-11-01T00:00:00Z")
    (one,) = quarantined(place, upload)
    found = quarantine(place).written_at(one)
    assert found is not None
    assert found <= one.quarantined_at
    later = one.quarantined_at + timedelta(seconds=1)
    time.sleep(max(0.0, (later - datetime.now(UTC)).total_seconds()))  # the grain of some services
    place.put(f"{upload}/hashstates/sha256/100", b"state")
    found = quarantine(place).written_at(one)
    assert found is not None
    assert found >= one.quarantined_at
    quarantine(place).purge(one)


def test_age_is_the_time_of_the_newest_object(place: Objects) -> None:
    assert quarantine(place).age(DATA) is None
    put_blob(place, LAYER)
    put_manifest(place, "team/app", b"{}", "1")
    for path in (DATA, paths.repository("team/app")):
        found = quarantine(place).age(path)
        assert found is not None
        assert abs(datetime.now(UTC) - found) < timedelta(minutes=1)
    assert quarantine(place).age(paths.repository("team/ap")) is None


def test_what_is_odd_is_told_and_never_touched(place: Objects) -> None:
    put_blob(place, LAYER)
    (one,) = quarantined(place, DATA)
    batch = one.id.partition("/")[0]
    for path in (f"{batch}/9/0", f"{batch}/else", "no-record/0/0", "bad/record", "bad/0/0"):
        place.put(f"{FOLDER}/{path}", b"x")
    bad = b'{"run": "1", "at": "2026-11-01", "things": [["docker/registry/v2/x", []]]}'
    place.put(f"{FOLDER}/bad/record", bad)
    looking = quarantine(place)
    assert list(looking.contents()) == [one]
    assert len(looking.problems()) == 4
    assert list(looking.contents()) == [one]
    assert len(looking.problems()) == 4
    odd = Quarantined("bad/0", DATA, 1, one.quarantined_at, "1")
    assert quarantine(place).purge(odd) == 0
    assert not quarantine(place).restore(odd)
    assert f"{FOLDER}/bad/0/0" in keys(place)


# -- killed anywhere -------------------------------------------------------------------------------
class Killed(BaseException):
    """As SIGKILL does: nothing of ours runs after it."""


class Killing:
    """A driver of fsspec that ends the process after so many changes."""

    def __init__(self, system: Any, changes: int) -> None:
        self._system, self.left = system, changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def _one(self) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def pipe_file(self, *arguments: Any) -> None:
        self._one()
        self._system.pipe_file(*arguments)

    def cp_file(self, *arguments: Any) -> None:
        self._one()
        self._system.cp_file(*arguments)

    def rm_file(self, *arguments: Any) -> None:
        self._one()
        self._system.rm_file(*arguments)

    def call_s3(self, call: str, **arguments: Any) -> Any:
        if call.startswith(("delete", "put", "abort")):
            self._one()
        return self._system.call_s3(call, **arguments)


def killed_after(place: Objects, changes: int, act: str, *arguments: Any, **more: Any) -> bool:
    """Does it until the process is killed; False if it came to its end."""
    made = quarantine(place)
    system = made._files.system
    made._files.system = Killing(system, changes)
    try:
        getattr(made, act)(*arguments, **more)
    except Killed:
        return True
    finally:
        made._files.system = system
    return False


def both(place: Objects) -> set[bytes]:
    """Contents of the two blobs that are in the store, or going."""
    going = {one.path for one in quarantine(place).contents()}
    found = keys(place, paths.BLOBS) | going
    return {one for one in BLOBS if paths.blob_data(sha256(one)) in found}


BLOBS = (LAYER, b"another")
DIGESTS = [sha256(one) for one in BLOBS]
PATHS = [paths.blob_data(digest) for digest in DIGESTS]


def test_killed_while_quarantining_nothing_is_lost_and_the_next_run_goes_on(place: Objects) -> None:
    for changes in range(20):
        for blob in BLOBS:
            put_blob(place, blob)
        was_killed = killed_after(place, changes, "add", PATHS, run="1")
        assert both(place) == {*BLOBS}, changes
        going = quarantined(place, *PATHS)  # what is left
        for one in quarantine(place).contents():
            quarantine(place).restore(one)
        assert place.open().read_blobs(DIGESTS, limit=100) == [*BLOBS], (changes, going)
        assert list(quarantine(place).contents()) == []
        if not was_killed:
            break
    assert not was_killed
    assert changes > 4


def test_killed_while_purging_what_is_in_the_store_stays(place: Objects) -> None:
    """One was only going to be quarantined when the process ended; it is in the store."""
    for changes in range(20):
        for blob in BLOBS:
            put_blob(place, blob)
        (one,) = quarantined(place, PATHS[0])
        half = 3  # of the second: its record, and its mark or copy
        killed_after(place, half - 1, "add", PATHS[1:], run="1")
        was_killed = killed_after(place, changes, "purge", one)
        for other in quarantine(place).contents():
            quarantine(place).purge(other)
        assert place.open().read_blobs(DIGESTS, limit=100) == [None, BLOBS[1]], changes
        assert list(quarantine(place).contents()) == []
        if not was_killed:
            break
    assert not was_killed


def test_killed_while_bringing_back_it_comes_back_the_next_time(place: Objects) -> None:
    for changes in range(20):
        put_blob(place, LAYER)
        (one,) = quarantined(place, DATA)
        was_killed = killed_after(place, changes, "restore", one)
        assert LAYER in both(place), changes
        quarantine(place).restore(one)
        assert place.open().read_blobs(DIGESTS[:1], limit=100) == [LAYER]
        assert quarantine(place).purge(one) == 0
        assert place.open().read_blobs(DIGESTS[:1], limit=100) == [LAYER]
        if not was_killed:
            break
    assert not was_killed


# -- only with versions ----------------------------------------------------------------------------
@pytest.fixture
def kept(bucket: Objects) -> Objects:
    return Objects("s3", f"kept/{uuid.uuid4().hex}", bucket.options)


def test_what_is_written_while_it_is_in_quarantine_is_shown_again(
    kept: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a version and the marker there is a new version, which it shadows."""
    link = paths.revision_link("a", sha256(b"1"))
    kept.put(link, b"old")
    made = quarantine(kept)
    write = made._write

    def write_and_push(place: str, content: bytes) -> None:
        write(place, content)
        if place.endswith("/0/0"):
            kept.put(link, b"new")

    monkeypatch.setattr(made, "_write", write_and_push)
    assert made.add([link], run="1") == []
    assert kept._system.cat_file(f"{kept.root}/{link}") == b"new"
    assert list(quarantine(kept).contents()) == []


def test_an_older_version_does_not_come_to_light(kept: Objects) -> None:
    link = paths.revision_link("a", sha256(b"1"))
    kept.put(link, b"oldest")
    kept.put(link, b"old")
    (one,) = quarantined(kept, link)
    assert quarantine(kept).purge(one) == 3
    assert link not in keys(kept)
    kept.put(link, b"new")
    assert kept._system.cat_file(f"{kept.root}/{link}") == b"new"


def test_quarantined_twice_comes_back_by_one(kept: Objects) -> None:
    put_blob(kept, LAYER)
    (one,) = quarantined(kept, DATA)
    name, _, prefix = kept.root.partition("/")
    kept._system.call_s3("delete_object", Bucket=name, Key=f"{prefix}/{DATA}")  # a second marker
    assert quarantine(kept).restore(one)
    assert kept.open().read_blobs(DIGESTS[:1], limit=100) == [LAYER]


def test_more_than_a_page_of_versions(kept: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = f"{paths.uploads('a')}/0b0c"
    for number in range(12):
        kept.put(f"{upload}/hashstates/sha256/{number}", b"x")
    made = quarantine(kept)
    ask, pages = made._s3, []

    def ask_for_few(call: str, **arguments: Any) -> Any:
        if call == "list_object_versions":
            pages.append(call)
            arguments["MaxKeys"] = 5
        return ask(call, **arguments)

    monkeypatch.setattr(made, "_s3", ask_for_few)
    (one,) = made.add([upload], run="1")
    assert one.size == 12
    assert len(pages) > 12 + 2
    assert keys(kept, paths.ROOT) == set()


def test_suspended_versions_are_none(bucket: Objects) -> None:
    """A marker would replace the version that is called "null": the only one."""
    system = bucket._system
    system.call_s3("create_bucket", Bucket="suspended")
    state = {"Status": "Suspended"}
    system.call_s3("put_bucket_versioning", Bucket="suspended", VersioningConfiguration=state)
    place = Objects("s3", "suspended", bucket.options)
    put_blob(place, LAYER)
    (one,) = quarantined(place, DATA)
    assert DATA not in keys(place)
    assert quarantine(place).restore(one)
    assert place.open().read_blobs(DIGESTS[:1], limit=100) == [LAYER]


# -- a service that fails --------------------------------------------------------------------------
def test_no_bucket_and_no_service_are_one_sentence_without_a_secret(
    bucket: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    elsewhere = {
        **bucket.options,
        "endpoint_url": "http://127.0.0.1:1",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    missing = Objects("s3", "no-such-bucket/x", bucket.options)
    for place in (missing, Objects("s3", "images/x", elsewhere)):
        for act in (
            lambda made: made.add([DATA], run="1"),
            lambda made: list(made.contents()),
            lambda made: made.age(paths.repository("a")),
        ):
            with pytest.raises(Unreachable) as told:
                act(quarantine(place))
            assert bucket.options["secret"] not in str(told.value)
    ours = [record.getMessage() for record in caplog.records if "registryui" in record.name]
    assert not any(bucket.options["secret"] in line for line in ours)
