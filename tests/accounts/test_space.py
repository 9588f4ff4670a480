"""Many at once, many users, no room, no right to write: with real processes, disks and nginx."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings as live
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import Published, RegistryUser, Right
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.setup import first
from tests.selection import Extent
from tests.support.folders import open_folder
from tests.support.full_disk import fill
from tests.support.instance import running_instance
from tests.support.proxy_client import ask, push
from tests.support.shared_database import own_database, running_publisher

from .checks import inconsistent, temporary_files
from .hashes import PASSWORD

PROCESSES = 8


def test_eight_processes_lose_nothing(
    files: Path, settings: object, django_db_blocker: DjangoDbBlocker, extent: Extent
) -> None:
    edits = extent(20, 200)
    foreign = b"# made by hand\nhand:{SHA}x:a comment\r\n"
    with (
        open_folder("database") as folder,
        ExitStack() as stack,
    ):
        move(settings, Path(folder))
        live.HTPASSWD_FILE.write_bytes(foreign)
        database = Path(folder, "index.sqlite3")
        stack.enter_context(own_database(database, django_db_blocker))
        publisher = stack.enter_context(running_publisher(database))
        assert publisher.order("crowd", processes=PROCESSES, edits=edits)["statuses"] == [0] * 8
        rows = {row.name: row for row in RegistryUser.objects.prefetch_related("rights")}
        assert len(rows) == PROCESSES * edits // 2
        for number in range(PROCESSES):
            for edit in range(edits // 2):
                row = rows[f"user-{number}-{edit}"]
                # Each was made, and then given another right or disabled, in turn.
                is_on = edit % 2 == 0
                assert row.is_active is is_on
                wanted = ("push", f"team/{number}") if is_on else ("pull", "team/*")
                assert users.rights_of(row) == {wanted}
        assert publish.read().startswith(foreign)
        assert publish.catch_up() == 0
        assert inconsistent() == []
        assert temporary_files() == []
        assert len(publish.versions()) == publish.VERSIONS


def move(settings: object, folder: Path) -> None:
    """The files of registry users to that folder, as a data folder has them."""
    settings.DATA = folder  # type: ignore[attr-defined]
    for name in ("HTPASSWD_FILE", "OVERLAP_FILE", "RIGHTS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, folder / getattr(live, name).name)
    live.RIGHTS_DIR.mkdir()


# -- no room, no right -----------------------------------------------------------------------------
@pytest.fixture
def small_disk(files: Path, settings: object) -> Iterator[Path]:
    """The files of registry users on a disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("A small disk has to be mounted: needs root.")
    disk = files / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tests", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("This computer does not allow to mount a small disk.")
    try:
        move(settings, disk)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def everything(disk: Path) -> object:
    """Names and contents below, without time and pending marks."""
    found = {
        str(path.relative_to(disk)): path.read_bytes()
        for path in sorted(disk.rglob("*"))
        if path.is_file() and path.name != "filler"
    }
    rows = [{**row, "generation": None} for row in RegistryUser.objects.values()]
    return found, rows, set(Right.objects.values_list("user__name", "action", "scope"))


def refuses_all(a: RegistryUser, reason: str) -> None:
    wide = rights.parse([("push", "*"), ("delete", "x/y/z/*")])
    for act in (
        lambda: users.create("b", by="tests", may=wide),
        lambda: users.rotate(a, by="tests"),
        lambda: users.rotate(a, by="tests", overlap=users.LONGEST_OVERLAP),
        lambda: users.set_rights(a, wide, by="tests"),
        lambda: users.set_active([a], is_active=False, by="tests"),
        lambda: users.remove([a], by="tests"),
        lambda: drift.restore(publish.versions()[0], by="tests"),
    ):
        with pytest.raises(Refused, match=rf"Nothing was changed.*{reason}"):
            act()


@pytest.mark.django_db
def test_a_full_disk_changes_nothing_and_all_works_when_there_is_room(small_disk: Path) -> None:
    a = users.create("a", by="tests", may=rights.parse([("pull", "team/*")])).user
    users.rotate(a, by="tests")
    filler, before = fill(small_disk), everything(small_disk)
    refuses_all(a, "no space left on device")
    assert everything(small_disk) == before
    with pytest.raises(OSError, match="No space"):
        publish.catch_up()
    assert everything(small_disk) == before
    filler.unlink()
    assert publish.catch_up() == 1
    assert inconsistent() == []
    users.create("b", by="tests", may=rights.parse([("push", "*")]))
    users.set_active([a], is_active=False, by="tests")
    assert list(publish.lines()) == ["b"]
    assert inconsistent() == []


@pytest.mark.django_db
def test_a_folder_that_cannot_be_written_changes_nothing(small_disk: Path) -> None:
    a = users.create("a", by="tests", may=rights.parse([("pull", "team/*")])).user
    users.rotate(a, by="tests")
    before = everything(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refuses_all(a, "read-only file system")
    assert everything(small_disk) == before
    assert drift.find() == []
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert publish.catch_up() == 1
    assert users.rotate(a, by="tests").secret
    assert inconsistent() == []


# -- ten thousand ----------------------------------------------------------------------------------
@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_ten_thousand_users_are_adopted_and_changed(extent: Extent) -> None:
    crowd = extent(1_000, 10_000)
    with running_instance():
        with RegistryClient(live.REGISTRY_URL) as client:
            push(client, "team/api")
        theirs = b"".join(
            b"user-%d:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n" % number for number in range(crowd)
        )
        live.HTPASSWD_FILE.write_bytes(theirs)
        first.prepare_files()
        assert Published.objects.exclude(generation=0).count() == crowd
        assert publish.read().startswith(theirs)
        path = "/v2/team/api/manifests/1"
        for number in (0, crowd // 2, crowd - 1):
            assert ask("GET", path, (f"user-{number}", PASSWORD)).status == 200
            assert ask("GET", path, (f"user-{number}", PASSWORD + "x")).status == 401
        assert ask("GET", path, (f"user-{crowd}", PASSWORD)).status == 401
        middle = RegistryUser.objects.get(name=f"user-{crowd // 2}")
        start = time.monotonic()
        assert users.set_active([middle], is_active=False, by="tests").proof.is_proved
        print(f"one change of {crowd}: {time.monotonic() - start:.3f} s")
        assert ask("GET", path, (middle.name, PASSWORD)).status == 401
        assert ask("GET", path, (f"user-{crowd // 2 + 1}", PASSWORD)).status == 200
        half = list(RegistryUser.objects.order_by("pk")[: crowd // 2])
        users.set_active(half, is_active=False, by="tests")  # several at once, and no few
        assert len(htpasswd.parse(publish.read())) == crowd // 2  # one off before, the canary
        assert ask("GET", path, ("user-0", PASSWORD)).status == 401
        assert ask("GET", path, (f"user-{crowd - 1}", PASSWORD)).status == 200
        assert drift.find() == []  # once: `up` wants the file looked at
        with CaptureQueriesContext(connection) as asked:
            assert drift.find() == []
            page = RegistryUser.objects.matching("user-99").prefetch_related("rights")[:50]
            assert {len(row.rights.all()) for row in page} == {2}
        assert len(asked) == 2
